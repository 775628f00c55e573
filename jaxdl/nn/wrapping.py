"""Wrappers that keep the children, parameters and paths of a layer and change how it is applied."""

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxdl.nn.layer import Layer, Shape, checked, declared, is_shape
from jaxdl.nn.tree import at, paths, replace

_LARGEST = 4096  # no net of this library needs larger images


@declared
def remat(layer: Layer, within: str | None = None) -> Layer:
    """Rematerialise activations in the backward pass instead of keeping them.

    Values and gradients equal those of ``layer``, but only its input is kept. On CPU XLA's
    pass ``cse_barrier_expander`` drops the barriers that `jax.checkpoint` puts before the second computation, which is
    then merged with the first, and nothing is gained. To keep them there compile the step by
    ``jax.jit(step, compiler_options={"xla_disable_hlo_passes": "cse_barrier_expander"})``.

    Args:
        layer: any network.
        within: a regular expression; every part whose whole path it matches is wrapped instead of ``layer`` itself,
            such as ``r"conv\\d/block\\d+"`` for the blocks of a ResNet.

    Raises:
        ValueError: no path matches.

    Reference: T. Chen et al., Training Deep Nets with Sublinear Memory Cost, 2016, https://arxiv.org/abs/1604.06174.

    Examples:
        >>> nn.remat(nn.Dense(4)).out_shape((3,))
        (4,)
    """
    if within is not None:
        matching = [path for path in paths(layer) if re.fullmatch(within, path)]
        if not matching:
            raise ValueError(f"within: got {within!r}, which matches no path; there are {', '.join(paths(layer)[:20])}")
        for path in sorted(matching, key=lambda path: -path.count("/")):
            layer = replace(layer, path, remat(at(layer, path)))
        return layer

    def apply(params, state, x, *, train=False, key=None, axis_name=None):
        def forward(params, state, x, key):
            return layer.apply(params, state, x, train=train, key=key, axis_name=axis_name)

        return jax.checkpoint(forward)(params, state, x, key)

    return checked(layer._replace(apply=apply, op=_rebuilt_by(layer, remat)))


@declared
def compute_in(dtype: DTypeLike, layer: Layer) -> Layer:
    """Compute in ``dtype``: bfloat16 halves the memory of activations and uses matrix units.

    Parameters, their gradients, running statistics and the output stay float32. Parameters of layers whose kind
    ends in "norm" are used in float32, too.

    Raises:
        ValueError: for a dtype that is not floating.

    Examples:
        >>> nn.compute_in(jnp.bfloat16, nn.Dense(4)).out_shape((3,))
        (4,)
    """
    try:
        floating = dtype is not None and jnp.issubdtype(jnp.dtype(dtype), jnp.floating)
    except TypeError:  # NumPy's, for what is no dtype
        floating = False
    if not floating:
        got = "a Layer" if isinstance(dtype, Layer) else repr(dtype)
        raise ValueError(f"dtype: got {got}, allowed are floating dtypes such as jnp.bfloat16")

    def apply(params, state, x, *, train=False, key=None, axis_name=None):
        options = {"train": train, "key": key, "axis_name": axis_name}
        y, new_state = layer.apply(_cast_kernels(layer, params, dtype), state, _cast(x, dtype), **options)
        return _cast(y, jnp.float32), new_state

    return checked(layer._replace(apply=apply, op=_rebuilt_by(layer, lambda new: compute_in(dtype, new))))


@declared
def sized(name: str, layer: Layer) -> Layer:
    """Return the same network with errors on small images that name the smallest supported size.

    Args:
        name: name of the network in the message.
        layer: a network of images (height, width, channels).

    Examples:
        >>> nn.sized("net", nn.MaxPool(2)).out_shape((4, 4, 3))
        (2, 2, 3)
    """

    def init(key, in_shape):
        with _saying_the_smallest(name, layer, in_shape):
            return layer.init(key, in_shape)

    def apply(params, state, x, **options):
        with _saying_the_smallest(name, layer, jax.tree.map(lambda one: jnp.shape(one)[1:], x)):
            return layer.apply(params, state, x, **options)

    def out_shape(in_shape):
        with _saying_the_smallest(name, layer, in_shape):
            return layer.out_shape(in_shape)

    op = _rebuilt_by(layer, lambda new: sized(name, new))
    return checked(layer._replace(init=init, apply=apply, out_shape=out_shape, op=op))


def _rebuilt_by(layer: Layer, wrap: Callable[[Layer], Layer]):
    rebuild = layer.op.rebuild
    return layer.op._replace(rebuild=None if rebuild is None else lambda children: wrap(rebuild(children)))


def _cast(tree: Any, dtype: DTypeLike) -> Any:
    def one(leaf):
        leaf = jnp.asarray(leaf)
        return leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

    return jax.tree.map(one, tree)


def _cast_kernels(layer: Layer, params: Any, dtype: DTypeLike) -> Any:
    if layer.op.kind.endswith("norm"):
        return params
    if not layer.children:
        return _cast(params, dtype)
    return {name: _cast_kernels(layer.children[name], own, dtype) for name, own in params.items()}


@contextlib.contextmanager
def _saying_the_smallest(name: str, layer: Layer, in_shape: Any) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        shape = tuple(in_shape) if is_shape(in_shape) else ()
        smallest = _smallest(layer, shape[2]) if len(shape) == 3 else 0
        if smallest <= min(shape[:2], default=0):
            raise
        size = f"{smallest}x{smallest}"
        raise ValueError(f"in_shape: got {shape}, the smallest image that {name} takes is {size}: {error}") from error


def _smallest(layer: Layer, channels: int) -> int:
    """Return the least n such that images of n x n fit; 0 if none does."""
    if not _fits(layer, (_LARGEST, _LARGEST, channels)):
        return 0
    low, high = 0, _LARGEST
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _fits(layer, (middle, middle, channels)) else (middle, high)
    return high


def _fits(layer: Layer, in_shape: Shape) -> bool:
    try:
        layer.out_shape(in_shape)
    except ValueError:
        return False
    return True
