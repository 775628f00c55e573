"""IDX files: valid ones, and every way one can be damaged."""

import gzip
import hashlib
import struct

import numpy as np
import pytest

from jaxdl import data
from jaxdl.data.reading.idx import read_idx

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 3, 2), dtype=np.uint8)
GOOD = bytes([0, 0, 8, 3]) + struct.pack(">3I", 4, 3, 2) + PIXELS.tobytes()
LABELS = bytes([0, 0, 8, 1]) + struct.pack(">I", 4) + bytes([0, 2, 1, 2])


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_reads_plain_and_gzipped_files_alike(tmp_path, pack):
    path = tmp_path / "images"
    path.write_bytes(pack(GOOD))
    values, digest = read_idx(path, ndim=3, digest=hashlib.sha256(GOOD).hexdigest())
    np.testing.assert_array_equal(values, PIXELS)
    assert digest == hashlib.sha256(GOOD).hexdigest()


def flip(data, position):
    return data[:position] + bytes([data[position] ^ 4]) + data[position + 1 :]


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"", "not an IDX file .*nothing"),
        (b"<!DOCTYPE html>", "not an IDX file .*3c 21 44 4f"),
        (b"\0\0\x0d\3" + GOOD[4:], "an IDX file of float32; expected unsigned bytes"),
        (LABELS, "an IDX file with 1 dimensions; expected 3"),
        (GOOD[:9], r"truncated in its header \(9 of 16 bytes\)"),
        (GOOD[:-1], r"truncated: 39 bytes, but sizes \(4, 3, 2\) need 40"),
        (GOOD + b"x", "too long: 41 bytes"),
        (flip(GOOD, 7), "too long|truncated"),
        (flip(GOOD, 30), "contents are not the official ones"),
        (gzip.compress(GOOD, mtime=0)[:-12], "the gzip file is truncated"),
        (flip(gzip.compress(GOOD, mtime=0), 30), "the gzip file is (damaged|truncated)"),
        (gzip.compress(GOOD, mtime=0) + b"garbage", "the gzip file is damaged"),
    ],
)
def test_a_bad_file_is_named_with_what_is_wrong(tmp_path, contents, message):
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(contents)
    with pytest.raises(ValueError, match=message) as caught:
        read_idx(path, ndim=3, digest=hashlib.sha256(GOOD).hexdigest())
    assert str(path) in str(caught.value)


def folder(tmp_path, **contents):
    for name, value in contents.items():
        (tmp_path / name.replace("_", "-")).write_bytes(value)
    return tmp_path


def test_any_folder_of_idx_files_is_a_data_set(tmp_path):
    place = folder(tmp_path, train_images_idx3_ubyte=GOOD, train_labels_idx1_ubyte=LABELS)
    dataset = data.load(place)
    np.testing.assert_array_equal(dataset.images[..., 0], PIXELS)
    np.testing.assert_array_equal(dataset.labels, [0, 2, 1, 2])
    assert dataset.classes == ("0", "1", "2")
    assert dataset.test_images is None
    (tmp_path / "t10k-images.idx3-ubyte.gz").write_bytes(gzip.compress(GOOD, mtime=0))
    with pytest.raises(ValueError, match="IDX files are missing: t10k-labels-idx1-ubyte"):
        data.load(place)


def test_images_and_labels_of_different_length_are_refused(tmp_path):
    short = bytes([0, 0, 8, 1]) + struct.pack(">I", 3) + bytes([0, 2, 1])
    place = folder(tmp_path, train_images_idx3_ubyte=GOOD, train_labels_idx1_ubyte=short)
    with pytest.raises(ValueError, match=r"images-idx3-ubyte has 4 images, but .*labels-idx1-ubyte has 3 labels"):
        data.load(place)
