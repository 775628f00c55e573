"""Open image files with Pillow, limited to formats that Pillow decodes by itself.

Pillow selects the format by a file's content, whatever its name, and passes some formats, such as PostScript, to
external programs. All image files are therefore opened here, with an explicit list of formats.
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
    """Open a Pillow image of one of `FORMATS`; any error of Pillow's becomes one that names the file.

    Args:
        file: the file, or its contents.
        where: the file's name in messages.

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
