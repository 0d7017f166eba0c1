"""The command line: ``python -m pyconv``."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from types import FrameType

from .cli import CommandError, features, info
from .errors import PyconvError
from .version import __version__

__all__ = ["main"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m pyconv", description="Convolution, pooling and activations on arrays.")
    parser.add_argument("--version", action="version", version=f"pyconv {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    about = "run a convolution, an activation and max pooling over images"
    features.add_arguments(
        commands.add_parser(
            "features",
            help=about,
            description=f"{about.capitalize()}, and save the feature maps of each as a .npy file.",
            epilog="Exit status: 0 all done, 1 an image failed, 2 nothing could start.",
        )
    )
    commands.add_parser("info", help="print versions, backends, instruction set and threads")
    return parser


@contextlib.contextmanager
def _tidy_end() -> Iterator[None]:
    """SIGTERM as an exception, so that a batch system's kill leaves no half-written file."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments without the program's name; by default the process's.

    Returns
    -------
    int
        The exit status: 0 all done, 1 something failed, 2 unusable arguments or a missing package.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # file names need not be what the stream can encode
    try:
        with _tidy_end():
            arguments = _parser().parse_args(argv)
            status = info.run() if arguments.command == "info" else features.run(arguments)
            sys.stdout.flush()
            return status
    except SystemExit as end:  # argparse, or SIGTERM
        return int(end.code or 0)
    except (CommandError, PyconvError) as error:
        print(f"pyconv: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("pyconv: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has gone, as with "| head"
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


if __name__ == "__main__":
    sys.exit(main())
