"""Streams of images beside the same images in memory: order, pixels, statistics, parts, crops, shards and faults."""

import hashlib
import io
import os
import pathlib
import signal
import subprocess
import sys
import tarfile

import numpy as np
import pytest
from PIL import Image

from jaxdl import data
from jaxdl.data import streaming
from jaxdl.data.reading import decoded, fetching
from jaxdl.data.streaming import cropping, index

pytest.importorskip("grain")
REPOSITORY = pathlib.Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def files(sizes=((8, 8),), per_class=9, colour=False, parts=("train/", "test/"), seed=0):
    """name -> bytes of small images in three classes, their sizes taken in turns."""
    rng, found = np.random.default_rng(seed), {}
    for part in parts:
        for label in ("cat", "dog", "owl"):
            for i in range(per_class):
                shape = sizes[len(found) % len(sizes)] + ((3,) if colour else ())
                found[f"{part}{label}/{i}.png"] = png(rng.integers(0, 256, shape, np.uint8))
    return found


def folder(path, contents):
    for name, one in contents.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(one)
    return path


def tar(path, contents, mode="w"):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name, one in contents.items():
            info = tarfile.TarInfo(name)
            info.size = len(one)
            archive.addfile(info, io.BytesIO(one))
    return path


def assert_same(some, others):
    for one, other in zip(some, others, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)
            assert a.dtype == b.dtype


def test_a_stream_is_the_data_set_in_memory(tmp_path):
    """Parts, order, pixels, statistics and padding are those of `data.load`, from a folder and from its archive."""
    contents = files(colour=True)
    loaded = data.load(folder(tmp_path / "pets", contents))
    split = data.split(loaded, seed=1, dev_fraction=0.2)
    for path in (tmp_path / "pets", tar(tmp_path / "a" / "pets.tar", contents)):
        stream = streaming.open_images(path)
        assert (stream.name, stream.index.classes) == (loaded.name, loaded.classes)
        parts = streaming.split(stream, seed=1, dev_fraction=0.2)
        for part, expected in zip(parts, split, strict=True):
            np.testing.assert_array_equal(part.labels, expected.labels)
            np.testing.assert_array_equal(part.images[:], expected.images)
            assert part.images.shape == expected.images.shape
            assert part.images.nbytes == expected.images.nbytes
            assert_same(streaming.eval_batches(part, 5), data.eval_batches(expected, 5))
        found = streaming.fit_normalization(stream, parts.train.images)
        np.testing.assert_allclose(found[:2], data.fit_normalization(split.train.images, 255.0)[:2], rtol=1e-7)
        with streaming.Loader(parts.train, 4, seed=3, epochs=2) as loader:
            for epoch in (0, 1):
                assert_same(loader.batches(epoch), data.batches(split.train, 4, seed=3, epoch=epoch))
            assert_same(loader.batches(1, 3), data.batches(split.train, 4, seed=3, epoch=1, start=3))


def test_pieces_of_large_batches_come_in_order(tmp_path):
    parts = streaming.split(
        streaming.open_images(folder(tmp_path / "pets", files(per_class=40, parts=("",)))), seed=0, dev_fraction=0.1
    )
    size = 70  # pieces of 32, 32 and 6
    memory = data.Examples(parts.train.images[:], parts.train.labels)
    with streaming.Loader(parts.train, size, seed=5, epochs=3, turns=2) as loader:
        for epoch in (0, 0, 1, 1, 2):  # each is read twice, as by two optimizers, until one drops out
            assert_same(loader.batches(epoch), data.batches(memory, size, seed=5, epoch=epoch))


def test_processes_read_parts_of_each_batch(tmp_path):
    stream = streaming.open_images(folder(tmp_path / "pets", files(((8, 12), (16, 10)))), size=8)
    train = streaming.split(stream, seed=0, dev_fraction=0).train
    options = {"seed": 2, "epochs": 2, "random_crop": True}
    with streaming.Loader(train, 6, **options) as whole:
        expected = list(whole.batches(1))
    shards = []
    for i in range(3):
        with streaming.Loader(train, 6, **options, shard=(i, 3)) as loader:
            shards.append(list(loader.batches(1)))
    for batch, *pieces in zip(expected, *shards, strict=True):
        for field, parts in zip(batch, zip(*pieces, strict=True), strict=True):
            np.testing.assert_array_equal(field, np.concatenate(parts))


