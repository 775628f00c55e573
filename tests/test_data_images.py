"""Folders and archives of images per class: layouts, the cache, and every way they can be wrong."""

import builtins
import collections
import hashlib
import io
import shutil
import tarfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from jaxdl import data
from jaxdl.data.reading import gathering
from jaxdl.data.reading import images as images_module
from jaxdl.data.reading import pixels as pixels_module

Image = pytest.importorskip("PIL.Image", reason="reading images needs Pillow")
RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "jaxdl" / "decoded"


def png(pixels, kind="png"):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def picture(*shape):
    return RNG.integers(0, 256, shape or (6, 5, 3), dtype=np.uint8)


def write(root, files):
    for name, contents in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(contents)
    return root


def archive(path, files, *, mode="w"):
    with tarfile.open(path, mode) as tar:
        for name, contents in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(contents)
            tar.addfile(member, io.BytesIO(contents))
    return path


PIXELS = {
    f"{part}/{label}/{i}.png": picture() for part in ("test", "train") for label in ("cat", "ant") for i in range(2)
}
FILES = {name: png(value) for name, value in PIXELS.items()}


def check(dataset):
    train = ["train/ant/0.png", "train/ant/1.png", "train/cat/0.png", "train/cat/1.png"]
    np.testing.assert_array_equal(dataset.images, np.stack([PIXELS[name] for name in train]))
    test = [PIXELS[name.replace("train", "test")] for name in train]
    np.testing.assert_array_equal(dataset.test_images, np.stack(test))
    np.testing.assert_array_equal(dataset.labels, [0, 0, 1, 1])
    np.testing.assert_array_equal(dataset.test_labels, [0, 0, 1, 1])
    assert dataset.classes == ("ant", "cat")
    assert dataset.scale == 255.0


def test_a_folder_with_train_and_test(tmp_path):
    dataset = data.load(write(tmp_path / "pets", FILES | {"README.txt": b"x", "train/.DS_Store": b"x"}))
    check(dataset)
    assert dataset.name == "pets"
    assert dataset.note == ""


@pytest.mark.parametrize(("suffix", "mode"), [("tar", "w"), ("tar.gz", "w:gz"), ("tgz", "w:gz"), ("tar.xz", "w:xz")])
@pytest.mark.parametrize("top", ["", "pets-1.0/"])
def test_an_archive_gives_the_same_as_its_folder(tmp_path, suffix, mode, top):
    # an arbitrary order of members, perhaps one more folder around them, and the files that macOS adds
    members = {top + name: FILES[name] for name in sorted(FILES, reverse=True)}
    path = archive(tmp_path / f"pets-1.0.{suffix}", members | {f"{top}train/ant/._0.png": b"junk"}, mode=mode)
    dataset = data.load(str(path))
    check(dataset)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert (dataset.name, dataset.checksums) == ("pets-1.0", {path.name: digest})
    renamed = path.rename(tmp_path / f"animals.{suffix}")
    assert data.load(renamed).checksums == {renamed.name: digest}


def test_classes_without_a_split_and_grey_images(tmp_path):
    grey = {name: picture(4, 3) for name in ("a-b/x.png", "a/y.png")}
    dataset = data.load(write(tmp_path / "grey", {name: png(value) for name, value in grey.items()}))
    assert dataset.test_images is None
    np.testing.assert_array_equal(dataset.images[..., 0], np.stack([grey["a/y.png"], grey["a-b/x.png"]]))
    np.testing.assert_array_equal(dataset.labels, [0, 1])


def test_grey_images_among_coloured_ones_become_rgb(tmp_path):
    grey, colour = picture(4, 3), picture(4, 3, 3)
    dataset = data.load(write(tmp_path / "mixed", {"a/0.png": png(grey), "b/0.png": png(colour)}))
    np.testing.assert_array_equal(dataset.images[0], np.repeat(grey[..., None], 3, axis=-1))
    np.testing.assert_array_equal(dataset.images[1], colour)


