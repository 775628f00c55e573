"""Normalisation by statistics of the batch, of one example, or of neighbours.

All parameters are float32, one per channel: ``scale``, which starts at 1, and ``offset``, which starts at 0.
"""

from collections.abc import Callable
from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array

from jaxdl import layers, sizes
from jaxdl.layers import stochastic
from jaxdl.nn import shapes
from jaxdl.nn.layer import Layer, Op, Tree, checked, declared, no_init, own_arrays


@declared
def BatchNorm(*, momentum: float = 0.9, eps: float = 1e-5, scale: bool = True, offset: bool = True) -> Layer:
    """Normalise each channel by the batch in training and by running statistics in evaluation.

    The running statistics are ``momentum * old + (1 - momentum) * batch``, with the variance of 1/m. With ``axis_name``
    the batch is that of all devices. They are float32, whatever the dtype of x.

    Args:
        momentum: share of the old running statistics that is kept each step, in [0, 1).
        eps: added to the variance inside the root, at least 0.
        scale, offset: whether to learn them.

    Reference: S. Ioffe, C. Szegedy, Batch Normalization, 2015, https://arxiv.org/abs/1502.03167.

    Examples:
        >>> nn.BatchNorm().out_shape((4, 4, 3))
        (4, 4, 3)
        >>> params, state = nn.BatchNorm(momentum=0.9).init(jax.random.key(0), (1,))
        >>> y, new_state = nn.BatchNorm(momentum=0.9).apply(params, state, jnp.array([[1.0], [3.0]]), train=True)
        >>> new_state["mean"]  # 0.9 * 0 + 0.1 * 2
        Array([0.2], dtype=float32)

    [Lecture row G5]
    """
    if isinstance(momentum, float | int) and not 0 <= momentum < 1:
        raise ValueError(f"momentum: got {momentum}, allowed is 0 ≤ momentum < 1, the share that is kept")
    stochastic.check_at_least_zero("eps", eps)
    learned = {"scale": scale, "offset": offset}

    def init(key, in_shape):
        del key
        shape = (shapes.channels("BatchNorm", in_shape),)
        statistics = {"mean": jnp.zeros(shape, jnp.float32), "var": jnp.ones(shape, jnp.float32)}
        return _start(learned, shape), statistics

    def apply(params, state, x, *, train=False, key=None, axis_name=None):
        del key
        trees, shape = {"params": params, "state": state}, (shapes.channels("BatchNorm", jnp.shape(x)),)
        old = own_arrays("BatchNorm", trees, "state", {"mean": shape, "var": shape})
        own = own_arrays("BatchNorm", trees, "params", {name: shape for name in learned if learned[name]})
        gamma, beta = own.get("scale"), own.get("offset")
        if not train:
            return layers.batch_norm(x, old["mean"], old["var"], gamma, beta, eps=eps), state
        mean, var = layers.batch_statistics(x, axis_name=axis_name)
        moved = {"mean": _running(old["mean"], mean, momentum), "var": _running(old["var"], var, momentum)}
        return layers.batch_norm(x, mean, var, gamma, beta, eps=eps), moved

    return checked(Layer(init, apply, shapes.same_shape, {}, Op("batch_norm", momentum=momentum)))


@declared
def LayerNorm(*, eps: float = 1e-5, scale: bool = True, offset: bool = True) -> Layer:
    """Normalise the channels of each place of each example. See `layers.layer_norm`.

    Args:
        eps: added to the variance inside the root, at least 0: PyTorch's 1e-5; flax and most Transformers take 1e-6.
        scale, offset: whether to learn them.

    Examples:
        >>> nn.LayerNorm().out_shape((5, 4))
        (5, 4)
    """
    normalise = lambda x, own: layers.layer_norm(x, own.get("scale"), own.get("offset"), eps=eps)
    return _norm("LayerNorm", "layer_norm", normalise, eps, {"scale": scale, "offset": offset}, shapes.channels)


@declared
def RMSNorm(*, eps: float = 1e-6, scale: bool = True) -> Layer:
    """Divide the channels of each place of each example by their root mean square. See `layers.rms_norm`.

    Args:
        eps: added to the mean square inside the root, at least 0.
        scale: whether to learn it.

    Examples:
        >>> nn.RMSNorm().out_shape((5, 4))
        (5, 4)
    """
    normalise = lambda x, own: layers.rms_norm(x, own.get("scale"), eps=eps)
    return _norm("RMSNorm", "rms_norm", normalise, eps, {"scale": scale}, shapes.channels)


