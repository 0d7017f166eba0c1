"""NVRTC itself, by ctypes, with the functions of :mod:`cupy.cuda.nvrtc` that the backend calls: it needs no GPU."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence


class NVRTCError(RuntimeError):
    """A call that did not succeed."""


class Nvrtc:
    """What stands in the place of ``cupy.cuda.nvrtc``.

    Parameters
    ----------
    library : ctypes.CDLL
        The compiler.
    """

    NVRTCError = NVRTCError

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        library.nvrtcGetErrorString.restype = ctypes.c_char_p
        self.programs = 0  # made and not destroyed

    def _call(self, name: str, *arguments: object) -> None:
        if status := getattr(self._library, name)(*arguments):
            raise NVRTCError(f"{name}: {self._library.nvrtcGetErrorString(status).decode()}")

    def createProgram(
        self, source: str, name: str, headers: Sequence[str], include_names: Sequence[str]
    ) -> ctypes.c_void_p:
        assert not headers
        assert not include_names
        program = ctypes.c_void_p()
        self._call("nvrtcCreateProgram", ctypes.byref(program), source.encode(), name.encode(), 0, None, None)
        self.programs += 1
        return program

    def compileProgram(self, program: ctypes.c_void_p, options: Sequence[str]) -> None:
        words = (ctypes.c_char_p * len(options))(*[option.encode() for option in options])
        self._call("nvrtcCompileProgram", program, len(options), words)

    def _bytes(self, program: ctypes.c_void_p, what: str) -> bytes:
        size = ctypes.c_size_t()
        self._call(f"nvrtcGet{what}Size", program, ctypes.byref(size))
        found = ctypes.create_string_buffer(size.value)
        self._call(f"nvrtcGet{what}", program, found)
        return found.raw

    def getCUBIN(self, program: ctypes.c_void_p) -> bytes:
        return self._bytes(program, "CUBIN")

    def getProgramLog(self, program: ctypes.c_void_p) -> str:
        return self._bytes(program, "ProgramLog").rstrip(b"\0").decode(errors="replace")

    def destroyProgram(self, program: ctypes.c_void_p) -> None:
        self._call("nvrtcDestroyProgram", ctypes.byref(program))
        self.programs -= 1
