"""Noise in training: on activations, on whole examples, on kernels.

Every layer of this module needs a key in training and raises a ValueError without one.
"""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxdl import layers, sizes
from jaxdl.layers import stochastic
from jaxdl.nn import shapes
from jaxdl.nn.layer import Layer, Op, Tree, checked, child_key, declared, no_init
from jaxdl.nn.leaves import affine_params, init_affine


@declared
def Dropout(rate: float, *, mode: stochastic.Mode = "inverted") -> Layer:
    """Drop each unit with probability ``rate`` in training. See `layers.dropout`.

    Args:
        rate: probability of dropping a unit, in [0, 1).
        mode: "inverted" scales by 1 / (1 - rate) in training and is the identity in evaluation; "as_drawn" leaves
            what is kept as it is in training and multiplies by 1 - rate in evaluation [Lecture row G3].

    Raises:
        ValueError: for another rate or mode, and from ``apply`` in training without a key.

    Examples:
        >>> nn.Dropout(0.5).out_shape((3,))
        (3,)
        >>> y, _ = nn.Dropout(0.5).apply({}, {}, jnp.ones((100, 1)), train=True, key=jax.random.key(0))
        >>> set(y.ravel().tolist())
        {0.0, 2.0}
    """
    stochastic.check_mode(mode)
    return _drop("Dropout", "dropout", lambda key, x: layers.dropout(key, x, rate, mode=mode), rate, mode)


@declared
def SpatialDropout(rate: float, *, mode: stochastic.Mode = "inverted") -> Layer:
    """Drop whole channels of each image in training. See `layers.spatial_dropout`; arguments as in `Dropout`.

    Examples:
        >>> nn.SpatialDropout(0.5).out_shape((4, 4, 3))
        (4, 4, 3)
    """
    stochastic.check_mode(mode)
    draw = lambda key, x: layers.spatial_dropout(key, x, rate, mode=mode)
    return _drop("SpatialDropout", "spatial_dropout", draw, rate, mode, shapes.image_shape)


@declared
def GaussianDropout(rate: float) -> Layer:
    """Multiply by N(1, rate / (1 - rate)) in training; the identity in evaluation. See `layers.gaussian_dropout`.

    Examples:
        >>> nn.GaussianDropout(0.5).out_shape((3,))
        (3,)
    """
    draw = lambda key, x: layers.gaussian_dropout(key, x, rate)
    return _drop("GaussianDropout", "gaussian_dropout", draw, rate, "inverted")


@declared
def StochasticDepth(rate: float, *, mode: stochastic.Mode = "inverted") -> Layer:
    """Drop whole examples in training. See `layers.stochastic_depth`; arguments as in `Dropout`.

    As the last layer of a residual body it skips the body: ``residual(serial(..., depth=StochasticDepth(0.1)))``.

    Examples:
        >>> nn.StochasticDepth(0.5).out_shape((3,))
        (3,)
    """
    stochastic.check_mode(mode)
    draw = lambda key, x: layers.stochastic_depth(key, x, rate, mode=mode)
    return _drop("StochasticDepth", "stochastic_depth", draw, rate, mode)


@declared
def Zoneout(rate: float) -> Layer:
    """Let units keep their last value; takes a pair (new, previous). See `layers.zoneout`.

    In evaluation it is the mean, ``rate * previous + (1 - rate) * new``. `RNN`, `GRU` and `LSTM` do both by themselves
    with ``zoneout_rate``; this layer is for cells of one's own.

    Examples:
        >>> nn.Zoneout(0.5).out_shape(((3,), (3,)))
        (3,)
    """
    stochastic.check_rate(rate)

    def out_shape(in_shape):
        new, previous = shapes.several("Zoneout", in_shape, "the new state and of the previous one", 2)
        if new != previous:
            raise ValueError(f"in_shape: got {in_shape}, but Zoneout takes two states of one shape")
        return new

    def init(key, in_shape):
        out_shape(in_shape)
        return no_init(key, in_shape)

    def apply(params, state, x, *, train=False, key=None, axis_name=None):
        del params, axis_name
        new, previous = x
        if not train:
            return stochastic.zoneout_mean(jnp.asarray(new), jnp.asarray(previous), rate), state
        return layers.zoneout(_key("Zoneout", key), new, previous, rate), state

    return checked(Layer(init, apply, out_shape, {}, Op("zoneout")))


@declared
def DropConnect(layer: Layer, rate: float, *, mode: stochastic.Mode = "inverted") -> Layer:
    """The same layer, whose kernels lose single weights in training. See `layers.dropconnect`.

    Args:
        layer: one with kernels, such as `Dense`, `Conv` or a whole network; its params and children stay as they are.
        rate: probability of dropping a weight, in [0, 1).
        mode: as in `Dropout`.

    Examples:
        >>> nn.DropConnect(nn.Dense(4), 0.5).out_shape((3,))
        (4,)
    """
    stochastic.check_rate(rate)
    stochastic.check_mode(mode)
    mean = (lambda kernel: kernel) if mode == "inverted" else (lambda kernel: kernel * (1 - rate))
    draw = lambda key, kernel: layers.dropconnect(key, kernel, rate, mode=mode)
    return _noisy("DropConnect", layer, draw, mean, lambda new: DropConnect(new, rate, mode=mode))


