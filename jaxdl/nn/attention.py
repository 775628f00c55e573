"""Attention over sequences (steps, features), and the blocks of a Transformer."""

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from jaxdl import layers, sizes
from jaxdl.nn import shapes
from jaxdl.nn.combinators import parallel, pick, residual, serial
from jaxdl.nn.layer import Layer, Op, Shape, checked, declared, own_arrays
from jaxdl.nn.leaves import Dense
from jaxdl.nn.normalization import LayerNorm
from jaxdl.nn.scaling import LayerScale
from jaxdl.nn.stochastic import Dropout, StochasticDepth


@declared
def Attention(
    heads: int,
    *,
    causal: bool = False,
    masked: bool = False,
    rotary: bool = False,
    cache: tuple[int, int] | None = None,
) -> Layer:
    """Attention of several heads without parameters; takes a tuple (queries, keys, values), projected already.

    Args:
        heads: number of heads; each has its part of the features.
        causal: whether a step sees no later one.
        masked: whether a mask ``(steps, keys)``, True where a query may look at a key, comes as a fourth input.
        rotary: whether queries and keys are rotated by their places. See `layers.rotary`.
        cache: (examples, steps) of a batch that comes in pieces: the state then holds the keys and values of the steps
            so far, and outputs beyond ``steps`` are NaN. Causal, and without a mask. Parameters are those of the same
            layer without a cache.

    Raises:
        ValueError: for options that do not go together, and from ``init`` for shapes that do not.

    Examples:
        >>> nn.Attention(2).out_shape(((3, 4), (5, 4), (5, 6)))
        (3, 6)
    """
    sizes.check_at_least_one("heads", heads)
    if cache is not None and (masked or not causal or len(cache) != 2):
        raise ValueError(f"cache: got {cache!r}, allowed are (examples, steps) of causal attention without a mask")
    check = functools.partial(_attention_shape, heads=heads, masked=masked, rotary=rotary)

    def init(key, in_shape):
        del key
        check(in_shape)
        if cache is None:
            return {}, {}
        arrays = {name: jnp.zeros((*cache, in_shape[i][1])) for i, name in ((1, "keys"), (2, "values"))}
        return {}, arrays | {"position": jnp.zeros((), jnp.int32)}

    def apply(params, state, x, *, train=False, key=None, axis_name=None):
        del train, key, axis_name
        queries, keys, values, *mask = map(jnp.asarray, x)
        if cache is None:
            if rotary:
                queries, keys = (_rotated(a, heads, jnp.arange(a.shape[1])) for a in (queries, keys))
            return layers.multi_head_attention(queries, keys, values, *mask, heads=heads, causal=causal), state
        wanted = {"keys": (*cache, keys.shape[-1]), "values": (*cache, values.shape[-1]), "position": ()}
        trees = {"params": params, "state": state}
        ks, vs, position = own_arrays("Attention", trees, "state", wanted).values()
        if queries.shape[0] != cache[0]:
            raise ValueError(f"x: got {queries.shape[0]} examples, allowed are {cache[0]}, those that the cache is for")
        if rotary:
            queries, keys = (_rotated(a, heads, position + jnp.arange(a.shape[1])) for a in (queries, keys))
        y, new_keys, new_values = layers.cached_attention(queries, keys, values, ks, vs, position, heads=heads)
        return y, {"keys": new_keys, "values": new_values, "position": position + queries.shape[1]}

    op = Op("attention", input_dtype={3: jnp.bool_} if masked else jnp.float32)
    return checked(Layer(init, apply, check, {}, op))


