"""Folders and archives of images as they are in the world: from phones, from other systems, damaged and hostile.

Each law runs over all members of a kind: formats, orientations, suffixes, ways to be unreadable, false sizes.
"""

import gzip
import io
import os
import pathlib
import socket
import struct
import tarfile
import unicodedata
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from experiments import predict, summary
from jaxdl import data, disk, runs
from jaxdl.data.reading import archives, decoded, pixels
from jaxdl.data.reading import images as images_module
from jaxdl.runs import calling

RANDOM = np.random.default_rng(0)
COLOURS = RANDOM.integers(0, 256, (6, 4, 3), dtype=np.uint8)
GREYS = COLOURS[..., 0]


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def stored(array, kind="PNG", **options):
    file = io.BytesIO()
    (array if isinstance(array, Image.Image) else Image.fromarray(array)).save(file, kind, **options)
    return file.getvalue()


GOOD = stored(COLOURS)


def folder(root, **more):
    """Two classes of one image each, and more files by path."""
    for name, content in {"a/0.png": GOOD, "b/0.png": GOOD, **more}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def tar(path, files, *, mode="w"):
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.type, member.size = (tarfile.DIRTYPE, 0) if content is None else (tarfile.REGTYPE, len(content))
            archive.addfile(member, io.BytesIO(content or b""))
    return path


# ---------------------------------------------------------------- orientation, depth, formats, frames

