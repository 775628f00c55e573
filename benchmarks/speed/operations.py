"""Single convolutions that users reported as slow in JAX on CPU, timed by one peer in a process of its own.

    python -m benchmarks.speed.operations NAME PEER SECONDS FOLDER

The reports: depthwise convolutions (https://github.com/google/flax/issues/4207) and transposed ones
(https://github.com/jax-ml/jax/issues/23783, whose shapes are not in its text; here stand those of
https://github.com/pytorch/pytorch/issues/120982, of DCGAN's second layer and of a U-Net's upsampling). The transposed
3-d convolution of https://github.com/jax-ml/jax/issues/31662 has no counterpart in jaxdl.
"""

import argparse
import json
import math
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.speed.alone import answer, times
from benchmarks.speed.peer import Missing
from jaxdl import layers


class Operation(NamedTuple):
    """A convolution of channels-last arrays; a transposed one pads nothing and its kernel is (window, in, out)."""

    shape: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: int = 1
    transposed: bool = False


OPERATIONS = {
    "depthwise 256": Operation((1, 124, 124, 256), (3, 3, 1, 256)),
    "depthwise 512": Operation((1, 124, 124, 512), (3, 3, 1, 512)),
    "transposed 1-d": Operation((1, 224, 1026), (1024, 1026, 1), 256, True),
    "transposed 2-d, 4x4": Operation((64, 8, 8, 512), (4, 4, 512, 256), 2, True),
    "transposed 2-d, 2x2": Operation((4, 64, 64, 128), (2, 2, 128, 64), 2, True),
}


def gflop(name: str) -> float:
    """Return the operation's multiplications and additions in 10⁹."""
    shape, kernel, _, _ = OPERATIONS[name]
    return 2e-9 * math.prod(shape[:-1]) * math.prod(kernel)


def arrays(one: Operation) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    normal = lambda shape: rng.standard_normal(shape, np.float32)
    return normal(one.shape), normal(one.kernel) / np.float32(math.sqrt(math.prod(one.kernel[:-1])))


def jaxdl(one: Operation, x, kernel) -> Callable[[], Any]:
    if one.transposed:
        transposed = layers.conv_transpose1d if x.ndim == 3 else layers.conv_transpose2d
        return compiled(lambda x, w: transposed(x, w, stride=one.stride, padding="VALID"), x, kernel)
    return compiled(lambda x, w: layers.conv2d(x, w, groups=one.shape[-1]), x, kernel)


def lax(one: Operation, x, kernel) -> Callable[[], Any]:
    numbers = ("NHC", "HIO", "NHC") if x.ndim == 3 else ("NHWC", "HWIO", "NHWC")
    if one.transposed:
        turned = lambda w: jnp.flip(w, tuple(range(w.ndim - 2)))  # conv_transpose does not turn the window
        stride = (one.stride,) * (x.ndim - 2)
        return compiled(
            lambda x, w: jax.lax.conv_transpose(x, turned(w), stride, "VALID", dimension_numbers=numbers), x, kernel
        )
    options = {"dimension_numbers": numbers, "feature_group_count": one.shape[-1]}
    return compiled(lambda x, w: jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", **options), x, kernel)


def linen(one: Operation, x, kernel) -> Callable[[], Any]:
    from flax import linen

    window, strides = kernel.shape[:-2], (one.stride,) * (x.ndim - 2)
    if one.transposed:
        module = linen.ConvTranspose(kernel.shape[-1], window, strides, "VALID", use_bias=False, transpose_kernel=False)
        kernel = np.flip(kernel, tuple(range(kernel.ndim - 2))).copy()
    else:
        module = linen.Conv(kernel.shape[-1], window, feature_group_count=x.shape[-1], use_bias=False)
    return compiled(lambda x, w: module.apply({"params": {"kernel": w}}, x), x, kernel)


def compiled(f: Callable[..., Any], x, kernel) -> Callable[[], Any]:
    x, kernel = jax.device_put((x, kernel))
    run = jax.jit(f)
    return lambda: jax.block_until_ready(run(x, kernel))


def pytorch(one: Operation, x, kernel, *, channels_last: bool = False) -> Callable[[], Any]:
    try:
        import torch  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise Missing("not installed") from error

    torch.set_num_threads(2)
    if channels_last and x.ndim == 3:
        raise Missing("has no such layout in one dimension")
    axes = range(1, x.ndim - 1)
    x = torch.from_numpy(x.transpose(0, -1, *axes).copy())
    turned = (-2, -1) if one.transposed else (-1, -2)
    w = torch.from_numpy(kernel.transpose(*turned, *range(kernel.ndim - 2)).copy())
    if channels_last:
        x, w = (a.to(memory_format=torch.channels_last) for a in (x, w))
    functional = torch.nn.functional
    if one.transposed:
        transposed = functional.conv_transpose1d if x.ndim == 3 else functional.conv_transpose2d
        run = lambda: transposed(x, w, stride=one.stride)
    else:
        run = lambda: functional.conv2d(x, w, padding="same", groups=one.shape[-1])

    def call():
        with torch.no_grad():
            return run().movedim(1, -1)

    return call


PEERS: dict[str, Callable[..., Callable[[], Any]]] = {
    "jaxdl": jaxdl,
    "jaxdl, no oneDNN": jaxdl,
    "jax.lax": lax,
    "flax.linen": linen,
    "PyTorch": pytorch,
    "PyTorch, channels last": lambda *args: pytorch(*args, channels_last=True),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=OPERATIONS)
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("seconds", type=float)
    parser.add_argument("folder", type=pathlib.Path)
    args = parser.parse_args()
    one = OPERATIONS[args.name]
    try:
        call = PEERS[args.peer](one, *arrays(one))
    except Missing as reason:
        print(json.dumps({"missing": str(reason)}))
        return
    np.save(args.folder / f"{args.peer}.npy", np.asarray(call()))
    answer({}, lambda: {"times": times(call, args.seconds)})


if __name__ == "__main__":
    main()
