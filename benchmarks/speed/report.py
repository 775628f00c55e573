"""The table, the figure and the targets, which are ratios of two measured times."""

import importlib.metadata
import math
import os
import statistics
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import matplotlib
import matplotlib.pyplot as plt

from benchmarks import conv_methods
from benchmarks.speed import table

Times = dict[str, float]  # peer -> milliseconds
JAX_PEERS = ("flax.linen", "flax.nnx", "equinox", "Keras")
PYTORCH = ("PyTorch", "PyTorch, channels last")
SLACK = 4 / 3
COMPILING = 1.0  # at most, of a step
LIMITS = """## What is between

Seen in measurements:

* With oneDNN, a convolution's three products run at 200-590 GFLOP/s for all shapes but the smallest
  (`conv_methods.md`), and PyTorch calls the same library. What is left of its lead is outside: memory, threads that are
  awake when a product begins (oneDNN's sleep, or they would take the cores from XLA's), and a newer oneDNN.
* Of LeNet-5's step, 53 % are in oneDNN (five calls with some 25 µs around each), of ResNet-20's 65-70 %. The rest
  passes over memory: the batch norms' statistics, their gradients, pools, ReLU and sums.
* LeNet-5's second convolution has six input channels, so that its input gradient fills six of sixteen places of a
  vector register: 80 GFLOP/s by oneDNN and 83 by matrix products, where other products reach 200 and more.
* ResNet-20's step keeps both cores busy: 184 ms of computing and 25-33 ms in the system, which clears the pages of
  282 MB of temporaries each time. One arena whose memory stays would take 107-109 ms instead of 113-117, but makes
  small steps slower (LeNet-5's, where it was tried, by half).
* Halves of each batch on XLA's own threads instead of OpenMP's (XLA_FFI_ThreadPool_Schedule) made a convolution between
  ReLUs 6-20 % faster, and ResNet-20's and LeNet-5's steps no faster (117 against 119 ms, medians of eleven processes
  each), so it was left out.
* 2c2d's inference takes 8.4 ms against 8.8 of flax's: XLA on CPU makes one YNNPACK kernel of convolution, bias, ReLU
  and pool where the pool is a `reduce_window`, as it is in the peers. That kernel's maximum loses NaN (jaxlib 0.10.2: a
  NaN in an image leaves no trace in flax's logits). In jaxdl NaN stays NaN.
* A depthwise convolution of 512 channels reads and writes 63 MB. Each call of XLA's allocates its result anew, and the
  system clears its pages; huge pages make that cheap, and all rows are with them (`python -m benchmarks.huge_pages`).
* The transposed 1-d convolution is one matrix product and four sums of its lines; PyTorch's sums run on both cores.
* No way to write a dense layer's three products (operands exchanged, transposed before, another precision) was faster
  than XLA's dot by more than noise on four shapes of the MLP: all JAX libraries take the same time there.
* 8 seeds of the MLP take 0.95 of eight runs one after the other under one `vmap`: the operations of a single step take
  nearly all of its time, so there is little that members could share.
* `update adam` is of 25 seconds; in 6, quartiles are wide.
* Between runs of an hour apart, medians of small rows moved by up to a fifth: other users share the processor.
"""


class Target(NamedTuple):
    """A bound on a ratio of a row; larger is better unless ``at_most``."""

    row: str
    what: str
    bound: float
    ratio: Callable[[Times], float]
    at_most: bool = False

    def met(self, value: float, slack: float = 1.0) -> bool:
        """Return whether a measured ratio is within the bound times a slack."""
        return value <= self.bound * slack if self.at_most else value >= self.bound / slack


def over(*names: str) -> Callable[[Times], float]:
    """Return the time of the fastest of some peers over jaxdl's."""
    return lambda times: min((times[n] for n in names if n in times), default=math.nan) / times["jaxdl"]


def targets_of(row: str, jax_peers: float, pytorch: float, who: Sequence[str] = JAX_PEERS) -> list[Target]:
    name = f"{who[0]}'s" if len(who) == 1 else "the best JAX peer's"
    return [
        Target(row, f"× {name} speed", jax_peers, over(*who)),
        Target(row, "× PyTorch's speed", pytorch, over(*PYTORCH)),
    ]


def quotient(above: str, below: str) -> Callable[[Times], float]:
    return lambda times: times[above] / times[below]


