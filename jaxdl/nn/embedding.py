"""Vectors for symbols and for places in a sequence."""

import math

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from jaxdl import initializers, layers, numerics, sizes
from jaxdl.nn import shapes
from jaxdl.nn.layer import Layer, Op, Tree, checked, child_key, declared, own_arrays


@declared
def Embedding(symbols: int, features: int, *, table_init=None) -> Layer:
    """Look up a vector for each symbol; params ``table (symbols, features)``. See `layers.embed`.

    Args:
        symbols: number of symbols; the input are their numbers, 0 to symbols - 1.
        features: length of a vector.
        table_init: an initialiser, normal with deviation 1/√features by default.

    Examples:
        >>> nn.Embedding(10, 4).out_shape((5,))
        (5, 4)
    """
    draw = _table(symbols, features, table_init)

    def init(key, in_shape):
        shapes.of_one_array("Embedding", in_shape)
        return {"table": jnp.array(draw(child_key(key, "table"), (symbols, features)))}, {}

    def apply(params, state, x, *, train=False, key=None, axis_name=None):
        del train, key, axis_name
        trees = {"params": params, "state": state}
        return layers.embed(x, own_arrays("Embedding", trees, "params", {"table": (symbols, features)})["table"]), state

    op = Op("embedding", input_dtype=jnp.int32)
    out_shape = lambda in_shape: (*shapes.of_one_array("Embedding", in_shape), features)
    return checked(Layer(init, apply, out_shape, {}, op))


@declared
def Unembedding(symbols: int, *, table_init=None) -> Layer:
    """One logit for each symbol, the product with its vector; params ``table (symbols, features)``, as of `Embedding`.

    ``shared(net, {"unembed": "embed"})`` lets the two use one table.

    Args:
        symbols: number of symbols.
        table_init: as in `Embedding`.

    Reference: Press and Wolf, Using the output embedding to improve language models, 2016.
    https://arxiv.org/abs/1608.05859.

    Examples:
        >>> nn.Unembedding(10).out_shape((5, 4))
        (5, 10)
    """
    sizes.check_at_least_one("symbols", symbols)

    def init(key, in_shape):
        features = shapes.channels("Unembedding", in_shape)
        draw = _table(symbols, features, table_init)
        return {"table": jnp.array(draw(child_key(key, "table"), (symbols, features)))}, {}

    def apply(params, state, x, *, train=False, key=None, axis_name=None):
        del train, key, axis_name
        trees, features = {"params": params, "state": state}, shapes.channels("Unembedding", jnp.shape(x))
        own = own_arrays("Unembedding", trees, "params", {"table": (symbols, features)})
        return layers.dense(x, own["table"].T), state

    def out_shape(in_shape):
        shapes.channels("Unembedding", in_shape)
        return (*in_shape[:-1], symbols)

    return checked(Layer(init, apply, out_shape, {}, Op("unembedding")))


@declared
def PositionEmbedding(length: int | None = None, *, cache: bool = False, exact: bool = False, table_init=None) -> Layer:
    """Add a learned vector to each place of a sequence; params ``table (length, features)``.

    Args:
        length: of the longest sequence; None for those that ``init`` is made for.
        cache: whether the layer is applied to a sequence in pieces: its state then counts the steps so far. Beyond
            the table the result is NaN.
        exact: whether a shorter sequence is an error, too, as for patches of an image, whose places depend on its
            width; not together with ``cache``.
        table_init: an initialiser, normal with deviation .02 by default.

    Raises:
        ValueError: for ``exact`` with a cache; from ``init`` and ``apply`` for a sequence that does not fit.

    Examples:
        >>> nn.PositionEmbedding(8).out_shape((5, 4))
        (5, 4)
    """
    if length is not None:
        sizes.check_at_least_one("length", length)
    if exact and cache:
        raise ValueError("exact: got True with cache=True, whose sequences come in pieces; allowed is one of them")

    def check(in_shape, longest=length):
        steps, features = shapes.sequence_shape("PositionEmbedding", in_shape)
        if longest is not None and steps > longest:
            raise ValueError(f"in_shape: got {steps} steps, but PositionEmbedding was made for at most {longest}")
        if exact and longest is not None and steps != longest:
            raise ValueError(f"in_shape: got {steps} steps, but PositionEmbedding(exact=True) was made for {longest}")
        return steps, features

    def init(key, in_shape):
        steps, features = check(in_shape)
        shape = (length or steps, features)
        draw = table_init or initializers.normal(0.02)
        return {"table": jnp.array(draw(child_key(key, "table"), shape))}, _start(cache)

    def apply(params, state, x, *, train=False, key=None, axis_name=None):
        del train, key, axis_name
        features = shapes.channels("PositionEmbedding", jnp.shape(x))
        trees = {"params": params, "state": state}
        table = own_arrays("PositionEmbedding", trees, "params", {"table": (length, features)})["table"]
        steps, _ = check(jnp.shape(x)[1:], table.shape[0])
        start, new_state = _steps_so_far("PositionEmbedding", trees, cache, steps)
        rows = lax.dynamic_slice_in_dim(table, start, steps) if cache else table[:steps]
        rows = jnp.where(start + steps <= table.shape[0], rows, jnp.nan)  # where dynamic_slice would give older rows
        return _added(x, rows), new_state

    return checked(Layer(init, apply, check, {}, Op("position_embedding")))


