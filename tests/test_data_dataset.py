"""Users' own arrays: accepted shapes, kept dtypes, and a message for every mistake."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from jaxdl import data

RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 249, (6, 5, 4), dtype=np.uint8)
BYTES[0, 0, 0], BYTES[0, 0, 1] = 0, 248
LABELS = np.array([0, 1, 2, 0, 1, 2])


def test_bytes_keep_type_and_get_a_channel():
    dataset = data.from_arrays(BYTES, LABELS, classes=["a", "b", "c"], name="mine")
    assert dataset.images.shape == (6, 5, 4, 1)
    assert dataset.images.dtype == np.uint8
    assert np.shares_memory(dataset.images, BYTES)
    np.testing.assert_array_equal(dataset.images[..., 0], BYTES)
    assert dataset.labels.dtype == np.int32
    assert (dataset.name, dataset.classes, dataset.scale) == ("mine", ("a", "b", "c"), 255.0)
    assert dataset.test_images is None
    assert dataset.checksums["images"] == hashlib.sha256(BYTES.tobytes()).hexdigest()


def test_floats_become_float32_with_scale_one():
    images = RNG.random((6, 5, 4, 3))
    dataset = data.from_arrays(images, LABELS, test_images=images[:2], test_labels=LABELS[:2])
    assert dataset.images.dtype == np.float32
    assert dataset.scale == 1.0
    assert dataset.classes == ("0", "1", "2")
    assert dataset.test_images is not None
    assert len(dataset.test_images) == 2


def test_another_scale_is_kept():
    assert data.from_arrays(BYTES // 16, LABELS, scale=16).scale == 16.0


NAN = np.zeros((6, 5, 4))
NAN[1, 2, 3] = np.nan


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((BYTES[0, 0], LABELS), {}, r"images has shape \(4,\); expected \(N, H, W\).*; one feature .* x\[:, None\]"),
        (({"a": BYTES}, LABELS), {}, r"images: got a dict, allowed is one array; data.Examples takes several"),
        ((BYTES, {"a": LABELS}), {}, r"labels: got a dict, allowed is one array; data.Examples takes several"),
        ((BYTES[None, None], LABELS), {}, r"images has shape \(1, 1, 6, 5, 4\); expected \(N, H, W\)"),
        ((BYTES[0], LABELS), {}, "5 images, but 6 labels"),
        ((BYTES.astype(np.int64), LABELS), {}, "images has type int64; expected uint8"),
        ((NAN, LABELS), {}, r"pixel that is not finite: nan at \(1, 2, 3, 0\)"),
        ((BYTES / 1.0, LABELS), {}, "images has pixels from 0.0 to 248.0; expected 0 to 1"),
        ((BYTES / 255.0 - 0.5, LABELS), {}, "images has pixels from -0.5 to"),
        ((BYTES, LABELS), {"scale": 16.0}, "expected 0 to 16"),
        ((BYTES, LABELS), {"scale": 0.0}, "scale is 0.0; it must be a positive number"),
        ((BYTES, LABELS[:4]), {"name": "mine"}, r"mine \(train\): 6 images, but 4 labels"),
        ((BYTES, LABELS - 1), {}, r"label -1 of example 0 is out of range"),
        ((BYTES, LABELS), {"classes": ["a", "b"]}, r"label 2 of example 2 is out of range; .* from 0 to 1"),
        ((BYTES, LABELS / 1.0), {"classes": "abc"}, "classes is the string 'abc'; expected a sequence"),
        (
            (BYTES, LABELS / 1.0),
            {"classes": ["a", "b", "c"]},
            "labels has shape .* type float64, but classes are named",
        ),
        (
            (BYTES, np.eye(6, dtype=int)),
            {},
            r"labels has shape \(6, 6\) .* expected integers \(N,\) for classes, or floats",
        ),
        ((BYTES, LABELS + 2**40), {}, "labels has the value 10995116"),
        ((BYTES, np.array([0, 1, 2**31 - 2, 0, 1, 2])), {}, "arrays: label 214748364. is too large for 6 examples"),
        ((BYTES[:0], LABELS[:0]), {}, "no images"),
        ((BYTES, LABELS), {"test_images": BYTES}, "must be given together"),
        ((BYTES, LABELS), {"test_images": BYTES[:, :4], "test_labels": LABELS}, r"train images are \(5, 4, 1\)"),
        ((BYTES, LABELS), {"test_images": BYTES, "test_labels": LABELS[:1]}, r"\(test\): 6 images, but 1 labels"),
    ],
)
def test_mistakes_are_named(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        data.from_arrays(*arguments, **options)


@pytest.mark.process
def test_importing_the_module_imports_none_of_the_optional_libraries():
    code = (
        "import sys, jaxdl.data\n"
        "optional = ('sklearn', 'pooch', 'requests', 'PIL', 'scipy.ndimage', 'matplotlib')\n"
        "print([m for m in optional if m in sys.modules])\n"
        "below = ('jaxdl.counterparts', 'jaxdl.data', 'jaxdl.disk', 'jaxdl.extras', 'jaxdl.numerics',"
        " 'jaxdl.words')\n"
        "print([m for m in sys.modules if m.startswith('jaxdl.') and not m.startswith(below)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["[]", "[]"]