def test_images_of_any_size_are_covered_by_a_central_window(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 16), np.uint8)
    path = folder(tmp_path / "x", {"a/1.png": png(pixels), "a/2.png": png(pixels.T.copy()), "b/1.png": png(pixels)})
    images = streaming.open_images(path, size=4).dataset().images[:]
    wide = np.asarray(Image.fromarray(pixels).resize((8, 4), Image.Resampling.BILINEAR))[:, 2:6]
    np.testing.assert_array_equal(images[..., 0], [wide, wide.T, wide])
    with pytest.raises(ValueError, match=r"2.png is 8 x 16 pixels, but a/1.png is 16 x 8; size=N \(--image-size N\)"):
        streaming.open_images(path)
    assert streaming.peek(path) == (3, {(8, 16), (16, 8)})


def test_random_windows_have_the_areas_and_ratios_of_the_reference():
    """Area uniform in [.08, 1] and ratio in [3/4, 4/3] where the window fits, which few large ones do not."""
    windows = np.array([cropping.random_window(400, 500, cropping.draws(0, 1, i)) for i in range(800)])
    wide, tall = windows[:, 2] - windows[:, 0], windows[:, 3] - windows[:, 1]
    assert windows.min() >= 0
    assert (windows[:, 2] <= 500).all()
    assert (windows[:, 3] <= 400).all()
    assert wide.min() / tall[wide.argmin()] > 0.74
    assert ((wide / tall > 0.745) & (wide / tall < 1.345)).all()
    share = wide * tall / 200_000
    assert 0.079 < share.min() < 0.1
    area, ratio = np.meshgrid(np.linspace(0.08, 1, 400), np.exp(np.linspace(np.log(3 / 4), np.log(4 / 3), 400)))
    fits = (np.sqrt(area * 200_000 * ratio) <= 500) & (np.sqrt(area * 200_000 / ratio) <= 400)
    assert abs(share.mean() - area[fits].mean()) < 3 * area[fits].std() / np.sqrt(800)
    assert len(np.unique(windows, axis=0)) > 790
    assert cropping.random_window(10, 400, np.full(22, 0.999)) == (193, 0, 206, 10)  # none fits: central, 4/3 wide


def test_shards_of_webdataset_are_read_in_the_order_of_their_keys(tmp_path):
    contents = files(parts=("",))
    shards = tmp_path / "shards"
    for part, names in (("train", list(contents)[::2]), ("val", list(contents)[1::2])):
        for shard in range(2):
            members = {}
            for name in names[shard::2]:
                key = name[:-4].replace("/", "-")
                members[f"{key}.png"] = contents[name]
                members[f"{key}.cls"] = str(("cat", "dog", "owl").index(name[:3])).encode()
            tar(shards / f"pets-{part}-{shard:04d}.tar", members)
    dataset = streaming.open_images(shards).dataset()
    assert dataset.classes == ("0", "1", "2")
    for images, labels, names in (
        (dataset.images, dataset.labels, sorted(list(contents)[::2])),
        (dataset.dev_images, dataset.dev_labels, sorted(list(contents)[1::2])),
    ):
        expected = [np.asarray(Image.open(io.BytesIO(contents[name])))[..., None] for name in names]
        np.testing.assert_array_equal(images[:], expected)
        np.testing.assert_array_equal(labels, [("cat", "dog", "owl").index(name[:3]) for name in names])