EXACT = {"PNG": {}, "TIFF": {}, "WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}


def turned(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return stored(COLOURS, kind, exif=exif, **EXACT[kind])


@pytest.mark.parametrize("kind", EXACT)
def test_pictures_are_upright_in_training_and_in_predict(kind, tmp_path):
    """Against Pillow's own transposition."""
    for orientation in range(1, 9):
        content = turned(kind, orientation)
        with Image.open(io.BytesIO(content)) as image:
            expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        assert expected.shape == ((4, 6, 3) if orientation > 4 else (6, 4, 3))
        root = folder(tmp_path / str(orientation), **{"a/0.png": content, "b/0.png": content})
        dataset = data.load(root)
        np.testing.assert_array_equal(dataset.images[1], expected)
        single = predict.read_image(root / "a/0.png", expected.shape, 255.0)
        np.testing.assert_array_equal(single, expected)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_exif_behind_the_pixels_and_exif_that_cannot_be_read():
    exif = Image.Exif()
    exif[0x0112] = 6
    body = exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(body)) + b"eXIf" + body + struct.pack(">I", zlib.crc32(b"eXIf" + body))
    late = GOOD[:-12] + chunk + GOOD[-12:]
    assert pixels.read_header(late, "x").size == (6, 4)
    np.testing.assert_array_equal(pixels.decode(late, "x"), np.rot90(COLOURS, -1))
    odd = stored(COLOURS, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff", quality=100)
    assert pixels.decode(odd, "x").shape == COLOURS.shape


SIXTEEN = np.array([[0, 1, 127, 128], [129, 255, 256, 257], [32767, 32768, 65407, 65535]], np.uint16)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_of_grey_are_scaled_to_eight(kind, tmp_path):
    expected = np.floor(SIXTEEN.astype(float) * 255 / 65535 + 0.5)
    content = stored(SIXTEEN, kind)
    dataset = data.load(folder(tmp_path, **{"a/0.png": content, "b/0.png": content}))
    np.testing.assert_array_equal(dataset.images[0, ..., 0], expected)
    np.testing.assert_array_equal(predict.read_image(tmp_path / "a/0.png", (3, 4, 1), 255.0)[..., 0], expected)
    assert dataset.images.shape == (2, 3, 4, 1)
    np.testing.assert_array_equal(pixels.decode(content, "x", "RGB"), np.repeat(expected[..., None], 3, -1))


NOT_READ = {".apng": "an animation", ".dib": "rare", ".pfm": "floats", ".mpo": "rare"}


def test_every_suffix_of_the_formats_is_read_or_stands_in_the_set():
    Image.init()
    known = {suffix for suffix, kind in Image.registered_extensions().items() if kind in pixels.FORMATS}
    assert known - {*pixels.SUFFIXES} == {*NOT_READ} & known
    assert {*pixels.SUFFIXES} <= known


@pytest.mark.parametrize("suffix", pixels.SUFFIXES)
def test_a_picture_of_every_suffix_is_taken(suffix, tmp_path):
    kind = Image.registered_extensions()[suffix]
    dataset = data.load(folder(tmp_path, **{f"c/x{suffix}": stored(GREYS, kind), f"c/Y{suffix.upper()}": GOOD}))
    assert (dataset.classes, dataset.images.shape) == (("a", "b", "c"), (4, 6, 4, 3))
    assert ("lossy" in dataset.note) == (kind == "JPEG")


def test_what_is_skipped_is_said_once_with_a_count_at_every_load(tmp_path):
    frames = [Image.fromarray(GREYS), Image.fromarray(255 - GREYS)]
    moving = stored(frames[0], "GIF", save_all=True, append_images=frames[1:])
    more = {
        "a/1.heic": b"x",
        "b/1.HEIC": b"x",
        "b/notes": b"x",
        "readme.md": b"x",
        "a/m.gif": moving,
        "a/Thumbs.db": b"",
    }
    root = folder(tmp_path / "pets", **more)
    for _ in range(2):  # decoded, and from the cache
        with pytest.warns(RuntimeWarning) as caught:
            dataset = data.load(root)
        said = [str(one.message) for one in caught]
        assert len(said) == 2
        assert (
            f"{root}: 3 files beside the images were skipped (2 .heic, 1 (no suffix)), the first is a/1.heic" in said[0]
        )
        assert said[1] == f"{root}: 1 files have several frames, of which the first counts: a/m.gif"
    np.testing.assert_array_equal(dataset.images[1, ..., 0], GREYS)
    (root / "c").mkdir()
    (root / "c" / "x.heic").touch()
    with pytest.raises(ValueError, match=r"the class folder c has no images, but files that end in \.heic"):
        data.load(root)


# ---------------------------------------------------------------- what cannot be read


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def claiming(width, height, body=b""):
    """A PNG file of a few bytes that claims a size."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", body) + chunk(b"IEND", b"")


CONTENTS = {
    "empty": b"",
    "text": b"hello",
    "byte 11 is 0": GOOD[:11] + b"\0" + GOOD[12:],
    "large text": GOOD[:33] + chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(3 << 20))) + GOOD[33:],
    "9000 x 9000": claiming(9000, 9000),
    "a line": claiming(170_000_000, 1),
    "a column": claiming(1, 170_000_000),
    "beyond Pillow's limit": claiming(100_000, 100_000),
    "no pixels": claiming(0, 5),
    "floats": stored(np.zeros((6, 4), np.float32), "TIFF"),
}


def place_fifo(path):
    os.mkfifo(path)


def place_socket(path):
    server = socket.socket(socket.AF_UNIX)
    here = pathlib.Path.cwd()
    os.chdir(path.parent)  # the names of sockets are short
    server.bind(path.name)
    os.chdir(here)
    server.close()


PLACED = {
    "a pipe": place_fifo,
    "a socket": place_socket,
    "a link to nothing": lambda path: path.symlink_to("nowhere.png"),
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    **{what: lambda path, content=content: path.write_bytes(content) for what, content in CONTENTS.items()},
}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("what", PLACED)
def test_a_file_that_cannot_be_read_is_named_with_the_number_of_others_or_skipped(what, tmp_path):
    root = folder(tmp_path / "pets")
    PLACED[what](root / "a" / "bad.png")
    (root / "b" / "worse.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"the image a/bad\.png ") as caught:
        data.load(root)
    said = str(caught.value)
    assert said.startswith(f"{root}: ")
    assert "; 1 more of 4 image files cannot be read either; skip_unreadable=True (--skip-unreadable) leaves" in said
    with pytest.warns(RuntimeWarning, match=r"2 of 4 image files were skipped; the first: .*bad\.png"):
        dataset = data.load(root, skip_unreadable=True)
    np.testing.assert_array_equal(dataset.images, np.stack([COLOURS] * 2))
    assert dataset.note == "without 2 files that cannot be read"
    with pytest.raises(ValueError, match=r"bad\.png"):  # the cache of the skipping load is not the strict one's
        data.load(root)
    with pytest.raises(ValueError, match=r"a/bad\.png:"):
        predict.read_image(root / "a" / "bad.png", (6, 4, 3), 255.0)


def test_pixels_that_cannot_be_decoded_are_counted_and_may_empty_a_class(tmp_path):
    cut = stored(RANDOM.integers(0, 256, (6, 4, 3), dtype=np.uint8))[:-30]
    root = folder(tmp_path / "pets", **{"a/1.png": cut, "b/1.png": cut, "b/2.png": cut})
    with pytest.raises(ValueError, match=r"image a/1\.png cannot be read .*; 2 more of 5 image files"):
        data.load(root)
    with pytest.warns(RuntimeWarning, match="3 of 5 image files were skipped"):
        assert len(data.load(root, skip_unreadable=True).labels) == 2
    (root / "a/0.png").unlink()
    with pytest.raises(ValueError, match="the class folder a has no images"):
        data.load(root, skip_unreadable=True)
    for path in root.rglob("0.png"):
        path.unlink()
    with pytest.raises(ValueError, match="cannot be read"):
        data.load(root, skip_unreadable=True)


def test_all_images_together_have_a_limit(tmp_path, monkeypatch):
    root = folder(tmp_path / "pets")
    monkeypatch.setattr(images_module, "MOST_DECODED", 2 * COLOURS.size)
    data.load(root)
    (root / "a/1.png").write_bytes(GOOD)
    with pytest.raises(ValueError, match=r"pets: 3 images of 4 x 6 pixels take 216 bytes; at most 144 are kept"):
        data.load(root)


@pytest.mark.parametrize("kind", pixels.FORMATS)
@pytest.mark.filterwarnings("ignore")
def test_mutated_pictures_are_read_or_named(kind):
    random = np.random.default_rng(1)
    good = np.frombuffer(stored(COLOURS, kind), np.uint8)
    for _ in range(60):
        bad = good.copy()
        for _ in range(random.integers(1, 4)):
            bad[random.integers(0, len(bad))] = random.integers(0, 256)
        content = bad[: random.integers(1, len(bad) + 1)].tobytes() if random.random() < 0.3 else bad.tobytes()
        try:
            pixels.read_header(content, "here.png")
            pixels.decode(content, "here.png")
        except pixels.UnreadableImage as error:
            assert str(error).startswith("here.png ")  # noqa: PT017
            assert "\n" not in str(error)  # noqa: PT017


# ---------------------------------------------------------------- names


def test_names_in_other_encodings_and_accents_written_apart(tmp_path):
    root = folder(tmp_path / "pets")
    accented = "caf\N{LATIN SMALL LETTER E WITH ACUTE}"
    spelled = [unicodedata.normalize("NFC", accented).encode(), unicodedata.normalize("NFD", accented).encode()]
    spelled.append(accented.encode("latin-1"))
    for i, name in enumerate(spelled):
        place = os.fsencode(root) + b"/" + name
        os.mkdir(place)
        with open(place + b"/\xff%d.png" % i, "wb") as file:
            file.write(GOOD)
    dataset = data.load(root)
    assert (dataset.classes, dataset.labels.tolist()) == (("a", "b", accented), [0, 1, 2, 2, 2])
    moved = pathlib.Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xe9"))
    root.rename(moved)
    assert data.load(moved).name == "\N{LATIN SMALL LETTER E WITH ACUTE}"
    with tarfile.open(tmp_path / "pets.tar", "w") as archive:
        archive.add(moved, "top")
    assert data.load(tmp_path / "pets.tar").classes == dataset.classes


PART_NAMES = [
    ("train", "val", "test"),
    ("Train", "Valid", "TEST"),
    ("TRAIN", "Validation", None),
    ("train", "dev", None),
]


@pytest.mark.parametrize("names", PART_NAMES, ids=str)
def test_parts_are_known_by_their_usual_names_in_any_case(names, tmp_path):
    files = {}
    for number, part in enumerate(name for name in names if name):
        for label in "ab":
            for i in range(5):
                files[f"{part}/{label}/{i}.png"] = stored(np.full((6, 4), 10 * number + i, np.uint8))
    dataset = data.load(tar(tmp_path / "pets.tar", files))
    assert (len(dataset.labels), len(dataset.dev_labels), dataset.classes) == (10, 10, ("a", "b"))
    assert (dataset.test_labels is None) == (names[2:] in ((), (None,)))
    parts = data.split(dataset, seed=0, dev_fraction=0.1)
    assert set(parts.dev.images.ravel().tolist()) == {10, 11, 12, 13, 14}
    assert parts.train.images.max() < 10
    again = data.load(tmp_path / "pets.tar")  # from the cache
    np.testing.assert_array_equal(again.dev_images, dataset.dev_images)
    twice = files | {"validation/a/0.png": GOOD, "Val/a/0.png": GOOD}
    with pytest.raises(ValueError, match=r"the folders \w+, .*\w+ are one part, dev; keep one"):
        data.load(tar(tmp_path / "twice.tar", twice))


def test_a_path_that_exists_is_no_function_whatever_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder(tmp_path / "os:getcwd")
    assert runs.dataset("os:getcwd").classes == ("a", "b")
    calling.check_stored(tmp_path / "config.json", {"dataset": "os:getcwd"}, trust_run=False)
    with pytest.raises(ValueError, match="names code"):
        calling.check_stored(tmp_path / "config.json", {"model": "os:getcwd"}, trust_run=False)
    with pytest.raises(ValueError, match="names code"):
        calling.check_stored(tmp_path / "config.json", {"dataset": "os:_exit"}, trust_run=False)


# ---------------------------------------------------------------- archives

HIDDEN = (".ipynb_checkpoints", "__MACOSX", ".git")


@pytest.mark.parametrize("kind", ["folder", "archive"])
def test_hidden_folders_are_no_classes(kind, tmp_path):
    files = {"a/0.png": GOOD, "b/0.png": GOOD}
    files |= {f"{place}{name}/{file}": b"x" for name in HIDDEN for place in ("", "a/") for file in ("x.txt", "y.png")}
    if kind == "folder":
        assert data.load(folder(tmp_path / "pets", **files)).classes == ("a", "b")
        return
    folders = dict.fromkeys(["a", "b", *(f"{place}{name}" for name in HIDDEN for place in ("", "a/"))])
    assert data.load(tar(tmp_path / "pets.tar", folders | files)).classes == ("a", "b")


def header(name, *, size=0, kind=tarfile.REGTYPE, pax=None):
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    if pax is not None:
        member.pax_headers = pax
    return member.tobuf(tarfile.PAX_FORMAT if pax is not None else tarfile.GNU_FORMAT)


END = bytes(1024)
BLOCK = GOOD + bytes(-len(GOOD) % 512)
ARCHIVES = {
    "a header of 100 GB": header("a/0.png", size=100 << 30) + END,
    "a header of 900 MB": header("a/0.png", size=900 << 20) + END,
    "100 GB of something else": header("a/0.txt", size=100 << 30) + END,
    "a pax size": header("a/0.png", pax={"size": str(100 << 30)}) + END,
    "a pax header of 100 GB": header("x", size=100 << 30, kind=tarfile.XHDTYPE) + END,
    "a long name of 100 GB": header("x", size=100 << 30, kind=tarfile.GNUTYPE_LONGNAME) + END,
    "a sparse map": header("a/0.png", pax={"GNU.sparse.map": "0,1", "GNU.sparse.size": str(100 << 30)}) + END,
    "a sparse map without end": header("a/0.png", size=512, pax={"GNU.sparse.major": "1", "GNU.sparse.minor": "0"})
    + b"9" * 512,
    "a sparse map of words": header("a/0.png", pax={"GNU.sparse.map": "x,y", "GNU.sparse.size": "7"}) + END,
    "5,000 long names": (header("x", size=2, kind=tarfile.GNUTYPE_LONGNAME) + b"a\0" + bytes(510)) * 5000 + END,
    "a member that is too long": header("a/0.png", size=len(GOOD) + 9000) + BLOCK,
    "no end": header("a/0.png", size=len(GOOD)) + BLOCK,
    "nothing": b"",
    "garbage": bytes(range(256)) * 8,
}


@pytest.mark.parametrize("packed", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("what", ARCHIVES)
def test_false_claims_of_an_archive_are_refused_before_they_are_allocated(what, packed, tmp_path):
    path = tmp_path / "pets.tar"
    path.write_bytes(packed(ARCHIVES[what]))
    with pytest.raises(ValueError, match=r"pets\.tar: ") as caught:
        data.load(path)
    assert "\n" not in str(caught.value)


def test_an_archive_unpacks_to_a_multiple_of_its_size_at_most(tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "MOST_BYTES", 1 << 20)
    bomb = header("a/0.txt", size=8 << 20) + bytes(8 << 20) + header("a/0.png", size=len(GOOD)) + BLOCK + END
    path = tmp_path / "pets.tar.gz"
    path.write_bytes(gzip.compress(bomb))
    with pytest.raises(ValueError, match=r"pets\.tar\.gz: .*it unpacks to [\d,]+ bytes or more; at most [\d,]+ are"):
        data.load(path)
    with pytest.raises(ValueError, match=r"its member a/0\.png claims 8,388,608 bytes; at most 1,048,576"):
        data.load(tar(tmp_path / "large.tar", {"a/0.png": bytes(8 << 20)}))
    (tmp_path / "folder" / "a").mkdir(parents=True)
    with open(tmp_path / "folder" / "a" / "0.png", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ValueError, match=r"image a/0\.png has 1,099,511,627,776 bytes; at most 1,048,576 are read"):
        data.load(tmp_path / "folder")


@pytest.mark.parametrize("packed", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_mutated_archives_are_read_or_named(packed, tmp_path):
    random, path = np.random.default_rng(2), tmp_path / "pets.tar"
    good = np.frombuffer(packed(tar(path, {"a/0.png": GOOD, "b/0.png": GOOD, "a": None}).read_bytes()), np.uint8)
    for _ in range(150):
        bad = good.copy()
        # headers, whose blocks start at multiples of 512, and anything
        places = random.integers(0, len(bad), 3) if packed is not bytes else 512 * random.integers(0, 6, 3)
        bad[(places + random.integers(0, 200, 3)) % len(bad)] = random.integers(0, 256, 3)
        path.write_bytes(bad.tobytes())
        try:
            list(archives.survey(path, (".png",)))
        except ValueError as error:
            assert str(error).startswith(f"{path}: ")  # noqa: PT017


def test_a_damaged_header_ends_no_archive(tmp_path):
    path = tar(tmp_path / "pets.tar", {"a/0.png": GOOD, "b/0.png": GOOD})
    good = path.read_bytes()
    second = 512 + len(BLOCK)
    for place in range(second, second + 512, 19):
        path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        with pytest.raises(ValueError, match=rf"pets\.tar: the archive is damaged \(at byte {second:,} is neither"):
            list(archives.survey(path, (".png",)))


def test_idx_files_claim_no_more_than_they_have(tmp_path):
    labels = bytes([0, 0, 8, 1]) + struct.pack(">I", 2) + bytes([0, 1])
    images = tmp_path / "train-images-idx3-ubyte.gz"
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(labels)
    images.write_bytes(gzip.compress(bytes(64 << 20)))
    with pytest.raises(ValueError, match=r"images-idx3-ubyte\.gz: not an IDX file \(it starts with 00 00 00 00\)"):
        data.load(tmp_path)
    images.write_bytes(gzip.compress(bytes([0, 0, 8, 3]) + struct.pack(">3I", 1 << 31, 1 << 10, 1 << 10)))
    with pytest.raises(ValueError, match=r"ubyte\.gz: sizes .* need [\d,]+ bytes; at most 1,073,741,824 are read"):
        data.load(tmp_path)
    images.write_bytes(gzip.compress(bytes([0, 0, 8, 3]) + struct.pack(">3I", 2, 1, 1) + bytes(64 << 20)))
    with pytest.raises(ValueError, match=r"ubyte\.gz: too long: 19 bytes, but sizes \(2, 1, 1\) need 18"):
        data.load(tmp_path)


def test_a_pipe_is_no_archive(tmp_path):
    os.mkfifo(tmp_path / "pets.tar")
    with pytest.raises(ValueError, match=r"pets\.tar: is a pipe; expected a file"):
        data.load(tmp_path / "pets.tar")


# ---------------------------------------------------------------- the cache

INCONSISTENT = {
    "labels beyond the classes": {"labels": np.array([0, 7], np.int32)},
    "labels of another type": {"labels": np.array([0.0, 1.0])},
    "fewer labels": {"labels": np.array([0], np.int32)},
    "images of another type": {"images": np.zeros((2, 6, 4, 3))},
    "images of another rank": {"images": np.zeros((2, 6), np.uint8)},
    "no images": {"images": None},
    "images for the test without labels": {"test_images": np.zeros((2, 6, 4, 3), np.uint8)},
    "labels for development without images": {"dev_labels": np.zeros(2, np.int32)},
    "a text for an array": {"test_images": "x", "test_labels": "y"},
    "classes that are numbers": {"classes": (1, 2)},
    "another scale": {"scale": 0.0},
    "a note that is a list": {"note": []},
    "checksums that are a list": {"checksums": ["x"]},
}


def test_a_cache_that_contradicts_itself_is_made_anew(tmp_path):
    path = tmp_path / "x.npz"
    good = data.load(folder(tmp_path / "pets"))
    decoded.store(path, "f", good, ["said"])
    restored, said = decoded.restore(path, "f")
    assert (restored.classes, said) == (good.classes, ["said"])
    for what, fields in INCONSISTENT.items():
        decoded.store(path, "f", good._replace(**fields))
        assert decoded.restore(path, "f") is None, what


# ---------------------------------------------------------------- channels last


def test_channels_first_is_said(capsys):
    with pytest.raises(ValueError, match=r"images has shape \(2, 3, 32, 32\); channels come last here: \(32, 32, 3\)"):
        data.from_arrays(np.zeros((2, 3, 32, 32), np.uint8), [0, 1])
    assert data.from_arrays(np.zeros((2, 3, 3, 1), np.uint8), [0, 1]).images.shape == (2, 3, 3, 1)
    with pytest.raises(ValueError, match=r"in_shape=\(3, 224, 224\): channels come last here: \(224, 224, 3\)"):
        summary.main(["lenet5", "--in-shape", "3", "224", "224"])
    assert summary.main(["tiny_cnn", "--in-shape", "8", "8", "1", "--classes", "2"]) == 0
    assert "input" in capsys.readouterr().out
