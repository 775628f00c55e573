"""The nets of the comparison in a form that every framework can build, and the corresponding models of jaxdl.

A net is a tuple of operations in order: ("conv", outputs, window, stride, padding, bias), ("dense", outputs),
("pool", window, stride, padding), ("norm",) or ("norm", eps), ("relu",), ("flatten",), ("mean",) and ("block",
operations, stride, outputs): a residual block with shortcut A and ReLU at its end. flax.linen and PyTorch read two
more: ("projected", operations, operations), a block whose shortcut is operations, too, and ("depthwise", window,
stride). Parameters are a list in the order in which jaxdl's model holds them: {"kernel", "bias"} or {"scale",
"offset"}.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks.speed.peer import Missing
from jaxdl import models, nn
from jaxdl.models.mobilenet import SEPARABLE

Operation = tuple
RELU, FLATTEN, MEAN, NORM = ("relu",), ("flatten",), ("mean",), ("norm",)


class Net(NamedTuple):
    """A net of the comparison."""

    operations: tuple[Operation, ...]
    layer: Callable[[], nn.Layer]  # the same net of jaxdl
    in_shape: tuple[int, ...]
    batch: int


def conv(outputs: int, window: int, padding: Any = "SAME", *, stride: int = 1, bias: bool = True) -> Operation:
    return "conv", outputs, window, stride, padding, bias


def two_convolutions(window, widths, padding="VALID", pooled="VALID"):
    first, second, hidden = widths
    pool = ("pool", 2, 2, pooled)
    body = (conv(first, window, padding), RELU, pool, conv(second, window, padding), RELU, pool, FLATTEN)
    return (*body, ("dense", hidden), RELU, ("dense", 10))


def lenet5():
    pool = ("pool", 2, 2, "VALID")
    body = (conv(6, 5, 2), RELU, pool, conv(16, 5, "VALID"), RELU, pool, FLATTEN)
    return (*body, ("dense", 120), RELU, ("dense", 84), RELU, ("dense", 10))


def net_3c3d():
    pool = ("pool", 3, 2, "SAME")
    body = (conv(64, 5, "VALID"), RELU, pool, conv(96, 3, "VALID"), RELU, pool, conv(128, 3), RELU, pool, FLATTEN)
    return (*body, ("dense", 512), RELU, ("dense", 256), RELU, ("dense", 10))


def resnet(depth: int):
    found = [conv(16, 3, 1, bias=False), NORM, RELU]
    for stage, width in enumerate((16, 32, 64)):
        for block in range((depth - 2) // 6):
            stride = 2 if stage and not block else 1
            body = (conv(width, 3, 1, stride=stride, bias=False), NORM, RELU, conv(width, 3, 1, bias=False), NORM)
            found.append(("block", body, stride, width))
    return (*found, MEAN, ("dense", 10))


def resnet50(depths=(3, 4, 6, 3), width: int = 64, classes: int = 1000):
    found = [conv(width, 7, 3, stride=2, bias=False), NORM, RELU, ("pool", 3, 2, 1)]
    for stage, depth in enumerate(depths):
        inner = width << stage
        for block in range(depth):
            stride = 2 if stage and not block else 1
            body = (conv(inner, 1, 0, bias=False), NORM, RELU, conv(inner, 3, 1, stride=stride, bias=False), NORM, RELU)
            body += (conv(4 * inner, 1, 0, bias=False), NORM)
            projection = () if block else (conv(4 * inner, 1, 0, stride=stride, bias=False), NORM)
            found.append(("projected", body, projection))
    return (*found, MEAN, ("dense", classes))


def resnet18(classes: int = 10):
    found = [conv(64, 7, 3, stride=2, bias=False), NORM, RELU, ("pool", 3, 2, 1)]
    for stage in range(4):
        width = 64 << stage
        for block in range(2):
            stride = 2 if stage and not block else 1
            body = (conv(width, 3, 1, stride=stride, bias=False), NORM, RELU, conv(width, 3, 1, bias=False), NORM)
            projection = (conv(width, 1, 0, stride=stride, bias=False), NORM) if stride > 1 else ()
            found.append(("projected", body, projection))
    return (*found, MEAN, ("dense", classes))


def mobilenet(classes: int = 10):
    norm = ("norm", 1e-3)
    found = [conv(32, 3, "SAME", stride=2, bias=False), norm, RELU]
    for width, stride in SEPARABLE:
        found += [("depthwise", 3, stride), norm, RELU, conv(width, 1, "SAME", bias=False), norm, RELU]
    return (*found, MEAN, ("dense", classes))


def mlp(*widths: int):
    hidden = tuple(one for width in widths for one in (("dense", width), RELU))
    return (FLATTEN, *hidden, ("dense", 10))


MNIST, CIFAR = (28, 28, 1), (32, 32, 3)
NETS = {
    "20-50-500-10": Net(two_convolutions(5, (20, 50, 500)), models.lecture_torch, MNIST, 64),
    "32-64-1024-10": Net(two_convolutions(3, (32, 64, 1024)), models.lecture_keras, MNIST, 64),
    "lenet5": Net(lenet5(), models.lenet5, MNIST, 64),
    "2c2d": Net(two_convolutions(5, (32, 64, 1024), "SAME", "SAME"), models.net_2c2d, MNIST, 128),
    "3c3d": Net(net_3c3d(), models.net_3c3d, CIFAR, 128),
    "resnet20": Net(resnet(20), models.resnet20, CIFAR, 128),
    "resnet56": Net(resnet(56), models.resnet56, CIFAR, 128),
    "resnet18": Net(resnet18(), partial(models.resnet18, 10), (64, 64, 3), 32),
    "mobilenet": Net(mobilenet(), lambda: nn.replace(models.mobilenet(10), "dropout", nn.identity), (96, 96, 3), 32),
    "mlp": Net(mlp(256, 128), models.mlp, MNIST, 64),
}
OPTIMIZER = {"learning_rate": 0.01, "momentum": 0.9}


def batch(net: Net, size: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.random((size, *net.in_shape), np.float32), rng.integers(0, 10, size).astype(np.int32)


def leaves(layer: nn.Layer, params: Any) -> Iterator[tuple[nn.Layer, Any]]:
    """Yield the layers that own parameters, with these, in the order of the children."""
    if not layer.children:
        if params:
            yield layer, params
        return
    for name, child in layer.children.items():
        yield from leaves(child, params.get(name, {}))


def in_order(layer: nn.Layer, params: Any) -> list[dict[str, np.ndarray]]:
    return [jax.tree.map(np.asarray, own) for _, own in leaves(layer, params)]


def owners(operations: Iterable[Operation]) -> Iterator[Operation]:
    """Yield the operations that own parameters, in order."""
    for operation in operations:
        if operation[0] in ("block", "projected"):
            yield from owners(operation[1])
            yield from owners(operation[2] if operation[0] == "projected" else ())
        elif operation[0] in ("conv", "dense", "norm", "depthwise"):
            yield operation


def only(net: Net, *allowed: str) -> None:
    """Raise Missing for a net with rarer operations than the allowed ones and the sequential ones."""
    rare = {operation[0] for operation in net.operations} & {"block", "projected", "depthwise"} - set(allowed)
    if rare:
        raise Missing(f"not compared: {', '.join(sorted(rare))} is not written for it")


def flattened_shapes(net: Net) -> list[tuple[int, ...]]:
    """Return for each leaf with parameters the (h, w, c) flattened right before it, or ()."""
    shape, found, flattened = net.in_shape, [], ()
    for operation in net.operations:
        kind = operation[0]
        if kind == "flatten":
            flattened = shape
        elif kind in ("conv", "pool", "depthwise"):
            first = 2 if kind == "conv" else 1
            window, stride = operation[first : first + 2]
            padding = "SAME" if kind == "depthwise" else operation[first + 2]
            channels = operation[1] if kind == "conv" else shape[2]
            shape = (*(length(n, window, stride, padding) for n in shape[:2]), channels)
        if kind in ("conv", "norm", "depthwise"):
            found.append(())
        elif kind == "dense":
            found.append(flattened)
            flattened = ()
        elif kind in ("block", "projected"):
            found += [()] * len(list(owners([operation])))
    return found


def length(n: int, window: int, stride: int, padding: Any) -> int:
    low, high = amounts(n, window, stride, padding)
    return (n + low + high - window) // stride + 1


def amounts(n: int, window: int, stride: int, padding: Any) -> tuple[int, int]:
    """Return the padding before and after for "SAME", "VALID" or an int."""
    if isinstance(padding, int):
        return padding, padding
    total = max(0, (-(-n // stride) - 1) * stride + window - n) if padding == "SAME" else 0
    return total // 2, total - total // 2
