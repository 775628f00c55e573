"""Time every method of a convolution's three products over a table of shapes, to tune `jaxdl.kernels.tuned`.

    python -m benchmarks.conv_methods [--rows lenet5.1 resnet20.16 ...] [--seconds 0.3]

For each shape, the forward pass, the input gradient and the kernel gradient are compiled by each method, compared with
the results of XLA's convolution, and run in turn; the time is that of the fastest call. The whole table runs twice, and
the faster time of each program counts, because other users of the machine take a core away for seconds, which slows
programs on two cores but not those on one. Rows of earlier runs are kept, so a slow machine can measure the table in
parts. The command writes benchmarks/conv_methods.csv and, from it, benchmarks/conv_methods.md.
"""

import argparse
import csv
import pathlib
import statistics
import time
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.kernels import METHODS, axes_of, choose, native, tuned
from jaxdl.layers import conv2d

TABLE = pathlib.Path(__file__).with_suffix(".csv")
PRODUCTS = ("forward", "input gradient", "kernel gradient")
RUN = (*METHODS, "native") if native.available() else METHODS
OF_MANY_GROUPS = [method for method in RUN if method in ("xla", "patches", "native")]  # the others take minutes
BURST = 3
FIELDS = ("shape", "product", "method", "chosen", "chosen_native", "gflop", "milliseconds", "compile_seconds")


class Shape(NamedTuple):
    """A convolution of square images."""

    batch: int
    size: int
    c_in: int
    window: int
    c_out: int
    padding: str | int = "SAME"
    stride: int = 1
    dilation: int = 1
    groups: int = 1


SHAPES = {
    "20-50-500-10.1": Shape(64, 28, 1, 5, 20, "VALID"),
    "20-50-500-10.2": Shape(64, 12, 20, 5, 50, "VALID"),
    "32-64-1024-10.1": Shape(64, 28, 1, 3, 32, "VALID"),
    "32-64-1024-10.2": Shape(64, 13, 32, 3, 64, "VALID"),
    "lenet5.1": Shape(64, 28, 1, 5, 6, 2),
    "lenet5.2": Shape(64, 14, 6, 5, 16, "VALID"),
    "2c2d.1": Shape(128, 28, 1, 5, 32),
    "2c2d.2": Shape(128, 14, 32, 5, 64),
    "3c3d.1": Shape(128, 32, 3, 5, 64, "VALID"),
    "3c3d.2": Shape(128, 14, 64, 3, 96, "VALID"),
    "3c3d.3": Shape(128, 6, 96, 3, 128),
    "resnet20.stem": Shape(128, 32, 3, 3, 16),
    "resnet20.16": Shape(128, 32, 16, 3, 16),
    "resnet20.16-32": Shape(128, 32, 16, 3, 32, stride=2),
    "resnet20.32": Shape(128, 16, 32, 3, 32),
    "resnet20.32-64": Shape(128, 16, 32, 3, 64, stride=2),
    "resnet20.64": Shape(128, 8, 64, 3, 64),
    "resnet50.stem": Shape(8, 224, 3, 7, 64, 3, stride=2),
    "resnet50.128": Shape(8, 56, 128, 3, 128, stride=2),
    "resnet50.512": Shape(8, 14, 512, 3, 512, stride=2),
    "allcnn.96": Shape(64, 32, 96, 3, 96, stride=2),
    "capsnet.2": Shape(8, 20, 256, 9, 256, "VALID", stride=2),
    "vgg.64": Shape(32, 32, 64, 3, 64),
    "vgg.128": Shape(32, 16, 128, 3, 128),
    "vgg.256": Shape(32, 8, 256, 3, 256),
    "1x1": Shape(64, 16, 64, 1, 128),
    "1x1 stride 2": Shape(128, 32, 16, 1, 32, stride=2),
    "dilated": Shape(32, 16, 32, 3, 32, dilation=2),
    "2 groups": Shape(16, 14, 96, 5, 256, groups=2),
    "4 groups": Shape(32, 16, 64, 3, 64, groups=4),
    "depthwise": Shape(32, 16, 64, 3, 64, groups=64),
    "depthwise.64": Shape(32, 48, 64, 3, 64, groups=64),
    "depthwise.256": Shape(1, 124, 256, 3, 256, groups=256),
    "depthwise.512": Shape(32, 6, 512, 3, 512, groups=512),
    "depthwise stride 2": Shape(32, 24, 128, 3, 128, stride=2, groups=128),
}


