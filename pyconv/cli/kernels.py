"""The kernels that ``features`` can be asked for: two sets made by hand, random ones, and the user's own."""

from __future__ import annotations

import hashlib
import os
from typing import Any, NamedTuple

import numpy as np

from .. import Conv2d
from . import CommandError

__all__ = ["CHOICES", "Kernels", "kernels_from"]

CHOICES = "edges, blur, random:SEED or FILE.npz"
_RANDOM = 8  # how many random:SEED makes

# red, green and blue in brightness: Rec. 601, as Pillow's grey
BRIGHTNESS = (0.299, 0.587, 0.114)
REDNESS = (1.0, -0.5, -0.5)


class Kernels(NamedTuple):
    """The weights of one convolution over red, green and blue, with names for people."""

    weight: np.ndarray
    """(kernels, 3, height, width), float32."""
    bias: np.ndarray | None
    names: tuple[str, ...]
    planes: np.ndarray | None = None
    """(kernels, height, width) where every kernel is one plane times a mix of the colours."""
    mixes: tuple[str, ...] = ()
    """That mix, in words."""

    def layer(self) -> Conv2d:
        """The convolution that holds them."""
        count, channels, *size = self.weight.shape
        conv = Conv2d(channels, count, tuple(size), bias=self.bias is not None, rng=0)
        conv.weight = self.weight
        conv.bias = self.bias
        return conv

    def digest(self) -> str:
        """A short fingerprint of everything that shows in the results."""
        total = hashlib.sha256(repr((self.weight.shape, self.names)).encode())
        for array in (self.weight, self.bias):
            total.update(b"none" if array is None else np.ascontiguousarray(array).tobytes())
        return total.hexdigest()[:16]


def kernels_from(text: str) -> Kernels:
    """The kernels that ``--kernels text`` means.

    Raises
    ------
    CommandError
        If it means none.
    """
    if text == "edges":
        return _edges()
    if text == "blur":
        return _blur()
    if text == "random" or text.startswith("random:"):
        seed = text.removeprefix("random").removeprefix(":")
        if not (seed.isascii() and seed.isdecimal()):
            raise CommandError(f"--kernels {text}: the seed is a whole number from 0 on, for example random:0")
        conv = Conv2d(3, _RANDOM, 3, rng=int(seed))
        return Kernels(conv.weight, conv.bias, tuple(f"random {place}" for place in range(_RANDOM)))
    if not os.path.isfile(text):
        raise CommandError(f"--kernels {text}: no such file, and none of the choices {CHOICES}")
    return _from_file(text)


def _mixed(planes: dict[str, Any], others: dict[str, tuple[tuple[float, ...], str]] | None = None) -> Kernels:
    """Planes on the brightness, but for the names in ``others``, which have a mix of their own."""
    mixes = [(others or {}).get(name, (BRIGHTNESS, "on 0.30 R + 0.59 G + 0.11 B")) for name in planes]
    stack = np.array(list(planes.values()), np.float64)
    weight = stack[:, None] * np.array([factors for factors, _ in mixes])[:, :, None, None]
    return Kernels(weight.astype(np.float32), None, tuple(planes), stack, tuple(label for _, label in mixes))


def _edges() -> Kernels:
    upright = [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]
    planes = {
        "vertical edges": upright,
        "horizontal edges": [[-1, -2, -1], [0, 0, 0], [1, 2, 1]],
        "rising diagonals": [[-2, -1, 0], [-1, 0, 1], [0, 1, 2]],
        "falling diagonals": [[0, 1, 2], [-1, 0, 1], [-2, -1, 0]],
        "Laplacian": [[1, 1, 1], [1, -8, 1], [1, 1, 1]],
        "edges of red": upright,
    }
    return _mixed(planes, {"edges of red": (REDNESS, "on R − ½ G − ½ B")})


def _blur() -> Kernels:
    row = np.array([1, 4, 6, 4, 1]) / 16
    point = np.zeros((5, 5))
    point[2, 2] = 1
    cross = np.zeros((5, 5))
    cross[2, 1:4] = cross[1:4, 2] = 1
    gaussian = np.outer(row, row)
    planes = {
        "box": np.full((5, 5), 1 / 25),
        "Gaussian": gaussian,
        "along the row": np.outer(point[2], np.ones(5)) / 5,
        "along the diagonal": np.eye(5) / 5,
        "sharpen": 6 * point - cross,
        "unsharp mask": 2 * point - gaussian,
    }
    return _mixed(planes)


def _from_file(path: str) -> Kernels:
    def wrong(problem: str) -> CommandError:
        return CommandError(f"--kernels {path}: {problem}")

    try:
        with np.load(path, allow_pickle=False) as archive:
            found = {name: archive[name] for name in archive.files}
    except Exception as error:  # NumPy raises nearly anything for a file that is something else
        raise wrong(f"no .npz file of plain arrays ({error})") from None
    unknown = sorted(set(found) - {"weight", "bias", "names"})
    if "weight" not in found or unknown:
        raise wrong(f"it holds {', '.join(found) or 'nothing'}; expected weight, and if wanted bias and names")
    weight, bias, names = found["weight"], found.get("bias"), found.get("names")
    if not (weight.ndim == 3 or (weight.ndim == 4 and weight.shape[1] == 3)) or 0 in weight.shape:
        raise wrong(f"weight has shape {weight.shape}, expected (K, 3, height, width) or (K, height, width)")
    count = len(weight)
    if bias is not None and bias.shape != (count,):
        raise wrong(f"bias has shape {bias.shape}, expected ({count},) for weight of shape {weight.shape}")
    if names is not None and (names.shape != (count,) or names.dtype.kind != "U"):
        raise wrong(f"names has shape {names.shape} and dtype {names.dtype}, expected {count} strings")
    for name, array in (("weight", weight), ("bias", bias)):
        if array is not None and not (array.dtype.kind in "fiu" and np.isfinite(array).all()):
            raise wrong(f"{name} (dtype {array.dtype}) must hold finite real numbers")
    labels = tuple(map(str, names)) if names is not None else tuple(f"kernel {place}" for place in range(count))
    bias = None if bias is None else bias.astype(np.float32)
    if weight.ndim == 4:
        return Kernels(weight.astype(np.float32), bias, labels)
    return _mixed({str(place): plane for place, plane in enumerate(weight)})._replace(bias=bias, names=labels)
