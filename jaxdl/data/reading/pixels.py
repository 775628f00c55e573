"""Decode image files with Pillow: upright, 8 bits per channel, of formats that Pillow decodes by itself.

Pillow selects the format by a file's content, whatever its name, and passes some formats, such as PostScript, to
external programs. All image files are therefore opened here, with an explicit list of formats.

* The EXIF orientation is applied, as viewers do. EXIF data that cannot be read counts as absent.
* 16-bit grey values v become v · 255 / 65535, rounded. Of 16-bit colours Pillow keeps the high byte.
* Of several frames the first is decoded.
* A JPEG has at most `MOST_SCANS`: each is a pass over all pixels, even one of ten bytes.
* An image has at most `MOST_PIXELS`. One of over 2²⁴ pixels also needs a byte for each `MOST_PER_BYTE` of them, which
  compression can hardly exceed, so a file of a few bytes cannot claim gigabytes.
"""

import io
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import numpy as np

from jaxdl.extras import need

FORMATS = ("PNG", "JPEG", "BMP", "PPM", "WEBP", "TIFF", "GIF")
LOSSY = (".jpg", ".jpeg", ".jpe", ".jfif")
SUFFIXES = (".png", *LOSSY, ".bmp", ".ppm", ".pgm", ".pbm", ".pnm", ".webp", ".tif", ".tiff", ".gif")
MOST_PIXELS: Final = 89_478_485  # from which on Pillow warns of decompression bombs
MOST_PER_BYTE: Final = 10_000  # pixels; deflate packs at most 8 * 1,032 one-bit pixels into a byte

MOST_SCANS: Final = 500  # of a JPEG; encoders write about ten

_LARGE = 1 << 24
_SCAN = b"\xff\xda"  # begins a scan of a JPEG; a byte of 255 in its data is followed by 0
_SIXTEEN = ("I;16", "I;16L", "I;16B")
_GREY = ("1", "L", *_SIXTEEN)
_COLOUR = ("RGB", "RGBA", "P", "PA", "LA", "CMYK", "YCbCr")
_ORIENTATION = 0x0112
# EXIF orientation -> what turns the stored pixels upright
_TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: np.rot90(x, 2).swapaxes(0, 1),
    8: lambda x: np.rot90(x),
}
_LYING = (5, 6, 7, 8)  # orientations that exchange width and height
# the errors with which Pillow's decoders answer to mutated files
_DAMAGE = (OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError, ArithmeticError, AttributeError)
_DAMAGE += (RuntimeError, AssertionError, MemoryError, BufferError, struct.error, zlib.error)


class UnreadableImage(ValueError):
    """An image file that cannot be read; the message names it."""


class Header(NamedTuple):
    """The facts about an image that its header tells."""

    size: tuple[int, int]  # width and height when upright, pixels
    mode: str  # "L" or "RGB": what it is decoded to unless another mode is asked for
    has_frames: bool  # whether there are more frames than the first


def caveats(names: Iterable[str], *, unreadable: int = 0, resized: int | None = None) -> str:
    """Return what readers of results should know of the images, or "".

    Args:
        names: of the images' files, of which those of JPEG are lossy copies.
        unreadable: number of the files that were left out.
        resized: height and width, if other sizes were changed to it.
    """
    lossy = [name.lower().endswith(LOSSY) for name in names]
    of = "" if all(lossy) else f"{sum(lossy)} of {len(lossy)} images "
    said = [f"{of}decoded from JPEG files, which are lossy copies"] if any(lossy) else []
    said += [f"largest central squares resized to {resized} x {resized}"] if resized else []
    said += [f"without {unreadable} files that cannot be read"] if unreadable else []
    return "; ".join(said)


def read_header(contents: bytes, where: str) -> Header:
    """Return size and mode of an image file.

    Args:
        contents: the file's bytes.
        where: the file's name in messages.

    Raises:
        UnreadableImage: if the file is damaged, of another format, or beyond the limits.
        ImportError: if Pillow is not installed.
    """
    with _opened(contents, where) as image:
        _check(image, contents, where)
        width, height = image.size
        if _orientation(image, contents) in _LYING:
            width, height = height, width
        # a camera's MPO holds previews and depth maps
        has_frames = image.format != "MPO" and bool(getattr(image, "is_animated", False))
        return Header((width, height), "L" if _mode(image) in _GREY else "RGB", has_frames)