@declared
def Shakeout(layer: Layer, rate: float, *, c: float, per: Literal["unit", "weight"] = "unit") -> Layer:
    """The same layer, whose kernels are enhanced or reversed at random in training. See `layers.shakeout`.

    Args:
        layer: as in `DropConnect`.
        rate, c, per: as in `layers.shakeout`.

    Examples:
        >>> nn.Shakeout(nn.Dense(4), 0.5, c=0.1).out_shape((3,))
        (4,)
    """
    stochastic.check_rate(rate)
    stochastic.check_at_least_zero("c", c)
    if per not in ("unit", "weight"):
        raise ValueError(f"per: got {per!r}, allowed are 'unit' and 'weight'")
    draw = lambda key, kernel: layers.shakeout(key, kernel, rate, c=c, per=per)
    return _noisy("Shakeout", layer, draw, lambda kernel: kernel, lambda new: Shakeout(new, rate, c=c, per=per))


@declared
def Whiteout(
    features: int,
    *,
    sigma: float,
    gamma: float = 1.0,
    ridge: float = 0.0,
    mode: Literal["additive", "multiplicative"] = "additive",
    bias: bool = True,
    kernel_init=None,
    bias_init=None,
) -> Layer:
    """`Dense` with Gaussian noise on each connection in training. See `layers.whiteout`.

    Args:
        features, bias, kernel_init, bias_init: as in `Dense`.
        sigma, gamma, ridge, mode: as in `layers.whiteout`.

    Examples:
        >>> nn.Whiteout(4, sigma=0.1).out_shape((3,))
        (4,)
    """
    sizes.check_at_least_one("features", features)
    options = {"sigma": sigma, "gamma": gamma, "ridge": ridge, "mode": mode}
    stochastic.check_whiteout(**options)

    def init(key, in_shape):
        kernel_shape = (shapes.channels("Whiteout", in_shape), features)
        return init_affine(key, kernel_shape, bias, kernel_init, bias_init), {}

    def apply(params, state, x, *, train=False, key=None, axis_name=None):
        del axis_name
        kernel, own_bias = affine_params("Whiteout", params, state, (None, features), bias)
        if not train:
            return layers.dense(x, kernel, own_bias), state
        return layers.whiteout(_key("Whiteout", key), x, kernel, own_bias, **options), state

    def out_shape(in_shape):
        shapes.channels("Whiteout", in_shape)
        return (*in_shape[:-1], features)

    return checked(Layer(init, apply, out_shape, {}, Op("whiteout")))


def _drop(
    what: str, kind: str, draw: Callable[[Array, Any], Array], rate: float, mode: str, shape: Callable | None = None
) -> Layer:
    """Return a layer that draws in training, and in evaluation is the mean of that."""
    stochastic.check_rate(rate)

    def apply(params, state, x, *, train=False, key=None, axis_name=None):
        del params, axis_name
        if not train:
            return (x if mode == "inverted" else x * (1 - rate)), state
        return draw(_key(what, key), x), state

    out_shape = shapes.same_shape if shape is None else lambda in_shape: shape(what, in_shape)
    return checked(Layer(no_init, apply, out_shape, {}, Op(kind)))


def _noisy(what: str, layer: Layer, draw: Callable, mean: Callable, again: Callable[[Layer], Layer]) -> Layer:
    """Return the same layer, which draws its kernels in training and takes the mean of that in evaluation."""
    if not isinstance(layer, Layer):
        raise ValueError(f"layer: got {type(layer).__name__}, allowed are layers with kernels, such as Dense(10)")

    def init(key, in_shape):
        params, state = layer.init(key, in_shape)
        if not any(_is_kernel(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)):
            raise ValueError(f"layer: got {layer!r}, which has no kernel that {what} could change")
        return params, state

    def apply(params, state, x, *, train=False, key=None, axis_name=None):
        if train:
            own = _key(what, key)
            params = _map_kernels(lambda name, kernel: draw(child_key(own, f"{what} {name}"), kernel), params)
        else:
            params = _map_kernels(lambda name, kernel: mean(kernel), params)
        return layer.apply(params, state, x, train=train, key=key, axis_name=axis_name)

    rebuild = layer.op.rebuild
    rebuilt = None if rebuild is None else lambda children: again(rebuild(children))
    return checked(layer._replace(init=init, apply=apply, op=layer.op._replace(rebuild=rebuilt)))


def _map_kernels(f: Callable[[str, Array], Array], params: Tree) -> Tree:
    name = lambda path: jax.tree_util.keystr(path, simple=True, separator="/")
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: f(name(path), leaf) if _is_kernel(path) else leaf, params
    )


def _is_kernel(path: tuple[Any, ...]) -> bool:
    return jax.tree_util.keystr(path[-1:], simple=True).endswith("kernel")


def _key(what: str, key: Array | None) -> Array:
    if key is None:
        raise ValueError(f"key: got None, but {what} draws at random: apply(..., train=True) needs a key")
    return key
