"""Reading images of any kind as RGB floats, through Pillow."""

from __future__ import annotations

import os
import warnings
from typing import Any

import numpy as np

from . import need

__all__ = ["SUFFIXES", "ImageError", "read_rgb"]

SUFFIXES = (
    *(".avif", ".bmp", ".dib", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg"),
    *(".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp"),
)
"""What counts as an image in a folder; a file named on the command line may be called anything."""


class ImageError(Exception):
    """An image cannot be read."""


def read_rgb(path: str | os.PathLike[str]) -> np.ndarray:
    """The image at ``path`` as (height, width, 3) float32 from 0 to 1.

    EXIF orientation is applied, grey is repeated over the three channels, transparent pixels are laid over white,
    of an animation it is the first frame.

    Raises
    ------
    ImageError
        If it is no image, is damaged, or its numbers have no known range.
    """
    pillow = need("PIL.Image", "reading images")
    ops = need("PIL.ImageOps", "reading images")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the user chose the file: large or oddly tagged is no news
            with pillow.open(path) as image:
                return _rgb(pillow, ops.exif_transpose(image))
    except ImageError:
        raise
    except pillow.UnidentifiedImageError:
        raise ImageError("no image, or of a kind that Pillow does not know") from None
    except Exception as error:  # a damaged file makes Pillow raise nearly anything
        raise ImageError(f"cannot be read: {str(error) or type(error).__name__}") from error


def _rgb(pillow: Any, image: Any) -> np.ndarray:
    if image.mode == "F" or image.mode.startswith("I"):
        return np.repeat(_deep_grey(image)[:, :, None], 3, axis=2)
    if "transparency" in image.info or image.mode.upper() in ("RGBA", "LA", "PA"):
        over = image.convert("RGBA")
        image = pillow.alpha_composite(pillow.new("RGBA", over.size, "white"), over)
    return np.divide(np.asarray(image.convert("RGB")), np.float32(255), dtype=np.float32)


def _deep_grey(image: Any) -> np.ndarray:
    """Grey with more than 8 bits: integers are 16-bit ones (Pillow holds some as 32), floats run from 0 to 1."""
    grey = np.asarray(image)
    top = 1 if image.mode == "F" else 65535
    low, high = grey.min(), grey.max()
    if not (low >= 0 and high <= top):
        raise ImageError(f"its values run from {low} to {high}, expected 0 to {top}; rescale it")
    return np.divide(grey, np.float32(top), dtype=np.float32, casting="unsafe")
