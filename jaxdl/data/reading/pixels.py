"""Image files through Pillow, limited to formats that Pillow decodes by itself.

Pillow chooses a format by a file's content, whatever its name says, and hands some formats (PostScript, for one) to
programs of the machine. Every image file is therefore opened here, with the allowed formats named.
"""

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jaxdl.data.reading.fetching import need

FORMATS = ("PNG", "JPEG", "BMP", "PPM", "WEBP", "TIFF", "GIF")


@contextmanager
def opened(file: Path | io.BytesIO, where: str) -> Iterator[Any]:
    """A Pillow image of one of `FORMATS`; whatever Pillow says against it becomes an error that names the file.

    Args:
        file: the file, or its contents.
        where: what messages call it.

    Raises:
        ValueError: if the file is missing, damaged or of another format, also while the pixels are read.
        ImportError: if Pillow is not installed.
    """
    pillow = need("PIL.Image", purpose="reading images")
    try:
        with pillow.open(file, formats=FORMATS) as image:
            yield image
    except pillow.UnidentifiedImageError as error:
        raise ValueError(f"{where} cannot be read as an image of the formats {', '.join(FORMATS)}") from error
    except (OSError, SyntaxError, EOFError, struct.error, pillow.DecompressionBombError) as error:
        raise ValueError(f"{where} cannot be read as an image ({error})") from error
