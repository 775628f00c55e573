"""Memory and images per second of `data.streaming`, and whether reading hides behind the training step.

    python -m benchmarks.streaming
    JAXDL_DATA_DIR=DIR python -m benchmarks.streaming --behind lenet5 resnet18

The first command has torch's DataLoader beside it, on the same folder. Each row is a process of its own: n PNG files of
28 x 28 (links to 1,000 different ones), batches of 128, two workers each. Memory is that of the reading process above
the process before the data set was opened, at its peak (the private memory of worker processes is not in it), and
includes the index, the first pass and the batches. The first pass is not cached. Images per second are the median of
three epochs, of at most 10,000 images, after one that warms the file cache.

The second command trains lenet5 on Fashion-MNIST's PNG files (28 x 28, grey) and resnet18 on CIFAR-10's JPEG files,
written at 64 x 64, both in batches of 32 with random resized crops. It alternates short blocks of three kinds: the step
on a batch in memory, reading (decode, crop, resize) without the step, and both together as `experiments.train_cnn` runs
them. Medians over the blocks are printed. "CPU" is the CPU time per batch of this process and its workers; "hidden" is
the share of the shorter one that adds nothing to the longer one: (step + reading - together) / min(step, reading). It
is 100 % if both together take as long as the longer one, and 0 % if they take as long as one after the other. Work on n
CPUs takes at least its CPU time / n, which bounds "together" where the step uses all CPUs itself.
"""

import argparse
import collections
import importlib.metadata
import itertools
import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxdl import data
from jaxdl.data import streaming

BATCH, WORKERS, MOST, EPOCHS = 128, 2, 10_000, 3
NETS = {"lenet5": ("fashion_mnist", 28, "png"), "resnet18": ("cifar10", 64, "jpg")}  # data, pixels, kind of file
BLOCK = {"lenet5": 100, "resnet18": 2}  # batches that count
AHEAD = 2  # batches at the start of a block that do not count, because they may have been read before it
PER_BATCH, FILES, BLOCKS = 32, 2048, 5
READERS = ("jaxdl, threads", "jaxdl, 2 processes", "torch, 2 processes")


def write_images(folder: Path, count: int) -> None:
    from PIL import Image

    rng = np.random.default_rng(0)
    smooth = rng.integers(0, 256, (1000, 7, 7), np.uint8).repeat(4, 1).repeat(4, 2)
    for i in range(count):
        place = folder / f"class{i % 10}"
        place.mkdir(parents=True, exist_ok=True)
        if i < len(smooth):
            Image.fromarray(smooth[i]).save(place / f"{i}.png")
        else:
            os.link(folder / f"class{i % 10}" / f"{i % 1000}.png", place / f"{i}.png")


def of_jaxdl(folder: Path, workers: int) -> Callable[[int], Iterator[int]]:
    stream = streaming.open_images(folder, cache=False)
    train = streaming.split(stream, seed=0, dev_fraction=0, test_fraction=0.01).train
    loader = streaming.Loader(train, BATCH, seed=0, epochs=EPOCHS + 1, workers=workers)
    return lambda epoch: (len(batch.label) for batch in loader.batches(epoch))


def of_torch(folder: Path) -> Callable[[int], Iterator[int]]:
    import torch  # pyright: ignore[reportMissingImports]
    from PIL import Image

    files = sorted(folder.glob("*/*.png"))

    class Files(torch.utils.data.Dataset):
        def __len__(self):
            return len(files)

        def __getitem__(self, i):
            with Image.open(files[i], formats=("PNG",)) as image:
                return torch.from_numpy(np.array(image)), int(files[i].parent.name[-1])

    loader = torch.utils.data.DataLoader(
        Files(), BATCH, shuffle=True, drop_last=True, num_workers=WORKERS, persistent_workers=True
    )
    return lambda epoch: (len(label) for _, label in loader)


def measure(reader: str, folder: Path) -> str:
    """Return a row of the table without its first two cells."""
    if "torch" in reader:
        __import__("torch")  # the library itself is in neither row's memory
    before, began = peak(), time.perf_counter()
    epochs = of_torch(folder) if "torch" in reader else of_jaxdl(folder, WORKERS if "processes" in reader else 0)
    opened, rates = time.perf_counter() - began, []
    for epoch in range(EPOCHS + 1):
        images, began = 0, time.perf_counter()
        for images_of_batch in epochs(epoch):
            images += images_of_batch
            if images >= MOST:
                break
        rates.append(images / (time.perf_counter() - began))
    return f"{peak() - before:,.0f} | {opened:.1f} | {statistics.median(rates[1:]):,.0f}"


