"""Load a data set by name, from a folder or from an archive."""

import difflib
import re
from collections.abc import Callable
from pathlib import Path

from jaxdl.data.dataset import Dataset
from jaxdl.data.reading.archives import ARCHIVES, is_archive
from jaxdl.data.reading.cifar import is_binary_archive, is_binary_folder, load_binary, load_cifar10
from jaxdl.data.reading.fetching import data_folder
from jaxdl.data.reading.images import load_images
from jaxdl.data.reading.named import find_idx, load_digits, load_idx_folder, load_idx_source
from jaxdl.data.reading.sources import FASHION_MNIST, MNIST

# reader of each named data set: (data folder, whether downloads are allowed) -> Dataset
_NAMED: dict[str, Callable[[Path, bool], Dataset]] = {
    "digits": lambda folder, download: load_digits(),
    "mnist": lambda folder, download: load_idx_source("mnist", MNIST, folder, allow_download=download),
    "fashion_mnist": lambda folder, download: load_idx_source(
        "fashion_mnist", FASHION_MNIST, folder, allow_download=download
    ),
    "cifar10": lambda folder, download: load_cifar10(folder, allow_download=download),
}
NAMES = tuple(_NAMED)


def load(
    source: str | Path,
    *,
    data_dir: str | Path | None = None,
    download: bool = True,
    skip_unreadable: bool = False,
) -> Dataset:
    """Load a named data set, a folder or an archive, and check it.

    Args:
        source: a name ("digits", "mnist", "fashion_mnist", "cifar10"; `-`, `_` and case do not matter), or the path of
            a folder or tar archive with one folder of images per class (`CLASS/*.png` or `train|val|test/CLASS/*.png`,
            where val is the development set), of a folder of IDX files, or of CIFAR-10's binary archive.
        data_dir: folder in which to find and download named data sets; None stands for `$JAXDL_DATA_DIR`, else the
            user's cache folder. "digits" comes with scikit-learn and needs neither.
        download: whether to download missing files; False never goes to the network.
        skip_unreadable: whether to leave out, with a warning, image files of a folder or archive that cannot be read.

    Raises:
        ValueError: if the name is unknown, or a file is damaged; the message names the file and the fault, and of
            several images that cannot be read the first and their number.
        FileNotFoundError: if files are missing and `download` is False, or a path does not exist.
        ConnectionError: if a download fails; the message says where to put which files by hand.
        ImportError: if a library that this source needs is not installed.

    Warns:
        RuntimeWarning: if files beside images, or frames of a file, are left out; it says how many.

    Examples:
        scikit-learn's digits need no download:

        >>> digits = data.load("digits")
        >>> digits.images.shape, len(digits.classes)
        ((1797, 8, 8, 1), 10)
    """
    if not isinstance(source, str | Path):
        raise ValueError(f"source is a {type(source).__name__}; expected a name or a path")
    key = _plain(str(source))
    known = {_plain(name): name for name in NAMES}
    if isinstance(source, str) and key in known:
        return _NAMED[known[key]](data_folder(data_dir), download)
    path = Path(source).expanduser()
    if path.exists():
        return _at(path, skip_unreadable)
    if isinstance(source, Path) or len(path.parts) > 1 or path.name.lower().endswith(ARCHIVES):
        raise FileNotFoundError(f"{source}: there is no such folder or archive")
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.0)
    raise ValueError(
        f"unknown data set {str(source)!r}; there are {', '.join(NAMES)}, or give the path of a folder or "
        f"tar archive of images per class. Nearest: {known[near[0]]}"
    )


def _plain(name: str) -> str:
    return re.sub(r"[-_ ]", "", name.lower())


def _at(path: Path, skip_unreadable: bool) -> Dataset:
    if path.is_dir():
        if find_idx(path, "train-images-idx3-ubyte") is not None:
            return load_idx_folder(path)
        return load_binary(path) if is_binary_folder(path) else load_images(path, skip_unreadable=skip_unreadable)
    if not is_archive(path):
        raise ValueError(
            f"{path} is neither a folder nor an archive; archives end in {', '.join(ARCHIVES)}; arrays and tables come "
            "from a function (data.from_arrays, docs/data.md)"
        )
    return load_binary(path) if is_binary_archive(path) else load_images(path, skip_unreadable=skip_unreadable)
