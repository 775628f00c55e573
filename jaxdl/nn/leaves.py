"""The layers that compute: thin applications of `jaxdl.layers` that own parameters."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from jaxdl import initializers, layers, sizes
from jaxdl.layers import stochastic
from jaxdl.nn.layer import Layer, Op, Shape, Tree, checked, child_key, function, no_init, own_arrays
from jaxdl.words import own_words


@own_words
def Dense(features: int, *, bias: bool = True, kernel_init=None, bias_init=None) -> Layer:
    """Affine map of the last axis; params ``kernel (d_in, features)`` and ``bias (features,)``.

    Args:
        features: number of outputs, at least 1.
        bias: whether to add a bias.
        kernel_init: an initialiser ``(key, shape) -> array``; `initializers.lecun_normal` by default.
        bias_init: ditto; zeros by default.
    """
    sizes.check_at_least_one("features", features)

    def init(key, in_shape):
        kernel_shape = (_channels("Dense", in_shape), features)
        return _init_affine(key, kernel_shape, bias, kernel_init, bias_init), {}

    def apply(params, state, x, *, train=False, key=None, axis_name=None):
        del train, key, axis_name
        return layers.dense(x, *_affine_params("Dense", params, state, (None, features), bias)), state

    def out_shape(in_shape):
        _channels("Dense", in_shape)
        return (*in_shape[:-1], features)

    return checked(Layer(init, apply, out_shape, {}, Op("dense")))


@own_words
def Conv(
    features: int,
    window: int | Sequence[int],
    *,
    stride: int | Sequence[int] = 1,
    padding: Any = "SAME",
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    bias: bool = True,
    kernel_init=None,
    bias_init=None,
    method: str | None = None,
) -> Layer:
    """2-D convolution of ``(h, w, c)`` images; params ``kernel (kh, kw, c // groups, features)`` and ``bias``.

    Args:
        features: number of output channels, divisible by ``groups``.
        window, stride, dilation: one int or (height, width).
        padding: "SAME", "VALID", "FULL", an int or pairs, as in `layers.conv2d`.
        groups: number of groups of channels that do not see one another.
        bias: whether to add a bias.
        kernel_init, bias_init: as in `Dense`.
        method: algorithm, as in `layers.conv2d`; "xla" opts out of the choice by shape.
    """
    sizes.check_at_least_one("features", features)
    sizes.check_groups(groups, features, features)
    op = _window_op("conv", window, stride, padding, dilation)._replace(groups=groups)

    def init(key, in_shape):
        channels = _image_shape("Conv", in_shape)[2]
        sizes.check_groups(groups, channels, features)
        kernel_shape = (*op.window, channels // groups, features)
        return _init_affine(key, kernel_shape, bias, kernel_init, bias_init), {}

    def apply(params, state, x, *, train=False, key=None, axis_name=None):
        del train, key, axis_name
        kernel_shape = (*op.window, None, features)
        kernel, own_bias = _affine_params("Conv", params, state, kernel_shape, bias)
        options = {"stride": op.stride, "padding": op.padding, "dilation": op.dilation, "groups": groups}
        return layers.conv2d(x, kernel, own_bias, method=method, **options), state

    def out_shape(in_shape):
        sizes.check_groups(groups, _image_shape("Conv", in_shape)[2], features)
        return (*_spatial_shape("Conv", in_shape, op), features)

    return checked(Layer(init, apply, out_shape, {}, op))


@own_words
def MaxPool(window: int | Sequence[int], *, stride=None, padding: Any = "VALID") -> Layer:
    """Maximum over windows, per channel. See `layers.max_pool2d`."""
    return _pool("max_pool", layers.max_pool2d, window, stride, padding)


@own_words
def AvgPool(window: int | Sequence[int], *, stride=None, padding: Any = "VALID") -> Layer:
    """Mean over windows, per channel. See `layers.avg_pool2d`."""
    return _pool("avg_pool", layers.avg_pool2d, window, stride, padding)


@own_words
def BatchNorm(*, momentum: float = 0.9, eps: float = 1e-5, scale: bool = True, offset: bool = True) -> Layer:
    """Normalise each channel by the batch in training and by running statistics in evaluation.

    The running statistics are ``momentum * old + (1 - momentum) * batch``, with the variance of 1/m (Lecture row G5).
    With ``axis_name`` the batch is that of all devices. They are float32, whatever the dtype of x.

    Args:
        momentum: share of the old running statistics that is kept each step, in [0, 1).
        eps: added to the variance inside the root, at least 0.
        scale, offset: whether to learn them.

    Reference: S. Ioffe, C. Szegedy, Batch Normalization, 2015, https://arxiv.org/abs/1502.03167.
    """
    if isinstance(momentum, float | int) and not 0 <= momentum < 1:
        raise ValueError(f"momentum: got {momentum}, allowed is 0 ≤ momentum < 1, the share that is kept")
    stochastic.check_at_least_zero("eps", eps)
    learned = {"scale": scale, "offset": offset}

    def init(key, in_shape):
        del key
        shape = (_channels("BatchNorm", in_shape),)
        # each name an array of its own, so that all can be donated
        params = {
            name: start(shape, jnp.float32)
            for name, start in (("scale", jnp.ones), ("offset", jnp.zeros))
            if learned[name]
        }
        return params, {"mean": jnp.zeros(shape, jnp.float32), "var": jnp.ones(shape, jnp.float32)}

    def apply(params, state, x, *, train=False, key=None, axis_name=None):
        del key
        trees, shape = {"params": params, "state": state}, (_channels("BatchNorm", jnp.shape(x)),)
        old = own_arrays("BatchNorm", trees, "state", {"mean": shape, "var": shape})
        own = own_arrays("BatchNorm", trees, "params", {name: shape for name in learned if learned[name]})
        gamma, beta = own.get("scale"), own.get("offset")
        if not train:
            return layers.batch_norm(x, old["mean"], old["var"], gamma, beta, eps=eps), state
        mean, var = layers.batch_statistics(x, axis_name=axis_name)
        moved = {"mean": _running(old["mean"], mean, momentum), "var": _running(old["var"], var, momentum)}
        return layers.batch_norm(x, mean, var, gamma, beta, eps=eps), moved

    return checked(Layer(init, apply, _same_shape, {}, Op("batch_norm", momentum=momentum)))


@own_words
def LocalResponseNorm(
    *, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0, per_size: bool = False
) -> Layer:
    """Divide each channel by the activity of its neighbours. See `layers.local_response_norm`."""
    sizes.check_at_least_one("size", size)
    options = {"size": size, "alpha": alpha, "beta": beta, "k": k, "per_size": per_size}

    def apply(params, state, x, *, train=False, key=None, axis_name=None):
        del params, train, key, axis_name
        return layers.local_response_norm(x, **options), state

    return checked(Layer(no_init, apply, _same_shape, {}, Op("local_response_norm")))


@own_words
def Dropout(rate: float, *, mode: stochastic.Mode = "inverted") -> Layer:
    """Drop each unit with probability ``rate`` in training. See `layers.dropout`.

    Args:
        rate: probability of dropping a unit, in [0, 1).
        mode: "inverted" scales by 1 / (1 - rate) in training and is the identity in evaluation; "as_drawn" leaves
            what is kept as it is in training and multiplies by 1 - rate in evaluation (Lecture row G3).

    Raises:
        ValueError: for another rate or mode, and from ``apply`` in training without a key.
    """
    stochastic.check_rate(rate)
    stochastic.check_mode(mode)

    def apply(params, state, x, *, train=False, key=None, axis_name=None):
        del params, axis_name
        if not train:
            return (x if mode == "inverted" else x * (1 - rate)), state
        if key is None:
            raise ValueError("key: got None, but Dropout draws at random: apply(..., train=True) needs a key")
        return layers.dropout(key, x, rate, mode=mode), state

    return checked(Layer(no_init, apply, _same_shape, {}, Op("dropout")))


def _flatten(x: ArrayLike) -> Array:
    x = jnp.asarray(x)
    return x.reshape(x.shape[0], math.prod(x.shape[1:]))  # -1 would fail on an empty batch


def _same_shape(in_shape: Sequence[int]) -> Shape:
    return tuple(in_shape)


flatten = checked(
    Layer(
        init=no_init,
        apply=lambda params, state, x, **_: (_flatten(x), state),
        out_shape=lambda in_shape: (math.prod(in_shape),),
        children={},
        op=Op("flatten"),
    )
)

identity = checked(
    Layer(
        init=no_init,
        apply=lambda params, state, x, **_: (x, state),
        out_shape=_same_shape,
        children={},
        op=Op("identity"),
    )
)

global_avg_pool = function(layers.global_avg_pool2d, kind="global_avg_pool")


def _init_affine(key, kernel_shape: Shape, bias: bool, kernel_init, bias_init) -> Tree:
    kernel_key, bias_key = child_key(key, "kernel"), child_key(key, "bias")
    # copies: an initialiser may return an array that it keeps, which a step would then donate
    params = {"kernel": jnp.array((kernel_init or initializers.lecun_normal())(kernel_key, kernel_shape))}
    if bias:
        params["bias"] = jnp.array((bias_init or initializers.zeros())(bias_key, kernel_shape[-1:]))
    return params


def _affine_params(
    what: str, params: Tree, state: Tree, kernel_shape: tuple[int | None, ...], bias: bool
) -> tuple[Array, Array | None]:
    shapes = {"kernel": kernel_shape} | ({"bias": kernel_shape[-1:]} if bias else {})
    own = own_arrays(what, {"params": params, "state": state}, "params", shapes)
    return own["kernel"], own.get("bias")


def _running(old: Array, new: Array, momentum: float) -> Array:
    return (momentum * old + (1 - momentum) * new).astype(old.dtype)  # a stable dtype: no second compilation


def _pool(kind: str, pool: Callable[..., Array], window, stride, padding) -> Layer:
    op = _window_op(kind, window, window if stride is None else stride, padding, 1)
    for axis in range(2):
        if max(_amounts(op, axis)) >= op.window[axis]:
            raise ValueError(f"padding: got {padding!r}, allowed is less than the window {op.window}")

    def apply(params, state, x, *, train=False, key=None, axis_name=None):
        del params, train, key, axis_name
        return pool(x, window=op.window, stride=op.stride, padding=op.padding), state

    def out_shape(in_shape):
        return (*_spatial_shape(kind, in_shape, op), in_shape[2])

    return checked(Layer(no_init, apply, out_shape, {}, op))


def _window_op(kind: str, window, stride, padding, dilation) -> Op:
    """Return the options once per axis, checked."""
    window, stride, dilation = _pair("window", window), _pair("stride", stride), _pair("dilation", dilation)
    op = Op(kind, window, stride, sizes.per_axis("padding", padding, 2), dilation)
    for axis in range(2):
        _amounts(op, axis)
    return op


def _pair(name: str, value: int | Sequence[int]) -> Shape:
    pair = sizes.per_axis(name, value, 2)
    for one in pair:
        sizes.check_at_least_one(name, one)
    return pair


def _amounts(op: Op, axis: int) -> tuple[int, int]:
    length = op.window[axis]  # only "SAME" depends on the length, and is never wrong
    options = {"stride": op.stride[axis], "padding": op.padding[axis], "dilation": op.dilation[axis]}
    return sizes.padding_amounts(length, op.window[axis], **options)


def _spatial_shape(what: str, in_shape: Sequence[int], op: Op) -> Shape:
    lengths = _image_shape(what, in_shape)[:2]
    per_axis = zip(lengths, op.window, op.stride, op.padding, op.dilation, strict=True)
    return tuple(sizes.output_length(n, k, stride=s, padding=p, dilation=d) for n, k, s, p, d in per_axis)


def _image_shape(what: str, in_shape: Sequence[int]) -> Shape:
    if len(in_shape) != 3:
        raise ValueError(f"in_shape: got {tuple(in_shape)}, but {what} takes images (height, width, channels)")
    return tuple(in_shape)


def _channels(what: str, in_shape: Sequence[int]) -> int:
    if not len(in_shape):
        raise ValueError(f"in_shape: got (), but {what} takes at least one axis, the last being its channels")
    return in_shape[-1]