@pytest.mark.parametrize(
    ("other", "note"),
    [("b/0.JPG", "decoded from"), ("b/0.png", "1 of 2 images decoded from")],
    ids=["all", "half"],
)
def test_lossy_images_are_noted(tmp_path, other, note):
    kind = "png" if other.endswith("png") else "jpeg"
    folder = write(tmp_path / "photos", {"a/0.jpg": png(picture(), "jpeg"), other: png(picture(), kind)})
    assert data.load(folder).note == f"{note} JPEG files, which are lossy copies"


def test_images_are_decoded_once_and_again_when_the_source_changes(tmp_path, cache, monkeypatch):
    decoded = []
    real = images_module._decode_all
    monkeypatch.setattr(
        images_module, "_decode_all", lambda path, **options: decoded.append(path) or real(path, **options)
    )
    folder = write(tmp_path / "pets", FILES)
    first, second = data.load(folder), data.load(folder)
    check(second)
    assert len(decoded) == 1
    assert first.checksums == second.checksums
    new = picture()
    (folder / "train/ant/0.png").write_bytes(png(new))
    np.testing.assert_array_equal(data.load(folder).images[0], new)
    assert len(decoded) == 2
    assert len(list(cache.iterdir())) == 1


def test_a_damaged_cache_is_noticed_and_made_anew(tmp_path, cache):
    path = archive(tmp_path / "pets.tar", FILES)
    data.load(path)
    (cached,) = cache.iterdir()
    good = cached.read_bytes()
    # flip every sixteenth byte, in headers, pixels, names and checksums alike; then truncate
    # the flags (8, 10) of a member's entry make zipfile raise errors of its own
    entry = good.index(b"PK\x01\x02")
    for position in [*range(0, len(good), 16), entry + 8, entry + 10]:
        cached.write_bytes(good[:position] + bytes([good[position] ^ 1]) + good[position + 1 :])
        check(data.load(path))
    for length in (0, 10, len(good) // 2, len(good) - 1):
        cached.write_bytes(good[:length])
        check(data.load(path))
        assert len(cached.read_bytes()) == len(good)


def test_an_unwritable_cache_gives_a_warning(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.warns(RuntimeWarning, match="decoded images could not be cached in"):
        check(data.load(write(tmp_path / "pets", FILES)))


def without(*prefixes):
    return {name: value for name, value in FILES.items() if not name.startswith(prefixes)}


def deep():
    """A TIFF file of 32 bits per pixel."""
    file = io.BytesIO()
    Image.fromarray(np.zeros((6, 5), np.int32)).save(file, "tiff")
    return file.getvalue()


BROKEN = png(picture(40, 40, 3))
BAD = {
    "size": (FILES | {"train/cat/2.png": png(picture(9, 5, 3))}, r"train/cat/2.png is 5 x 9 pixels, but .* is 5 x 6"),
    "no image": (FILES | {"train/cat/2.png": b"hello"}, "image train/cat/2.png cannot be read"),
    "truncated": ({"a/0.png": BROKEN, "b/0.png": BROKEN[:2000]}, "image b/0.png cannot be read"),
    "flipped": ({"a/0.png": BROKEN, "b/0.png": BROKEN[:900] + b"!!" + BROKEN[902:]}, "image b/0.png cannot be read"),
    "depth": (FILES | {"train/cat/2.tif": deep()}, "image train/cat/2.tif has mode I; expected 8 or 16 bits"),
    "classes": (without("test/cat"), "different classes; only in train: cat; only in test: none"),
    "no train": (without("train"), "images in a folder test, but none in a folder train"),
    "flat": ({"0.png": FILES["train/cat/0.png"]}, "0.png is not at CLASS/IMAGE.*docs/data.md sorts images"),
    "flat train": ({"train/0.png": FILES["train/cat/0.png"]}, r"train/0.png is not at train\|val\|test/CLASS/IMAGE"),
    "val": (FILES | {"val/cat/0.png": FILES["train/cat/0.png"]}, "train and dev have different classes; only in train"),
    "more": (FILES | {"more/cat/0.png": FILES["train/cat/0.png"]}, "the top folders are more, test, train"),
    "mixed": (FILES | {"train/0.png": FILES["train/cat/0.png"]}, "train/0.png is not at"),
    "nothing": ({"a/notes.txt": b"x"}, "no images; looked for .png"),
}


@pytest.mark.parametrize("kind", ["folder", "archive"])
@pytest.mark.parametrize("case", BAD)
def test_faulty_folders_and_archives_are_named(tmp_path, case, kind):
    files, message = BAD[case]
    path = write(tmp_path / "pets", files) if kind == "folder" else archive(tmp_path / "pets.tar", files)
    with pytest.raises(ValueError, match=message) as caught:
        data.load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("kind", ["folder", "archive"])
def test_an_empty_class_is_named(tmp_path, kind):
    path = write(tmp_path / "pets", FILES | {"train/dog/readme.txt": b"no dogs yet"})
    if kind == "archive":
        with tarfile.open(tmp_path / "pets.tar", "w") as tar:
            tar.add(path, "pets")
        path = tmp_path / "pets.tar"
    with pytest.raises(ValueError, match="the class folder train/dog has no images"):
        data.load(path)


def special(name, kind, target=""):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (special("../outside.png", tarfile.REGTYPE), "'../outside.png' leads out of the archive"),
        (special("/etc/evil.png", tarfile.REGTYPE), "'/etc/evil.png' leads out of the archive"),
        (special("train/cat/x.png", tarfile.SYMTYPE, "/etc/passwd"), "'train/cat/x.png' is a link or a device"),
        (special("train/cat/x.png", tarfile.LNKTYPE, "train/cat/0.png"), "is a link or a device"),
        (special("train/cat/x.png", tarfile.FIFOTYPE), "is a link or a device"),
    ],
)
def test_a_hostile_archive_is_refused_and_writes_nothing(tmp_path, member, message):
    path = archive(tmp_path / "pets.tar", FILES)
    with tarfile.open(path, "a") as tar:
        tar.addfile(member)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match=message):
        data.load(path)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(("suffix", "mode"), [("tar", "w"), ("tar.gz", "w:gz"), ("tar.xz", "w:xz")])
