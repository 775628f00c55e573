"""Memory and images per second of `data.streaming`, beside torch's DataLoader on the same folder.

    python -m benchmarks.streaming

Each row is a process of its own: n PNG files of 28 x 28 (links to 1,000 different ones), batches of 128, two workers
each. Memory is that of the reading process above the process before the data set was opened, at its peak (the private
memory of worker processes is not in it), and includes the index, the first pass and the batches. The first pass is not
cached. Images per second are the median of three epochs, of at most 10,000 images, after one that warms the file cache.
"""

import argparse
import importlib.metadata
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from jaxdl.data import streaming

BATCH, WORKERS, MOST, EPOCHS = 128, 2, 10_000, 3
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000, 100_000], help="numbers of images")
    parser.add_argument("--one", nargs=2, metavar=("READER", "FOLDER"), help="measure one row in this process")
    options = parser.parse_args()
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
