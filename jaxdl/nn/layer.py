"""`Layer`: the NamedTuple of pure functions that everything in `jaxdl.nn` is. See `jaxdl.nn` for its contract."""

import zlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
from jaxtyping import Array

Shape = tuple[int, ...]
Tree = dict[str, Any]


class Op(NamedTuple):
    """What a layer does, for tables, FLOPs, receptive fields and for `replace`."""

    kind: str  # "conv", "dense", "max_pool", "serial", ... or the name of a plain function
    window: Shape = ()  # (height, width) for what looks at a neighbourhood
    stride: Shape = ()
    padding: Any = None
    dilation: Shape = ()
    groups: int = 1
    rebuild: Callable[[Mapping[str, "Layer"]], "Layer"] | None = None  # the same combinator over other children


class Layer(NamedTuple):
    """A network or a part of one, as pure functions. See `jaxdl.nn` for the contract."""

    init: Callable[..., tuple[Tree, Tree]]  # (key, in_shape) -> (params, state)
    apply: Callable[..., tuple[Any, Tree]]  # (params, state, x, *, train, key, axis_name) -> (y, state)
    out_shape: Callable[[Shape], Any]  # (in_shape) -> shape of one output
    children: Mapping[str, "Layer"]
    op: Op


def function(f: Callable[[Array], Array], *, kind: str | None = None) -> Layer:
    """Turn a function of one batch of arrays into a layer without parameters.

    Combinators do this by themselves to any plain function among their children.

    Args:
        f: maps a batch ``(n, ...)`` to a batch ``(n, ...)``.
        kind: the name in tables; by default the function's own.
    """

    def out_shape(in_shape: Shape) -> Shape:
        return jax.eval_shape(f, jax.ShapeDtypeStruct((1, *in_shape), jnp.float32)).shape[1:]

    def apply(params, state, x, *, train=False, key=None, axis_name=None):
        del params, train, key, axis_name
        return f(x), state

    return Layer(no_init, apply, out_shape, {}, Op(kind or getattr(f, "__name__", "function")))


def no_init(key, in_shape):
    """Initialise nothing."""
    del key, in_shape
    return {}, {}


def as_layer(child: Any) -> Layer:
    """The layer itself, or a layer made of a plain function."""
    if isinstance(child, Layer):
        return child
    if not callable(child):
        raise ValueError(f"a child must be a Layer or a function of an array, got {type(child).__name__}")
    return function(cast(Callable[[Array], Array], child))


def child_key(key: Array, name: str) -> Array:
    """The key of the child of this name: crc32, unlike `hash`, is the same in every process."""
    return jax.random.fold_in(key, zlib.crc32(name.encode()))