def _attention_shape(in_shape: Any, *, heads: int, masked: bool, rotary: bool) -> Shape:
    """Return the shape of one output, having compared the shapes of the inputs."""
    parts = "queries, keys and values" + masked * " and of a mask"
    queries, keys, values, *mask = (
        shapes.sequence_shape("Attention", one)
        for one in shapes.several("Attention", in_shape, parts, 4 if masked else 3)
    )
    fits = queries[1] == keys[1] and keys[0] == values[0] and mask in ([], [(queries[0], keys[0])])
    if not fits or keys[1] % heads or values[1] % heads or (rotary and keys[1] // heads % 2):
        raise ValueError(f"in_shape: got {in_shape}, which do not fit one another or {heads} heads")
    return queries[0], values[1]


@declared
def MultiHeadAttention(
    features: int,
    heads: int,
    *,
    causal: bool = False,
    cross: bool = False,
    masked: bool = False,
    rotary: bool = False,
    cache: tuple[int, int] | None = None,
    bias: bool = True,
    kernel_init=None,
) -> Layer:
    """Attention of several heads with its four projections, of a sequence to itself or to another one.

    Its parts are project/query, project/key and project/value, `attend` and `out`; all four projections are `Dense`.

    Args:
        features: of the projections and of the output, a multiple of ``heads``.
        heads: number of heads.
        causal, rotary, cache: as in `Attention`.
        cross: whether the input is a tuple (sequence, context), keys and values being those of the context.
        masked: whether a mask, as in `Attention`, comes as the last input.
        bias: whether the projections have one.
        kernel_init: of the projections, as in `Dense`.

    Reference: Vaswani et al., Attention is all you need, 2017. https://arxiv.org/abs/1706.03762.

    Examples:
        >>> nn.MultiHeadAttention(6, 2).out_shape((5, 4))
        (5, 6)
    """
    sizes.check_at_least_one("heads", heads)
    if features % heads:
        raise ValueError(f"features: got {features}, allowed are multiples of the number of heads, {heads}")
    if cross and (causal or cache is not None):
        raise ValueError("cross: got True, allowed is False with causal or cache: a context has an order of its own")
    project = lambda: Dense(features, bias=bias, kernel_init=kernel_init)
    branches = {"query": project(), "key": project(), "value": project()}
    if cross or masked:
        branches = {name: pick(int(cross and name != "query"), part) for name, part in branches.items()}
    if masked:
        branches["mask"] = pick(1 + cross, input_dtype=jnp.bool_)
    attend = Attention(heads, causal=causal, masked=masked, rotary=rotary, cache=cache)
    return serial(project=parallel(tuple, **branches), attend=attend, out=project())


@declared
def TransformerBlock(
    attention: Layer,
    mlp: Layer,
    *,
    norm: Callable[[], Layer] = LayerNorm,
    norm_first: bool = True,
    dropout: float = 0.0,
    depth_rate: float = 0.0,
    layer_scale: float | None = None,
) -> Layer:
    """Attention and a network of each step, each with a norm and a shortcut: x + f(norm(x)), or norm(x + f(x)).

    Args:
        attention: such as ``MultiHeadAttention(64, 4, causal=True)``.
        mlp: such as ``serial(fc1=Dense(256), act=activations.gelu, fc2=Dense(64))``.
        norm: makes a norm.
        norm_first: whether the norms stand before attention and network, which trains without warm-up, or behind the
            sums, as in the paper of 2017.
        dropout: rate of dropping the outputs of both.
        depth_rate: rate of skipping each of both. See `StochasticDepth`.
        layer_scale: where factors on both start; None for none. See `LayerScale`.

    Reference: Vaswani et al., Attention is all you need, 2017, https://arxiv.org/abs/1706.03762; norms first: Xiong et
    al., On layer normalization in the Transformer architecture, 2020, https://arxiv.org/abs/2002.04745.

    Examples:
        >>> nn.TransformerBlock(nn.MultiHeadAttention(4, 2), nn.Dense(4)).out_shape((5, 4))
        (5, 4)
    """
    after = {"drop": Dropout(dropout)} if dropout else {}
    after |= {"scale": LayerScale(layer_scale)} if layer_scale is not None else {}
    after |= {"depth": StochasticDepth(depth_rate)} if depth_rate else {}
    if norm_first:
        around = lambda f: residual(serial(norm=norm(), layer=f, **after))
    else:
        around = lambda f: serial(residual=residual(serial(layer=f, **after)), norm=norm())
    return serial(attention=around(attention), mlp=around(mlp))


def _rotated(x: Array, heads: int, positions: Array) -> Array:
    """Rotate each head's part of (n, steps, features) by itself."""
    n, steps, features = x.shape
    split = jnp.swapaxes(x.reshape(n, steps, heads, features // heads), 1, 2)
    return jnp.swapaxes(layers.rotary(split, positions), 1, 2).reshape(x.shape)