def test_a_truncated_archive_is_named(tmp_path, suffix, mode):
    path = archive(tmp_path / f"pets.{suffix}", FILES, mode=mode)
    contents = path.read_bytes()
    path.write_bytes(contents[: len(contents) // 2])
    with pytest.raises(ValueError, match=f"pets.{suffix}: .*truncated"):
        data.load(path)


def test_a_file_that_is_no_archive_is_named_as_such(tmp_path):
    (tmp_path / "pets.tar").write_bytes(b"hello " * 1000)
    with pytest.raises(ValueError, match=r"pets.tar: the file is truncated, damaged or not an archive"):
        data.load(tmp_path / "pets.tar")


def test_a_file_twice_in_an_archive_is_named(tmp_path):
    path = archive(tmp_path / "pets.tar", FILES)
    with tarfile.open(path, "a") as tar:
        member = tarfile.TarInfo("train/cat/0.png")
        member.size = len(FILES["train/cat/0.png"])
        tar.addfile(member, io.BytesIO(FILES["train/cat/0.png"]))
    with pytest.raises(ValueError, match=r"train/cat/0.png occurs twice"):
        data.load(path)


def test_moving_a_folder_does_not_confuse_the_cache(tmp_path):
    folder = write(tmp_path / "pets", FILES)
    data.load(folder)
    other = shutil.move(folder, tmp_path / "moved")
    write(tmp_path / "pets", {name: png(picture()) for name in FILES})
    check(data.load(Path(other)))


# ---------------------------------------------------------------- one pass


@pytest.fixture
def seen(monkeypatch):
    """How often each image file was opened, and each image decoded."""
    opened, decoded = collections.Counter(), collections.Counter()
    real_open, real_decode = builtins.open, pixels_module.decode

    def counting_open(path, *args, **options):
        if str(path).endswith((".png", ".tar", ".tar.gz")):
            opened[Path(path).name] += 1
        return real_open(path, *args, **options)

    def counting_decode(contents, where, mode=None):
        decoded[where] += 1
        return real_decode(contents, where, mode)

    monkeypatch.setattr(builtins, "open", counting_open)
    monkeypatch.setattr(pixels_module, "decode", counting_decode)
    return opened, decoded


def test_every_file_is_opened_and_decoded_once(tmp_path, seen):
    numbered = {f"{part}/{label}/{part}{label}{i}.png": picture() for part, label, i in PLACES}
    folder = write(tmp_path / "pets", {name: png(value) for name, value in numbered.items()})
    dataset = data.load(folder)
    opened, decoded = seen
    assert dict(opened) == {Path(name).name: 1 for name in numbered}
    assert sorted(decoded.values()) == [1] * len(numbered)
    for part, images in (("train", dataset.images), ("val", dataset.dev_images), ("test", dataset.test_images)):
        names = sorted(name for name in numbered if name.startswith(part))
        np.testing.assert_array_equal(images, np.stack([numbered[name] for name in names]))


PLACES = [(part, label, i) for part in ("test", "train", "val") for label in ("cat", "ant") for i in range(3)]


@pytest.mark.parametrize(("suffix", "mode"), [("tar", "w"), ("tar.gz", "w:gz")])
def test_every_image_of_an_archive_is_decoded_once(tmp_path, seen, suffix, mode):
    check(data.load(archive(tmp_path / f"pets.{suffix}", FILES, mode=mode)))
    assert sorted(seen[1].values()) == [1] * len(FILES)
    assert seen[0][f"pets.{suffix}"] <= 6  # the kinds of the file, its digest and the images: two opens each


def test_the_first_colours_may_come_at_any_time(tmp_path):
    """Grey images become RGB in place, and those whose pixels are damaged leave no gap."""
    for first in (0, 1, 5, 9):
        values = {f"{'ab'[i % 2]}/{i}.png": picture(7, 6, 3) if i == first else picture(7, 6) for i in range(10)}
        torn = {f"b/{i}.png": png(values[f"b/{i}.png"])[:60] for i in (3, 7)}
        root = write(tmp_path / str(first), {name: png(value) for name, value in values.items()} | torn)
        with pytest.raises(ValueError, match=r"b/3.png cannot be read .*; 1 more of 10 image files cannot be read"):
            data.load(root)
        with pytest.warns(RuntimeWarning, match="2 of 10 image files were skipped; the first: .*b/3.png cannot"):
            found = data.load(root, skip_unreadable=True)
        kept = [values[name] for name in sorted(values) if name not in torn]
        wide = [value if value.ndim == 3 else np.repeat(value[..., None], 3, axis=-1) for value in kept]
        np.testing.assert_array_equal(found.images, np.stack(wide))
        np.testing.assert_array_equal(found.labels, [0] * 5 + [1] * 3)


def test_images_are_never_in_memory_twice(tmp_path, monkeypatch):
    """Parts in another order than that of reading, and a first image of colours after grey ones."""
    monkeypatch.setenv("JAXDL_CACHE_BYTES", "0")
    grey, colour = png(np.zeros((100, 100), np.uint8)), png(np.zeros((100, 100, 3), np.uint8))
    names = [f"{part}/{label}/{i}.png" for part in ("test", "train") for label in "ab" for i in range(50)]
    folder = write(tmp_path / "x", {name: colour if name == "train/a/0.png" else grey for name in names})
    data.load(folder)
    tracemalloc.start()
    dataset = data.load(folder)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert dataset.test_images is not None
    assert peak < 1.4 * (dataset.images.nbytes + dataset.test_images.nbytes)


def test_rows_are_put_in_any_order_in_place():
    rng = np.random.default_rng(0)
    for count in (1, 2, 3, 10, 57):
        order, rows = rng.permutation(count), rng.integers(0, 256, (count, 2), np.uint8)
        expected = rows[order]
        gathering.permute(rows, order)
        np.testing.assert_array_equal(rows, expected)