def test_faults_are_named(tmp_path):
    contents = files(parts=("",))
    bad = folder(tmp_path / "bad", {**contents, "cat/x.png": b"no image", "cat/y.png": b"", "dog/a.txt": b"notes"})
    with pytest.raises(ValueError, match=r"cat/x.png cannot be read .*; 1 more of 29 image files .*--skip-unreadable"):
        streaming.open_images(bad)
    with pytest.warns(RuntimeWarning) as said:
        stream = streaming.open_images(bad, skip_unreadable=True)
    texts = [str(one.message) for one in said]
    assert any("1 other files were skipped (1 .txt), the first is dog/a.txt" in text for text in texts)
    assert any("2 of 29 image files were skipped" in text for text in texts)
    assert len(stream.index.label) == 27
    assert stream.note == "without 2 files that cannot be read"
    train = stream.dataset()
    (bad / index.name_of(stream.index, 3)).unlink()
    with pytest.raises(ValueError, match="there is no such file"):
        train.images[3]
    with (
        streaming.Loader(data.Examples(train.images, train.labels), 27, seed=0, epochs=1) as loader,
        pytest.raises(ValueError, match="there is no such file"),
    ):
        list(loader.batches(0))
    with pytest.raises(ValueError, match=r"x.tar.gz: is a compressed archive, .* unpack it"):
        streaming.open_images(tar(tmp_path / "x.tar.gz", contents, "w:gz"))
    with pytest.raises(ValueError, match=r"the image a.png has no file a.cls"):
        streaming.open_images(tar(tmp_path / "s" / "0.tar", {"a.png": contents["cat/0.png"], "b.cls": b"1"}).parent)
    with pytest.raises(ValueError, match=r"b.cls holds '-1'; expected a class number"):
        streaming.open_images(tar(tmp_path / "t" / "0.tar", {"b.cls": b"-1"}).parent)
    twice = tar(tmp_path / "u" / "0.tar", contents).parent
    tar(twice / "1.tar", contents)
    with pytest.raises(ValueError, match=r"occurs twice"):
        streaming.open_images(twice)
    with pytest.raises(FileNotFoundError, match="no such folder or archive"):
        streaming.open_images(tmp_path / "nowhere")
    in_memory = data.Examples(np.zeros((4, 2, 2, 1), np.uint8), np.zeros(4, np.int32))
    with pytest.raises(ValueError, match=r"images of type ndarray; expected those of streaming\.split"):
        streaming.Loader(in_memory, 2, seed=0, epochs=1)


def test_the_findings_are_kept_until_the_files_change(tmp_path):
    path, seen = folder(tmp_path / "pets", files()), []
    first = streaming.open_images(path, on_progress=lambda *counts: seen.append(counts))
    assert seen[-1] == (54, 54)
    again = streaming.open_images(path, on_progress=lambda *counts: seen.append("again"))
    np.testing.assert_array_equal(again.sums, first.sums)
    assert again.checksum == first.checksum
    assert "again" not in seen
    (path / "train/cat/0.png").write_bytes(png(np.full((8, 8), 9, np.uint8)))
    changed = streaming.open_images(path, on_progress=lambda *counts: seen.append("again"))
    assert "again" in seen
    assert changed.checksum != first.checksum
    np.testing.assert_array_equal(changed.sums[0, :, 0], [64 * 9, 64 * 81])
    (kept,) = (tmp_path / "cache" / "jaxdl" / "surveys").iterdir()
    kept.write_bytes(kept.read_bytes()[:200])
    np.testing.assert_array_equal(streaming.open_images(path).sums, changed.sums)


def test_a_missing_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "grain", None)
    with pytest.raises(ImportError, match=r"images needs grain: install it with `pip install 'jaxdl\[streaming"):
        streaming.open_images(folder(tmp_path / "pets", files()))
    assert fetching.cache_folder().parent == tmp_path / "cache"


