"""Read data sets by name or from files, folders and archives, with downloads, checksums and a cache of images."""

from jaxdl.data.reading.loading import NAMES, load

__all__ = ["NAMES", "load"]
