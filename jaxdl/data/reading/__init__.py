"""Reading data sets: named ones, files, folders, archives; downloads, checksums, a cache of decoded images."""

from jaxdl.data.reading.loading import NAMES, load

__all__ = ["NAMES", "load"]
