"""Training steps of the six nets, jaxdl's and flax.linen's, in float32 and bfloat16."""

import math
from functools import partial
from typing import Any

import jax

from benchmarks.on_gpu.record import Record
from benchmarks.speed import linen, nets, ours, rows
from benchmarks.speed.peer import Peer
from jaxdl import models

NETS = ("20-50-500-10", "lenet5", "32-64-1024-10", "2c2d", "3c3d", "resnet20")
DTYPES = ("float32", "bfloat16")
PEERS = {"jaxdl": ours.build, "flax.linen": linen.build}
TIMED = 0.02  # least seconds of a timing, which makes waiting for the device negligible
FIRST = 3  # steps whose losses must agree
# tolerance of the losses: TF32 rounds products to ten bits, and a deep net amplifies that
TOLERANCE = {"float32": 0.02, "bfloat16": 0.1}


def measure(record: Record, dry_run: bool) -> None:
    """Add a row per missing net and dtype."""
    for name in ("lenet5",) if dry_run else NETS:
        net = nets.NETS[name]
        for dtype in ("float32",) if dry_run else DTYPES:  # a dry run's bfloat16 is ResNet-50's
            if not record.has(net=name, dtype=dtype):
                record.add(net=name, **compare(net, 4 if dry_run else net.batch, dtype, 0.0 if dry_run else 1.5))
    check(record)


def check(record: Record) -> None:
    """Raise ValueError if the losses of a row differ; the other rows remain valid."""
    if apart := [f"{row['net']} {row['dtype']}: {row['error']}" for row in record.rows if row.get("error")]:
        raise ValueError("; ".join(apart))


def imagenet(dry_run: bool) -> nets.Net:
    """Return ResNet-50 at 224×224, or in a dry run one of a single block at 16×16."""
    if dry_run:
        small = partial(models.resnet50, 10, depths=(1,), width=0.125)
        return nets.Net(nets.resnet50((1,), 8, 10), small, (16, 16, 3), 4)
    return nets.Net(nets.resnet50(), models.resnet50, (224, 224, 3), 128)


def compare(net: nets.Net, batch: int, dtype: str, seconds: float) -> dict[str, Any]:
    """Time both libraries' steps in turn, several per timing, from the same parameters on the same batch.

    Where the losses of the first steps differ, the row has an "error" and no time.
    """
    params, state = jax.jit(net.layer().init, static_argnums=1)(jax.random.key(0), net.in_shape)
    examples = nets.batch(net, batch)
    built = {name: build(net, params, state, examples, dtype=dtype, compilations=1) for name, build in PEERS.items()}
    found: dict[str, Any] = {"dtype": dtype, "batch": batch, "losses_apart": disagreement(built)}
    if not found["losses_apart"] < TOLERANCE[dtype]:
        return {**found, "error": f"losses differ by {found['losses_apart']:.2g}, allowed is {TOLERANCE[dtype]}"}
    count = steps_per_timing(built, seconds)
    times = rows.in_turn({name: partial(peer.step, count) for name, peer in built.items()}, seconds)
    peers = {name: line(peer, [each / count for each in times[name]]) for name, peer in built.items()}
    ratio = peers["flax.linen"]["milliseconds"] / peers["jaxdl"]["milliseconds"]
    return {**found, "steps_per_timing": count, "ratio": ratio, "peers": peers, "peak_bytes": peak_bytes()}


def disagreement(built: dict[str, Peer]) -> float:
    """Run the first steps, and return the largest relative difference of the two losses."""
    losses = {name: [float(peer.step()) for _ in range(FIRST)] for name, peer in built.items()}
    pairs = zip(losses["jaxdl"], losses["flax.linen"], strict=True)
    return max(abs(a - b) / max(abs(a), 1e-3) if math.isfinite(a + b) else 1e9 for a, b in pairs)


def steps_per_timing(built: dict[str, Peer], seconds: float) -> int:
    """Return the number of steps of the faster one that fill a timing."""
    if not seconds:
        return 2
    fastest = min(min(each) for each in rows.in_turn({n: partial(p.step, 3) for n, p in built.items()}, 0).values()) / 3
    return max(3, min(100, math.ceil(TIMED / fastest)))


def line(peer: Peer, times: list[float]) -> dict[str, float]:
    """Return median and quartiles in milliseconds, and the seconds of compilation."""
    found = rows.entry("", times)
    numbers = {name: float(found[name]) for name in ("milliseconds", "low", "high")}
    more = {"compile_seconds": peer.compile_seconds, "temporary_mb": peer.temporary_bytes / 2**20, "flops": peer.flops}
    return numbers | {name: value for name, value in more.items() if math.isfinite(value)}


def peak_bytes() -> int | None:
    """Return the peak memory of this process on the device, if it is known."""
    return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
