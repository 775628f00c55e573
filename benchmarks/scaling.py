"""Model the time of a data-parallel step of ResNet-50 on many devices, from stated assumptions; nothing is measured.

    python -m benchmarks.scaling

Each device computes its part of the batch. The gradients are summed by an all-reduce within nodes and then between
them, in float32, as `training.train_step` does. Batch norm sums its statistics over all devices, forward and backward,
where a step is compiled for "pmap" or "shard_map". The model gives two bounds: gradients that are sent after the whole
backward pass, and gradients that are sent while it goes on. Sums of batch norm can never overlap, as the next layer
needs them. The command writes benchmarks/scaling.md.
"""

import math
import pathlib
from typing import NamedTuple

import jax

from jaxdl import analysis, models, nn

PAGE = pathlib.Path(__file__).with_suffix(".md")
IMAGES = 1_281_167  # of ImageNet's training part
COUNTS = (8, 256, 4096)
SUMS_OF_NORM = 4  # collectives of a layer of batch norm: mean and variance forward, and two sums backward
MILLI = 1e3


class Network(NamedTuple):
    """What a step of a network computes and sends, per image or in all."""

    flops: float  # of a forward and a backward pass of one image
    gradient_bytes: float
    norms: int  # layers of batch norm
    statistics_bytes: float  # of all of them, means and variances


class Cluster(NamedTuple):
    """Assumptions on the machines; those of a node of eight accelerators of 2020 (A100, NVLink 3, 200 Gbit/s each)."""

    peak: float = 312e12  # FLOP/s of a device, bfloat16
    share: float = 0.2  # of the peak that ResNet-50 reaches, whose small convolutions and norms wait for memory
    node: int = 8  # devices
    inside: float = 300e9  # bytes/s from each device to the others of its node
    between: float = 25e9  # bytes/s from each device to other nodes
    latency_inside: float = 5e-6  # seconds of one message
    latency_between: float = 15e-6
    start: float = 10e-6  # seconds to start a collective


class Step(NamedTuple):
    """Seconds of the parts of a step."""

    compute: float
    gradients: float
    norms: float

    @property
    def apart(self) -> float:
        """Return the seconds of a step whose gradients are sent after the backward pass."""
        return self.compute + self.gradients + self.norms

    @property
    def overlapped(self) -> float:
        """Return the seconds of a step whose gradients are sent during the backward pass, two thirds of it."""
        return self.compute + self.norms + max(0.0, self.gradients - 2 / 3 * self.compute)

    def efficiency(self, *, overlapped: bool) -> float:
        """Return the share of the time in which the device computes."""
        return self.compute / (self.overlapped if overlapped else self.apart)


def network(layer: nn.Layer, in_shape: tuple[int, int, int]) -> Network:
    """Count the work of a step: the backward pass takes twice the forward pass."""
    rows = analysis.summary(layer, in_shape).rows
    state = jax.eval_shape(lambda key: layer.init(key, in_shape)[1], jax.random.key(0))
    norms = [path for path in nn.paths(layer) if nn.at(layer, path).op.kind == "batch_norm"]
    sizes = (leaf.size for leaf in jax.tree.leaves(state))  # a mean and a variance per channel, in float32
    return Network(
        flops=3 * 2 * sum(row.multiply_adds for row in rows),
        gradient_bytes=4 * analysis.count_parameters(layer, in_shape),
        norms=len(norms),
        statistics_bytes=4 * sum(sizes),
    )


def all_reduce(size: float, devices: int, cluster: Cluster) -> float:
    """Return the seconds of a sum of ``size`` bytes over all devices.

    Within a node, each device gets the sum of its share (reduce-scatter) and later sends it to the others (all-gather);
    in between, equal shares of all nodes are summed in rings. Latencies are those of trees, log2 of the members.
    """
    inside, nodes = min(devices, cluster.node), max(1, devices // cluster.node)
    within = 2 * (inside - 1) / inside * size / cluster.inside
    across = 2 * (nodes - 1) / nodes * size / inside / cluster.between
    waits = 2 * math.log2(inside) * cluster.latency_inside + 2 * math.log2(nodes) * cluster.latency_between
    return cluster.start + within + across + waits


def step(net: Network, devices: int, images: float, cluster: Cluster) -> Step:
    """Return the parts of a step with so many images on each device."""
    compute = images * net.flops / (cluster.peak * cluster.share)
    if devices == 1:
        return Step(compute, 0.0, 0.0)
    of_norm = all_reduce(net.statistics_bytes / net.norms / 2, devices, cluster) if net.norms else 0.0
    return Step(compute, all_reduce(net.gradient_bytes, devices, cluster), SUMS_OF_NORM * net.norms * of_norm)


def row(net: Network, devices: int, images: int, cluster: Cluster) -> str:
    """Return a line of the table."""
    found = step(net, devices, images, cluster)
    batch = devices * images
    cells = [
        f"{devices:,}",
        f"{images:,}",
        f"{batch:,}",
        f"{MILLI * found.compute:.3g}",
        f"{MILLI * found.gradients:.3g}",
        f"{MILLI * found.norms:.3g}",
        f"{100 * found.efficiency(overlapped=False):.0f} to {100 * found.efficiency(overlapped=True):.0f} %",
        f"{IMAGES / batch * found.apart:.3g} to {IMAGES / batch * found.overlapped:.3g}",
    ]
    return f"| {' | '.join(cells)} |"


def table(net: Network, cluster: Cluster) -> str:
    """Return the table: a fixed number of images per device, then a fixed batch over all devices."""
    head = "| devices | images each | batch | compute (ms) | gradients (ms) | batch norm (ms) | computing | epoch (s) |"
    weak = [row(net, devices, 256, cluster) for devices in (1, *COUNTS)]
    fixed = [row(net, devices, 32_768 // devices, cluster) for devices in COUNTS[1:]]
    return "\n".join([head, "|---" * 8 + "|", *weak, *fixed])


def page(net: Network, cluster: Cluster) -> str:
    """Return the text of scaling.md."""
    assumed = [
        f"* a device computes {cluster.share:.0%} of {cluster.peak / 1e12:.0f} TFLOP/s in bfloat16, "
        f"{cluster.peak * cluster.share / net.flops:,.0f} images/s",
        f"* a node has {cluster.node} devices; each sends {cluster.inside / 1e9:.0f} GB/s inside it and "
        f"{cluster.between / 1e9:.0f} GB/s to other nodes",
        f"* a message takes {1e6 * cluster.latency_inside:.0f} µs inside a node and "
        f"{1e6 * cluster.latency_between:.0f} µs between nodes, and the start of a collective "
        f"{1e6 * cluster.start:.0f} µs",
    ]
    counted = (
        f"ResNet-50 at 224×224, counted by `analysis.summary`: {net.flops / 1e9:.1f} GFLOP for an image forward and "
        f"backward, {net.gradient_bytes / 1e6:.0f} MB of float32 gradients, {net.norms} layers of batch norm with "
        f"{net.statistics_bytes / 1e3:.0f} kB of statistics."
    )
    assumed.append(f"* the gradients are summed by one collective, and each layer of batch norm by {SUMS_OF_NORM}")
    lines = [
        "# Scaling",
        "",
        "`python -m benchmarks.scaling`: a model, not a measurement.",
        "",
        counted,
        "",
        "Assumed:",
    ]
    return "\n".join([*lines, "", *assumed, "", table(net, cluster), ""])


def main() -> None:
    """Write the page."""
    text = page(network(models.resnet50(1000), (224, 224, 3)), Cluster())
    PAGE.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