def decode(contents: bytes, where: str, mode: str | None = None) -> np.ndarray:
    """Return the pixels of an image file as bytes: `(H, W)` in mode "L", `(H, W, 3)` in mode "RGB".

    Args:
        contents: the file's bytes.
        where: the file's name in messages.
        mode: "L" or "RGB"; None stands for the file's own. Transparency is dropped.

    Raises:
        UnreadableImage: see `read_header`; also if the pixels are damaged.
        ImportError: if Pillow is not installed.
    """
    with _opened(contents, where) as image:
        _check(image, contents, where)
        image.load()
        orientation = _orientation(image, contents)
        pixels = _eight_bits(image, mode or ("L" if _mode(image) in _GREY else "RGB"))
        return np.ascontiguousarray(_TURNS.get(orientation, lambda x: x)(pixels))


@contextmanager
def _opened(contents: bytes, where: str) -> Iterator[Any]:
    """Open a Pillow image of one of `FORMATS`; any error of Pillow's becomes one that names the file."""
    pillow = need("PIL.Image", purpose="reading images")
    try:
        with pillow.open(io.BytesIO(contents), formats=FORMATS) as image:
            yield image
    except UnreadableImage:
        raise
    except pillow.UnidentifiedImageError as error:
        raise UnreadableImage(f"{where} cannot be read as an image of the formats {', '.join(FORMATS)}") from error
    except (pillow.DecompressionBombError, pillow.DecompressionBombWarning) as error:
        raise UnreadableImage(f"{where} has too many pixels; at most {MOST_PIXELS:,} are decoded") from error
    except _DAMAGE as error:
        why = " ".join(f"{error}".split()) or type(error).__name__
        raise UnreadableImage(f"{where} cannot be read as an image ({why})") from error


def _check(image: Any, contents: bytes, where: str) -> None:
    (width, height), size = image.size, len(contents)
    pixels = width * height
    if pixels == 0:
        raise UnreadableImage(f"{where} has no pixels ({width} x {height})")
    if pixels > MOST_PIXELS:
        raise UnreadableImage(f"{where} claims {width} x {height} pixels; at most {MOST_PIXELS:,} are decoded")
    if pixels > _LARGE and pixels > MOST_PER_BYTE * size:
        raise UnreadableImage(f"{where} claims {width} x {height} pixels, but has {size} bytes, too few for them")
    if image.format in ("JPEG", "MPO") and (scans := contents.count(_SCAN)) > MOST_SCANS:
        raise UnreadableImage(f"{where} has {scans:,} scans; at most {MOST_SCANS} are decoded")
    if _mode(image) not in _GREY + _COLOUR:
        raise UnreadableImage(f"{where} has mode {image.mode}; expected 8 or 16 bits per channel, grey or colour")


def _mode(image: Any) -> str:
    """Return Pillow's mode; 16 bits of a PGM or PNG, which some versions widen to 32, are named as 16."""
    return "I;16" if image.mode == "I" and image.format in ("PPM", "PNG") else image.mode


def _orientation(image: Any, contents: bytes) -> int:
    """Return the EXIF orientation that Pillow leaves to us; 1 is upright."""
    if image.format == "TIFF":  # Pillow turns these itself
        return 1
    if image.format == "PNG" and not any(word in contents for word in (b"eXIf", b"exif", b"xmp")):
        return 1  # Pillow would decode all pixels to look for it behind them
    try:
        found = image.getexif().get(_ORIENTATION, 1)
    except (SyntaxError, ValueError, LookupError, TypeError, AssertionError, struct.error):
        return 1
    return found if isinstance(found, int) else 1


def _eight_bits(image: Any, mode: str) -> np.ndarray:
    if _mode(image) not in _SIXTEEN:
        return np.asarray(image.convert(mode))
    grey = ((np.asarray(image).astype(np.uint32) + 128) // 257).astype(np.uint8)  # 65535 = 255 · 257
    return grey if mode == "L" else np.repeat(grey[..., None], 3, axis=-1)