TRANSPOSED = ("transposed 1-d", "transposed 2-d, 4x4", "transposed 2-d, 2x2")
SCANNED = ("lenet5", "20-50-500-10", "32-64-1024-10", "mlp")
TARGETS = [
    *(one for net in ("20-50-500-10", "lenet5", "32-64-1024-10") for one in targets_of(f"step {net}", 2.5, 1.2)),
    *targets_of("step 2c2d", 2.5, 1.1),
    *targets_of("step 3c3d", 2.4, 1.1),
    *targets_of("step resnet20", 3.0, 1.15),
    *(one for net in ("resnet18", "mobilenet") for one in targets_of(f"step {net}", 2.5, 1.0)),
    *(one for net in ("lenet5", "2c2d", "resnet20") for one in targets_of(f"infer {net}", 1.5, 1.0)),
    *(one for size in (256, 512) for one in targets_of(f"depthwise {size}", 10.0, 1.0, ("jax.lax",))),
    *(Target(name, "× PyTorch's speed", 1.0, over(*PYTORCH)) for name in TRANSPOSED),
    *(
        Target(f"scan {net}", "best scan's time, × the loop's", 1.0, lambda t: scan_over_loop(t), True)
        for net in SCANNED
    ),
    Target("seeds lenet5", "time per seed, × a run alone", 1.0, lambda t: quotient(*list(t)[:2])(t), True),
    Target("seeds mlp", "time per seed, × a run alone", 0.6, lambda t: quotient(*list(t)[:2])(t), True),
    Target("update momentum", "× optax's time", 1.03, quotient("jaxdl", "optax"), True),
    Target("update adam", "× optax's time", 1.03, quotient("jaxdl", "optax"), True),
    Target("pipeline", "share of an epoch", 0.03, quotient("pipeline alone", "epoch"), True),
    Target("sweep 8x4", "one program's time, × the runs' in turn", 1.0, lambda t: quotient(*list(t)[:2])(t), True),
    Target("first step", "× flax's time, cold", 1.0, quotient("jaxdl, cold", "flax.linen, cold"), True),
    Target("first step", "seconds, with cache", 2.0, lambda t: t["jaxdl, with cache"] / 1e3, True),
    Target("growth", "time per example, batch 1024 over 64", 1.15, lambda t: growth(t, 0, 2, 1024 / 64), True),
    Target("growth", "time per layer, ResNet-56 over ResNet-20", 1.15, lambda t: growth(t, 3, 4, 55 / 19), True),
]


def scan_over_loop(times: Times) -> float:
    return min(value for who, value in times.items() if who.startswith("scan")) / times["loop"]


def growth(times: Times, first: int, second: int, linear: float) -> float:
    values = list(times.values())
    return values[second] / values[first] / linear


def times_of(rows: list[dict[str, str]], name: str) -> Times:
    return {r["peer"]: float(r["milliseconds"]) for r in rows if r["row"] == name and r["milliseconds"]}


def judged(
    rows: list[dict[str, str]], kernel_gains: Sequence[float] = ()
) -> list[tuple[str, str, float, float, bool, bool]]:
    """Return (row, what, measured, bound, at most, met) of every measured target, here or in `conv_methods`."""
    found = []
    for target in TARGETS:
        if times := times_of(rows, target.row):
            value = target.ratio(times)
            found.append((target.row, target.what, value, target.bound, target.at_most, target.met(value)))
    pools = [
        over("reduce_window")(times_of(rows, r)) for r in dict.fromkeys(r["row"] for r in rows) if r[:5] == "pool "
    ]
    for row, what, values, bound in (
        ("pool, median", "× reduce_window's speed", pools, 8.0),
        ("conv kernel gradient, median", "× XLA's speed", kernel_gains, 2.5),
    ):
        if values:
            found.append((row, what, statistics.median(values), bound, False, statistics.median(values) >= bound))
    if pools:
        found.append(("pool, least", "× reduce_window's speed", min(pools), 5.0, False, min(pools) >= 5))
    return found


def compiling(rows: list[dict[str, str]]) -> dict[str, float]:
    """Return jaxdl's over flax.linen's time to compile; not measured in turn, so too uncertain for a check."""
    seconds = {(r["row"], r["peer"]): float(r["compile_seconds"]) for r in rows if r["compile_seconds"]}
    steps = [row for row, peer in seconds if peer == "flax.linen" and row.startswith("step ")]
    return {row: seconds[row, "jaxdl"] / seconds[row, "flax.linen"] for row in steps}


def check(rows: list[dict[str, str]]) -> int:
    """Print the targets that are missed by more than the slack, and return 1 if there are any."""
    missed = [t for t in judged(rows) if not (t[2] <= t[3] * SLACK if t[4] else t[2] >= t[3] / SLACK)]
    for row, what, value, bound, at_most, _ in missed:
        print(f"{row}: {value:.2f} {what}; the target is {'at most' if at_most else 'at least'} {bound}")
    return 1 if missed else 0