@declared
def GroupNorm(groups: int = 32, *, eps: float = 1e-5, scale: bool = True, offset: bool = True) -> Layer:
    """Normalise groups of channels of each image. See `layers.group_norm`.

    Args:
        groups: number of groups, a divisor of the number of channels.
        eps, scale, offset: as in `LayerNorm`.

    Examples:
        >>> nn.GroupNorm(2).out_shape((4, 4, 6))
        (4, 4, 6)
    """
    sizes.check_at_least_one("groups", groups)

    def channels(what, in_shape):
        number = shapes.image_shape(what, in_shape)[-1]
        sizes.check_groups(groups, number)
        return number

    normalise = lambda x, own: layers.group_norm(x, own.get("scale"), own.get("offset"), groups=groups, eps=eps)
    return _norm("GroupNorm", "group_norm", normalise, eps, {"scale": scale, "offset": offset}, channels)


@declared
def InstanceNorm(*, eps: float = 1e-5, scale: bool = True, offset: bool = True) -> Layer:
    """Normalise each channel of each image. See `layers.instance_norm`; arguments as in `LayerNorm`.

    Examples:
        >>> nn.InstanceNorm().out_shape((4, 4, 3))
        (4, 4, 3)
    """
    channels = lambda what, in_shape: shapes.image_shape(what, in_shape)[-1]
    normalise = lambda x, own: layers.instance_norm(x, own.get("scale"), own.get("offset"), eps=eps)
    return _norm("InstanceNorm", "instance_norm", normalise, eps, {"scale": scale, "offset": offset}, channels)


@declared
def LocalResponseNorm(
    *, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0, per_size: bool = False
) -> Layer:
    """Divide each channel by the activity of its neighbours. See `layers.local_response_norm`.

    Examples:
        >>> nn.LocalResponseNorm().out_shape((4, 4, 6))
        (4, 4, 6)
    """
    sizes.check_at_least_one("size", size)
    options = {"size": size, "alpha": alpha, "beta": beta, "k": k, "per_size": per_size}

    def apply(params, state, x, *, train=False, key=None, axis_name=None):
        del params, train, key, axis_name
        return layers.local_response_norm(x, **options), state

    return checked(Layer(no_init, apply, shapes.same_shape, {}, Op("local_response_norm")))


@declared
def LocalContrastNorm(
    *,
    size: int = 9,
    mode: Literal["both", "subtractive", "divisive"] = "both",
    across_channels: bool = True,
    eps: float = 1e-4,
) -> Layer:
    """Take out the local mean and divide by the local deviation of images. See `layers.local_contrast_norm`.

    Examples:
        >>> nn.LocalContrastNorm(size=3).out_shape((4, 4, 3))
        (4, 4, 3)
    """
    layers.local_contrast_norm(jnp.zeros((1, 1, 1)), size=size, mode=mode)  # says now what is wrong with the options
    options = {"size": size, "mode": mode, "across_channels": across_channels, "eps": eps}

    def apply(params, state, x, *, train=False, key=None, axis_name=None):
        del params, train, key, axis_name
        return layers.local_contrast_norm(x, **options), state

    out_shape = lambda in_shape: shapes.image_shape("LocalContrastNorm", in_shape)
    return checked(Layer(no_init, apply, out_shape, {}, Op("local_contrast_norm")))


def _norm(
    what: str,
    kind: str,
    normalise: Callable[[Array, Tree], Array],
    eps: float,
    learned: dict[str, bool],
    channels: Callable[..., int],
) -> Layer:
    """Return a layer that normalises each example by itself."""
    stochastic.check_at_least_zero("eps", eps)

    def init(key, in_shape):
        del key
        return _start(learned, (channels(what, in_shape),)), {}

    def apply(params, state, x, *, train=False, key=None, axis_name=None):
        del train, key, axis_name
        shape = (shapes.channels(what, jnp.shape(x)),)
        names = {name: shape for name in learned if learned[name]}
        return normalise(x, own_arrays(what, {"params": params, "state": state}, "params", names)), state

    def out_shape(in_shape):
        channels(what, in_shape)
        return tuple(in_shape)

    return checked(Layer(init, apply, out_shape, {}, Op(kind)))


def _start(learned: dict[str, bool], shape: tuple[int, ...]) -> Tree:
    # each name an array of its own, so that all can be donated
    starts = (("scale", jnp.ones), ("offset", jnp.zeros))
    return {name: start(shape, jnp.float32) for name, start in starts if learned.get(name)}


def _running(old: Array, new: Array, momentum: float) -> Array:
    return (momentum * old + (1 - momentum) * new).astype(old.dtype)  # a stable dtype: no second compilation