PROGRAM = """
import hashlib, os, sys
from jaxdl.data import streaming

def main():
    train = streaming.split(streaming.open_images(sys.argv[1], size=6), seed=0, dev_fraction=0).train
    start, workers = int(sys.argv[2]), int(sys.argv[3])
    with streaming.Loader(train, 4, seed=1, epochs=1, random_crop=True, workers=workers) as loader:
        for number, batch in enumerate(loader.batches(0, start), start):
            print(number, hashlib.sha256(batch.image.tobytes() + batch.label.tobytes()).hexdigest(), flush=True)
            if number == 2 and not start:
                print("pids", *children(os.getpid()), flush=True)
                sys.stdin.readline()

def children(pid):
    return [child for task in os.scandir(f"/proc/{pid}/task") for child in open(f"{task.path}/children").read().split()]

if __name__ == "__main__":
    main()
"""


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_kill_in_mid_epoch_leaves_no_worker_and_reading_goes_on_with_the_same_bits(tmp_path):
    path = folder(tmp_path / "pets", files(((8, 12), (16, 10)), parts=("",)))
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    train = streaming.split(streaming.open_images(path, size=6), seed=0, dev_fraction=0).train
    with streaming.Loader(train, 4, seed=1, epochs=1, random_crop=True) as loader:
        whole = [hashed(batch) for batch in loader.batches(0)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, str(program), str(path)]
    with subprocess.Popen(
        [*command, "0", "2"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        lines = [process.stdout.readline().split() for _ in range(4)]
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert [line[1] for line in lines[:3]] == whole[:3]
    rest = subprocess.run([*command, "3", "0"], capture_output=True, text=True, check=True, env=environment)
    assert [line.split()[1] for line in rest.stdout.splitlines()] == whole[3:]
    assert len(lines[3]) >= 3  # the workers, and Python's tracker of shared memory
    assert not [pid for pid in lines[3][1:] if alive(pid)]  # they had the time of the second program to end


def hashed(batch):
    return hashlib.sha256(batch.image.tobytes() + batch.label.tobytes()).hexdigest()


def alive(pid):
    stat = pathlib.Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_the_cache_of_decoded_images_has_a_place_a_limit_and_a_switch(tmp_path, monkeypatch):
    place = fetching.cache_folder() / "decoded"
    sets = [folder(tmp_path / name, files(parts=("",), seed=i)) for i, name in enumerate("abc")]
    data.load(sets[0])
    (first,) = place.iterdir()
    size = first.stat().st_size
    assert decoded.status(place) == (
        f"decoded images are cached in {place}: {size:,} bytes of at most {8 << 30:,} (JAXDL_CACHE_BYTES, 0 for none)"
    )
    monkeypatch.setenv("JAXDL_CACHE_BYTES", str(3 * size + 2000))  # 4,096 bytes of a new file are reckoned for headers
    os.utime(first, (1, 1))
    data.load(sets[1])
    data.load(sets[0])  # now used last
    (second,) = set(place.iterdir()) - {first}
    os.utime(second, (2, 2))
    monkeypatch.setenv("JAXDL_CACHE_BYTES", str(2 * size + 4096))
    data.load(sets[2])
    assert first in set(place.iterdir())
    assert second not in set(place.iterdir())
    monkeypatch.setenv("JAXDL_CACHE_BYTES", "0")
    kept = {path: path.stat().st_mtime for path in place.iterdir()}
    data.load(sets[1])
    assert {path: path.stat().st_mtime for path in place.iterdir()} == kept
    assert decoded.status(place) == "decoded images are not cached (JAXDL_CACHE_BYTES=0)"
    monkeypatch.setenv("JAXDL_CACHE_BYTES", "8 GB")
    with pytest.raises(ValueError, match="JAXDL_CACHE_BYTES is '8 GB'; expected a number of bytes"):
        data.load(sets[0])


def test_a_stream_notes_how_many_of_its_images_are_lossy(tmp_path):
    contents = files(per_class=1, parts=("",))
    half = {name.replace("cat/0.png", "cat/0.JPG"): one for name, one in contents.items()}
    note = "1 of 3 images decoded from JPEG files, which are lossy copies"
    where = folder(tmp_path / "pets", half)
    assert streaming.open_images(where).note == note
    resized = streaming.open_images(where, size=5)
    assert resized.note == f"{note}; largest central squares resized to 5 x 5"