def arrays(shape: Shape):
    rng = np.random.default_rng(0)
    normal = lambda *dims: jnp.asarray(rng.standard_normal(dims), jnp.float32)
    x = normal(shape.batch, shape.size, shape.size, shape.c_in)
    kernel = normal(shape.window, shape.window, shape.c_in // shape.groups, shape.c_out)
    axes = axes_of((shape.size,) * 2, (shape.window,) * 2, shape.stride, shape.padding, shape.dilation)
    return x, kernel, normal(shape.batch, axes[0].outputs, axes[1].outputs, shape.c_out), axes


def programs(shape: Shape, x, kernel, delta) -> dict[tuple[str, str], jax.stages.Wrapped]:
    """Return, for each product and method, a function of (x, kernel, δ) that computes this product alone."""
    options = {name: getattr(shape, name) for name in ("padding", "stride", "dilation", "groups")}
    found = {}
    for method in methods_of(shape):
        conv = partial(conv2d, method=method, **options)
        found["forward", method] = jax.jit(lambda x, w, d, conv=conv: conv(x, w))
        found["input gradient", method] = jax.jit(
            lambda x, w, d, conv=conv: jax.linear_transpose(lambda x: conv(x, w), x)(d)[0]
        )
        found["kernel gradient", method] = jax.jit(
            lambda x, w, d, conv=conv: jax.linear_transpose(lambda w: conv(x, w), w)(d)[0]
        )
    return found


def methods_of(shape: Shape) -> Sequence[str]:
    return RUN if shape.groups <= tuned.FEW_GROUPS else OF_MANY_GROUPS


def chosen(shape: Shape, product: str, x, kernel, delta, axes, **options) -> str:
    a, b = {"forward": (x, kernel), "input gradient": (delta, kernel), "kernel gradient": (x, delta)}[product]
    return choose(product.replace(" ", "_"), a.shape, b.shape, axes, shape.groups, **options)


def measure(name: str, seconds: float) -> list[dict]:
    shape = SHAPES[name]
    x, kernel, delta, axes = arrays(shape)
    gflop = 2e-9 * delta.size * kernel.size / shape.c_out
    rows = []
    compiled, compile_seconds = {}, {}
    for key, program in programs(shape, x, kernel, delta).items():
        start = time.perf_counter()
        compiled[key] = program.lower(x, kernel, delta).compile()
        compile_seconds[key] = time.perf_counter() - start
        check(name, key, compiled[key](x, kernel, delta), compiled[key[0], "xla"](x, kernel, delta))
    for product in PRODUCTS:
        times = in_turn({m: compiled[product, m] for m in methods_of(shape)}, (x, kernel, delta), seconds)
        choices = [chosen(shape, product, x, kernel, delta, axes, native=native) for native in (False, True)]
        for method, values in times.items():
            row = [name, product, method, *("yes" if method == choice else "" for choice in choices), f"{gflop:.4g}"]
            row += [f"{1e3 * min(values):.4g}", f"{compile_seconds[product, method]:.3g}"]
            rows.append(dict(zip(FIELDS, row, strict=True)))
    return rows


def faster(rows: list[dict], others: list[dict]) -> list[dict]:
    """Return the faster row of each program from two lists of the same programs."""
    return [min(pair, key=lambda row: float(row["milliseconds"])) for pair in zip(rows, others, strict=True)]


def check(name, key, got, expected) -> None:
    error = float(jnp.abs(got - expected).max() / jnp.abs(expected).max())
    if not error < 1e-4:
        raise ValueError(f"{name}, {key}: differs from XLA's own by {error:.2g} of its largest value")


def in_turn(programs, args, seconds: float) -> dict[str, list[float]]:
    """Run the compiled programs in turn, for `seconds` each on average, and return their times.

    Each turn is one call that is not timed and `BURST` that are: right after another method, oneDNN waits for XLA's
    threads to stop spinning, and for its own to wake up.
    """
    times = {name: [] for name in programs}
    end = time.perf_counter() + seconds * len(programs)
    while time.perf_counter() < end or len(next(iter(times.values()))) < 5:
        for name, program in programs.items():
            jax.block_until_ready(program(*args))
            for _ in range(BURST):
                start = time.perf_counter()
                jax.block_until_ready(program(*args))
                times[name].append(time.perf_counter() - start)
    return times


def ratios(rows: list[dict], product: str, column: str = "chosen") -> dict[str, float]:
    """Return the time of XLA's convolution over that of the chosen method, by shape."""
    time_of = {(r["shape"], r["method"]): float(r["milliseconds"]) for r in rows if r["product"] == product}
    picked = {r["shape"]: r["method"] for r in rows if r["product"] == product and r[column]}
    return {shape: time_of[shape, "xla"] / time_of[shape, method] for shape, method in picked.items()}


def as_markdown(rows: list[dict]) -> str:
    lines = ["# Convolution by every method", "", "Measured by `python -m benchmarks.conv_methods` on"]
    lines[-1] += (
        f" {jax.devices()[0].device_kind}, jax {jax.__version__}, float32. GFLOP/s of the fastest call; the method that"
    )
    lines += [
        "`kernels.choose` chooses is bold without oneDNN, which is bold itself where it is chosen once installed."
    ]
    lines += ["The last columns are what the choice wins over XLA's own, without and with it.", ""]
    methods = [*METHODS, "native"]
    for product in PRODUCTS:
        won, won_native = ratios(rows, product), ratios(rows, product, "chosen_native")
        lines += [f"## {product.capitalize()}", ""]
        for title, gains in (("without", won), ("with", won_native)):
            if gains:
                middle, least = statistics.median(gains.values()), min(gains.values())
                lines += [f"Median gain over {len(gains)} shapes {title} oneDNN: {middle:.2f}; least: {least:.2f}.", ""]
        lines += ["| shape | batch, size, in, window, out | " + " | ".join(methods) + " | gain | with oneDNN |"]
        lines += ["|---" * (len(methods) + 4) + "|"]
        for name, shape in SHAPES.items():
            of = {r["method"]: r for r in rows if r["shape"] == name and r["product"] == product}
            if not of:
                continue
            cells = [_cell(of.get(method)) for method in methods]
            gains = f"{won[name]:.2f} | {won_native[name]:.2f}" if name in won_native else f"{won[name]:.2f} |"
            lines.append(f"| {name} | {', '.join(map(str, shape[:5]))} | {' | '.join(cells)} | {gains} |")
        lines.append("")
    return "\n".join(lines)


def _cell(row: dict | None) -> str:
    if row is None:
        return ""
    speed = f"{1e3 * float(row['gflop']) / float(row['milliseconds']):.1f}"
    return f"**{speed}**" if row["chosen"] or (row["method"] == "native" and row["chosen_native"]) else speed


def read() -> list[dict]:
    if not TABLE.exists():
        return []
    with TABLE.open(newline="") as file:
        return list(csv.DictReader(file, restval=""))


def write(rows: list[dict]) -> None:
    with TABLE.open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    TABLE.with_suffix(".md").write_text(as_markdown(rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="*", default=list(SHAPES), choices=list(SHAPES), metavar="SHAPE")
    parser.add_argument("--seconds", type=float, default=0.15, help="for each program")
    args = parser.parse_args()
    first = {name: measure(name, args.seconds) for name in args.rows}
    for name in args.rows:
        new = faster(first[name], measure(name, args.seconds))
        write(sorted([r for r in read() if r["shape"] != name] + new, key=lambda r: list(SHAPES).index(r["shape"])))
        print(name, *(f"{product}: {ratios(new, product)[name]:.2f}" for product in PRODUCTS), flush=True)


if __name__ == "__main__":
    main()
