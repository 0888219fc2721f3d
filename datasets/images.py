"""Decode image files to 32 x 32 RGB pixels."""

from __future__ import annotations

import contextlib
import io
import os
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Iterable, Iterator, Sequence

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from datasets.base import IMAGE_SHAPE
from errors import InputError, listed
from utils import read_regular

SIDE = IMAGE_SHAPE[-1]
MAX_BYTES = 1 << 26  # of a file
MAX_PIXELS = 1 << 26  # decoded, each takes up to 14 bytes with all copies: 0.9 GB
LARGE = 1 << 22  # images of so many pixels or more are decoded one at a time, to keep to that
# Pillow's readers of these know the size of an image before they decode it, by themselves. Others
# run Ghostscript, or open an image inside the file, of any format and size (IPTC, ICO, ICNS).
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "TGA")
THREADS = 8  # more do not help, since much of Pillow's work holds Python's global lock
GROUND = (128, 128, 128)  # seen through transparent pixels: near 0 once normalised
_ONE_AT_A_TIME = threading.Lock()
_ORIENTATION = 0x0112  # the EXIF tag
warnings.filterwarnings("ignore", module=r"PIL\.")  # of odd files, which are read or refused


def read_image(path: Path) -> np.ndarray:
    """Read an image file, of `MAX_BYTES` at most: see `decode_image`."""
    return decode_image(read_regular(path, MAX_BYTES), path)


def decode_image(content: bytes, name: object) -> np.ndarray:
    """Decode an image in one of `FORMATS`, called `name` in messages, to uint8 (3, 32, 32).

    The first frame of an animation; turned upright as EXIF says; transparent pixels over grey;
    16 bits reduced to the upper 8; CMYK, palettes and grey converted to RGB; then resized to
    32 x 32, without regard to its proportions, by Pillow's antialiased bicubic filter. An image of
    that size already keeps its pixels as they are.

    Raises
    ------
    InputError
        If it is broken, or has more than `MAX_PIXELS`.
    """
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"{image.size} pixels are more than {MAX_PIXELS:,}")
            large = image.width * image.height >= LARGE
            with _ONE_AT_A_TIME if large else contextlib.nullcontext():
                small = _to_rgb(image).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
                # A bare copy: what else a broken file says beside its pixels is not to be read.
                small = Image.fromarray(np.asarray(small))
                small.getexif()[_ORIENTATION] = image.getexif().get(_ORIENTATION, 1)
                pixels = np.asarray(ImageOps.exif_transpose(small))
    except UnidentifiedImageError as error:
        raise InputError(f"{name} is not an image ({', '.join(FORMATS)})") from error
    except Exception as error:  # on a broken file Pillow raises almost any exception
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{name} is not an image that can be read: {reason:.120}") from error
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def read_each(files: Sequence[Any]) -> Iterator[np.ndarray | InputError]:
    """Yield, in order, what `read_image` returns for each file or the `InputError` that it raises.

    Files are read in parallel.
    """

    def attempt(file: Any) -> np.ndarray | InputError:
        try:
            return read_image(file)
        except InputError as error:
            return error

    with ThreadPoolExecutor(min(os.cpu_count() or 1, THREADS)) as pool:
        yield from pool.map(attempt, files)


def read_images(paths: Sequence[Path], what: str) -> np.ndarray:
    """Read many image files, in parallel, to uint8 (N, 3, 32, 32); `what` labels a progress bar.

    Raises
    ------
    InputError
        Naming the first files that cannot be read, and how many there are.
    """
    images = np.empty((len(paths), *IMAGE_SHAPE), np.uint8)
    mistakes = []
    for index, image in enumerate(_progress(read_each(paths), what, len(paths))):
        if isinstance(image, InputError):
            mistakes.append(str(image))
        else:
            images[index] = image
    if mistakes:
        raise InputError(listed(mistakes))
    return images


def _progress(results: Iterable, what: str, total: int) -> Iterable:
    """Show a progress bar where tqdm is installed, which an ONNX file does without."""
    try:
        from tqdm import tqdm
    except ImportError:
        return results
    return tqdm(results, desc=what, total=total, unit="image", disable=None)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        image = Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise ValueError("32 bits a pixel have no known white: convert it to 8 bits")
    elif image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        opaque = Image.new("RGB", image.size, GROUND)
        opaque.paste(rgba, mask=rgba.getchannel("A"))
        return opaque
    return image.convert("RGB")