def versions() -> str:
    names = ("jax", "jaxlib", "flax", "optax", "equinox", "keras", "torch", "numpy")
    return ", ".join(f"{name} {version(name)}" for name in names)


def version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def write(rows: list[dict[str, str]]) -> None:
    """Write the Markdown and the figure."""
    top = next((float(r["gflop"]) / float(r["milliseconds"]) * 1e3 for r in rows if r["row"] == "peak"), math.nan)
    head = [
        "# Speed",
        "",
        f"`python -m benchmarks.speed` on {jax.devices()[0].device_kind}, {os.cpu_count()} cores, "
        f"float32; a 2048² matrix product reaches {top:.0f} GFLOP/s. {versions()}.",
        "",
        "Medians in milliseconds with quartiles; all of a row ran in turn, after their numbers agreed. Steps, "
        "inferences and single convolutions ran in processes of their own, five blocks each, and the quartiles are "
        "those of the blocks' medians; a peer that the first block found a quarter slower than the best of its kind "
        "stopped there. PyTorch runs eagerly on 2 threads. FLOPs are those that XLA counts in jaxdl's step without "
        "oneDNN, for all peers alike.",
    ]
    lines = [*head, "", *target_lines(rows), "", LIMITS, *row_lines(rows, top), ""]
    table.CSV.with_suffix(".md").write_text("\n".join(lines))
    draw(rows)


def target_lines(rows: list[dict[str, str]]) -> list[str]:
    """Return the table of targets and results."""
    lines = ["## Targets", "", "| row | measured | target | |", "|---|---|---|---|"]
    for target in TARGETS:
        if not times_of(rows, target.row):
            lines.append(f"| {target.row} | {target.what} | {target.bound} | not measured |")
    gains = list(conv_methods.ratios(conv_methods.read(), "kernel gradient", "chosen_native").values())
    for row, what, value, bound, at_most, met in judged(rows, gains):
        sign = "≤" if at_most else "≥"
        lines.append(f"| {row} | {value:.3f} {what} | {sign} {bound} | {'met' if met else '**not met**'} |")
    for net, value in compiling(rows).items():
        verdict = "met" if value <= COMPILING else "**not met**"
        lines.append(f"| {net} | {value:.3f} × flax.linen's time to compile | ≤ {COMPILING} | {verdict} |")
    return lines


def row_lines(rows: list[dict[str, str]], top: float) -> list[str]:
    """Return the table of all rows; ``top`` is the machine's matrix product in GFLOP/s."""
    header = "| row | who | ms | quartiles | GFLOP/s | share of peak | compile s | temporary MB | note |"
    lines = ["## All rows", "", header, "|---" * 9 + "|"]
    for r in rows:
        speed = float(r["gflop"]) / float(r["milliseconds"]) * 1e3 if r["gflop"] and r["milliseconds"] else math.nan
        shown = (f"{speed:.0f}", f"{speed / top:.0%}") if speed == speed else ("", "")
        spread = f"{r['low']}-{r['high']}" if r["low"] else ""
        cells = (
            r["row"],
            r["peer"],
            r["milliseconds"],
            spread,
            *shown,
            r["compile_seconds"],
            r["temporary_mb"],
            r["note"],
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def draw(rows: list[dict[str, str]]) -> None:
    """Draw bars of each peer's speed as a multiple of jaxdl's, per training step."""
    matplotlib.use("Agg")
    names = [name for name in dict.fromkeys(r["row"] for r in rows) if name.startswith("step ")]
    who = ["jaxdl", "jaxdl, no oneDNN", *JAX_PEERS, *PYTORCH]
    figure, axes = plt.subplots(figsize=(10, 3.6), layout="constrained")
    for place, peer in enumerate(who):
        heights = [times_of(rows, name).get(peer, math.nan) for name in names]
        own = [times_of(rows, name).get("jaxdl", math.nan) for name in names]
        at = [i + 0.12 * (place - len(who) / 2) for i in range(len(names))]
        axes.bar(at, [h / o for h, o in zip(heights, own, strict=True)], 0.11, label=peer)
    axes.axhline(1, color="black", linewidth=0.5)
    axes.set_xticks(range(len(names)), [name.removeprefix("step ") for name in names], fontsize=7)
    axes.set_ylabel("time of a training step / jaxdl's")
    axes.legend(fontsize=8)
    figure.savefig(table.CSV.with_suffix(".png"), dpi=110)
    plt.close(figure)