def peak() -> float:
    """Return the peak of this process's memory so far in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


# ---------------------------------------------------------------- reading behind the step


class Took(NamedTuple):
    """Seconds per batch."""

    wall: float
    cpu: float  # of this process and its workers


def write_data(name: str, size: int, suffix: str, folder: Path, count: int) -> None:
    """Write the first images of a data set at a size, in a folder per class."""
    from PIL import Image

    found = data.load(name)
    options: dict[str, Any] = {"quality": 95} if suffix == "jpg" else {}
    for i in range(count):
        place = folder / str(found.labels[i])
        place.mkdir(exist_ok=True)
        image = Image.fromarray(found.images[i].squeeze())
        image.resize((size, size), Image.Resampling.BILINEAR).save(place / f"{i}.{suffix}", **options)


def cpu_seconds() -> float:
    """Return the CPU time of this process and of its workers, as Linux counts it."""
    pids = [os.getpid(), *(child.pid for child in multiprocessing.active_children())]
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(one[11]) + int(one[12]) for one in fields) / os.sysconf("SC_CLK_TCK")


def timed(batches: Iterator[Any], use: Callable[[Any], Any], count: int) -> Took:
    """Use the batches of a block, and count ``count`` after the first ones."""
    import jax

    for batch in itertools.islice(batches, AHEAD):
        jax.block_until_ready(use(batch))
    cpu, began = cpu_seconds(), time.perf_counter()
    used = [use(batch) for batch in itertools.islice(batches, count)]
    jax.block_until_ready(used)
    return Took((time.perf_counter() - began) / count, (cpu_seconds() - cpu) / count)


def training_step(name: str, train: data.Examples) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """Return a function that trains on a batch on the device and returns the loss, and one that puts a batch there."""
    import jax

    from jaxdl import models, optimizers, training

    layer, rule = getattr(models, name)(num_classes=10), optimizers.sgd(0.01, momentum=0.9)
    stats = data.no_normalization(train.images.shape[-1], 255.0)
    step = training.train_step(layer, rule, preprocess=lambda x: data.normalize(x, stats))
    parallel = training.data_parallel(step, devices=1)
    params, state = layer.init(jax.random.key(0), train.images.shape[1:])
    key, held = jax.random.key(1), [parallel.place(training.start(params, state, rule))]

    def use(batch: Any) -> Any:
        held[0], metrics = parallel.step(held[0], batch, key)
        return metrics

    return use, parallel.shard


def loader_of(train: data.Examples, workers: int) -> Iterator[data.Batch]:
    """Yield batches without end."""
    loader = streaming.Loader(train, PER_BATCH, seed=0, epochs=10**6, random_crop=True, workers=workers)
    return itertools.chain.from_iterable(map(loader.batches, itertools.count()))


def behind(name: str, folder: Path) -> str:
    """Return the rows of a network, for each number of workers: the medians of the blocks."""
    from jaxdl import training

    write_data(*NETS[name], folder, FILES)
    stream = streaming.open_images(folder, cache=False)
    train = streaming.split(stream, seed=0, dev_fraction=0, test_fraction=0.1).train
    use, place = training_step(name, train)
    loaders = {workers: loader_of(train, workers) for workers in (0, 1, 2)}
    resident = place(next(loaders[0]))
    for _ in range(2):
        use(resident)
    found: dict[Any, list[Took]] = collections.defaultdict(list)
    for _ in range(BLOCKS):
        found["step"].append(timed(itertools.repeat(resident), use, BLOCK[name]))
        for workers, batches in loaders.items():
            found["reading", workers].append(timed(batches, lambda batch: batch.weight, BLOCK[name]))
            found["together", workers].append(timed(training.prefetch(batches, place), use, BLOCK[name]))
    median = {kind: Took(*map(statistics.median, zip(*tooks, strict=True))) for kind, tooks in found.items()}
    trios = [(median["step"], median["reading", workers], median["together", workers]) for workers in loaders]
    return "\n".join(row_behind(name, workers, *trio) for workers, trio in zip(loaders, trios, strict=True))


def row_behind(name: str, workers: int, step: Took, reading: Took, together: Took) -> str:
    """Return a row of the table."""
    longer, shorter = max(step.wall, reading.wall), min(step.wall, reading.wall)
    hidden = (longer + shorter - together.wall) / shorter
    times = " | ".join(f"{1e3 * one.wall:,.0f} ({1e3 * one.cpu:,.0f})" for one in (step, reading, together))
    start = f"| {name} | {workers or 'threads'} | {1 / reading.wall:,.1f} | {times} |"
    return f"{start} {together.wall / longer:.2f} | {100 * hidden:,.0f} | {os.getloadavg()[0]:.1f} |"


def show_behind(names: list[str]) -> None:
    """Print the rows of each network, from a process of its own."""
    print(f"{os.cpu_count()} CPUs; {BLOCKS} blocks of each, of batches of {PER_BATCH}\n")
    head = "network | workers | batches/s read | step (CPU), ms | reading (CPU), ms | together (CPU), ms"
    print(f"| {head} | together / longer | hidden (%) | load |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "benchmarks.streaming", "--one-behind", name, folder]
            ran = subprocess.run(command, capture_output=True, text=True, check=False)
        if ran.returncode:
            sys.exit(ran.stderr)
        print(ran.stdout.strip(), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000, 100_000], help="numbers of images")
    parser.add_argument("--one", nargs=2, metavar=("READER", "FOLDER"), help="measure one row in this process")
    parser.add_argument("--behind", nargs="+", choices=NETS, help="whether reading hides behind the step of these")
    parser.add_argument("--one-behind", nargs=2, metavar=("NET", "FOLDER"), help="as --one, of --behind")
    options = parser.parse_args()
    if options.behind:
        show_behind(options.behind)
        return
    if options.one_behind:
        print(behind(options.one_behind[0], Path(options.one_behind[1])))
        return
    if options.one:
        print(measure(options.one[0], Path(options.one[1])))
        return
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("grain", "torch", "pillow"))
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f} at the start; {versions}\n")
    print("| reader | images | memory (MB) | first pass (s) | images/s |\n|---|---:|---:|---:|---:|")
    for count in options.sizes:
        with tempfile.TemporaryDirectory() as folder:
            write_images(Path(folder), count)
            for reader in READERS:
                command = [sys.executable, "-m", "benchmarks.streaming", "--one", reader, folder]
                row = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
                print(f"| {reader} | {count:,} | {row} |", flush=True)


if __name__ == "__main__":
    main()