@declared
def SinusoidalPositions(*, base: float = 10_000.0, cache: bool = False) -> Layer:
    """Add waves of growing length to a sequence, one vector for each place. See `layers.sinusoidal_positions`.

    Args:
        base: as in `layers.sinusoidal_positions`.
        cache: as in `PositionEmbedding`.

    Examples:
        >>> nn.SinusoidalPositions().out_shape((5, 4))
        (5, 4)
    """

    def check(in_shape):
        steps, features = shapes.sequence_shape("SinusoidalPositions", in_shape)
        if features % 2:
            raise ValueError(f"in_shape: got {features} features, but SinusoidalPositions takes an even number")
        return steps, features

    def init(key, in_shape):
        del key
        check(in_shape)
        return {}, _start(cache)

    def apply(params, state, x, *, train=False, key=None, axis_name=None):
        del train, key, axis_name
        steps, features = check(jnp.shape(x)[1:])
        start, new_state = _steps_so_far("SinusoidalPositions", {"params": params, "state": state}, cache, steps)
        places = (start + jnp.arange(steps)).astype(jnp.float32)
        waves = layers.sinusoidal_positions(places, features=features, base=base)
        return _added(x, waves).astype(numerics.result_dtype(x)), new_state

    return checked(Layer(init, apply, check, {}, Op("sinusoidal_positions")))


@declared
def ClassToken(*, token_init=None) -> Layer:
    """Put a learned vector in front of each sequence; params ``token (features,)``, zeros at the start by default.

    Reference: Dosovitskiy et al., An image is worth 16x16 words, 2020. https://arxiv.org/abs/2010.11929.

    Examples:
        >>> nn.ClassToken().out_shape((5, 4))
        (6, 4)
    """

    def init(key, in_shape):
        _, features = shapes.sequence_shape("ClassToken", in_shape)
        return {"token": jnp.array((token_init or initializers.zeros())(child_key(key, "token"), (features,)))}, {}

    def apply(params, state, x, *, train=False, key=None, axis_name=None):
        del train, key, axis_name
        x = jnp.asarray(x)
        own = own_arrays("ClassToken", {"params": params, "state": state}, "params", {"token": x.shape[-1:]})
        dtype = numerics.result_dtype(x, own["token"])
        token = numerics.widen(own["token"]).astype(dtype)[None, None]
        return jnp.concatenate([jnp.broadcast_to(token, (x.shape[0], 1, x.shape[-1])), x.astype(dtype)], axis=1), state

    def out_shape(in_shape):
        steps, features = shapes.sequence_shape("ClassToken", in_shape)
        return (steps + 1, features)

    return checked(Layer(init, apply, out_shape, {}, Op("class_token")))


def _table(symbols: int, features: int, table_init):
    for name, value in (("symbols", symbols), ("features", features)):
        sizes.check_at_least_one(name, value)
    return table_init or initializers.normal(1 / math.sqrt(features))


def _added(x, rows: Array) -> Array:
    """Add one row to each step of each sequence; a row's gradient is a sum over the batch."""
    x = jnp.asarray(x)
    wide = numerics.widen(x) + numerics.widen(rows)[None]
    return wide.astype(numerics.result_dtype(x, rows))


def _start(cache: bool) -> Tree:
    return {"position": jnp.zeros((), jnp.int32)} if cache else {}


def _steps_so_far(what: str, trees, cache: bool, steps: int) -> tuple[Array, Tree]:
    """Return the place of the first step, and the new state."""
    if not cache:
        return jnp.zeros((), jnp.int32), trees["state"]
    position = own_arrays(what, trees, "state", {"position": ()})["position"]
    return position, {"position": position + steps}
