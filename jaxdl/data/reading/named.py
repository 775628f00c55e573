"""Load the named data sets that consist of single files: scikit-learn's digits, MNIST and Fashion-MNIST."""

import gzip
import importlib.util
from functools import partial
from pathlib import Path

import numpy as np

from jaxdl.data.dataset import Dataset, checked, numbered_classes, sha256
from jaxdl.data.reading.fetching import fetch
from jaxdl.data.reading.idx import read_idx
from jaxdl.data.reading.sources import IdxSource
from jaxdl.extras import need

_TRAIN = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
_TEST = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def load_digits() -> Dataset:
    """Load scikit-learn's bundled handwritten digits: 1,797 grey images of 8 x 8, values 0 to 16, no test set.

    Raises:
        ImportError: if scikit-learn is not installed.

    Reference: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning
    Repository, 1998, https://doi.org/10.24432/C50P49 (its test part).
    """
    table = _digits_table()
    images = np.ascontiguousarray(table[:, :64]).reshape(-1, 8, 8, 1)
    labels = table[:, 64].astype(np.int32)
    return checked(Dataset("digits", images, labels, None, None, tuple("0123456789"), 16.0, {"digits": sha256(table)}))


def _digits_table() -> np.ndarray:
    """Return the 1797 x 65 table of pixels and label as uint8."""
    spec = importlib.util.find_spec("sklearn")
    origin = spec.origin if spec is not None else None
    path = Path(origin).parent / "datasets" / "data" / "digits.csv.gz" if origin else None
    if path is not None and path.is_file():
        # reading the file takes milliseconds, importing scikit-learn takes seconds
        text = gzip.decompress(path.read_bytes()).decode("ascii")
        return np.loadtxt(text.splitlines(), delimiter=",", dtype=np.uint8)
    bunch = need("sklearn.datasets", purpose="the data set digits").load_digits()
    return np.concatenate([bunch.data, bunch.target[:, None]], axis=1).astype(np.uint8)


def load_idx_source(name: str, source: IdxSource, folder: Path, *, allow_download: bool) -> Dataset:
    """Load MNIST or Fashion-MNIST from the official files in the data folder, downloading missing ones first.

    Args:
        name: the data set's name.
        source: its mirrors and SHA-256s.
        folder: the data folder, whose sub-folder of the source has the files (`-` and `_` are alike).
        allow_download: whether to download; False never goes to the network.

    Raises:
        FileNotFoundError: if a file is missing and downloads are not allowed.
        ConnectionError: if no mirror provides a file.
        ValueError: if a file is damaged.
    """
    place = subfolder(folder, source.folder)
    paths = {stem: find_idx(place, stem) for stem in source.digests}
    missing = [stem + ".gz" for stem, path in paths.items() if path is None]
    if missing and not allow_download:
        raise FileNotFoundError(f"{name}: {', '.join(missing)} not found in {place}; put the files there by hand")
    for stem, digest in source.digests.items():
        if paths[stem] is None:
            urls = [mirror + stem + ".gz" for mirror in source.mirrors]
            check = partial(read_idx, ndim=3 if "idx3" in stem else 1, digest=digest)
            paths[stem] = fetch(urls, place / (stem + ".gz"), check=check, files=missing)
    return _read_four(name, paths, source.classes, source.digests, str(place))


def load_idx_folder(folder: Path) -> Dataset:
    """Load any folder with the four IDX files, or only the two for training, without checking their SHA-256.

    Raises:
        ValueError: if a file is damaged, or images have no labels.
    """
    paths = {stem: find_idx(folder, stem) for stem in (*_TRAIN, *_TEST)}
    wanted = [stem for part in (_TRAIN, _TEST) for stem in part if part is _TRAIN or any(paths[s] for s in _TEST)]
    missing = [stem for stem in wanted if paths[stem] is None]
    if missing:
        raise ValueError(f"{folder}: IDX files are missing: {', '.join(missing)}")
    return _read_four(folder.name, paths, None, {}, str(folder))


def find_idx(folder: Path, stem: str) -> Path | None:
    """Find the IDX file of that official name in a folder, gzipped or not, also with a dot before `idx`."""
    for name in (stem, stem + ".gz", stem.replace("-idx", ".idx"), stem.replace("-idx", ".idx") + ".gz"):
        if (folder / name).is_file():
            return folder / name
    return None


def subfolder(folder: Path, name: str) -> Path:
    """Return the sub-folder of that name, with `-` and `_` alike, or `folder / name` if there is none yet."""
    for spelling in (name, name.replace("-", "_"), name.replace("_", "-")):
        if (folder / spelling).is_dir():
            return folder / spelling
    return folder / name


def _read_four(
    name: str,
    paths: dict[str, Path | None],
    classes: tuple[str, ...] | None,
    digests: dict[str, str],
    where: str,
) -> Dataset:
    arrays: dict[str, np.ndarray] = {}
    sums: dict[str, str] = {}
    for stem, path in paths.items():
        if path is not None:
            arrays[stem], sums[stem] = read_idx(path, ndim=3 if "idx3" in stem else 1, digest=digests.get(stem))
    for images, labels in (_TRAIN, _TEST):
        if images in arrays and len(arrays[images]) != len(arrays[labels]):
            raise ValueError(
                f"{paths[images]} has {len(arrays[images])} images, but {paths[labels]} has "
                f"{len(arrays[labels])} labels; there must be one label per image"
            )
    if classes is None:
        classes = numbered_classes(where, arrays[_TRAIN[1]], arrays.get(_TEST[1]))
    train_x, test_x = arrays[_TRAIN[0]][..., None], arrays.get(_TEST[0])
    test_y = arrays.get(_TEST[1])
    return checked(
        Dataset(
            name,
            train_x,
            arrays[_TRAIN[1]].astype(np.int32),
            None if test_x is None else test_x[..., None],
            None if test_y is None else test_y.astype(np.int32),
            classes,
            255.0,
            sums,
        ),
        where=where,
    )
