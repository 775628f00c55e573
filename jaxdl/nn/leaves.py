"""The layers that compute: thin applications of `jaxdl.layers` that own parameters."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from jaxdl import initializers, layers
from jaxdl.layers import sizes
from jaxdl.nn.layer import Layer, Op, Shape, Tree, child_key, function, no_init


def Dense(features: int, *, bias: bool = True, kernel_init=None, bias_init=None) -> Layer:
    """Affine map of the last axis; params ``kernel (d_in, features)`` and ``bias (features,)``.

    Args:
        features: number of outputs, at least 1.
        bias: whether to add a bias.
        kernel_init: an initialiser ``(key, shape) -> array``; `initializers.lecun_normal` by default.
        bias_init: ditto; zeros by default.
    """
    _check_positive("features", features)

    def init(key, in_shape):
        kernel_shape = (in_shape[-1], features)
        return _init_affine(key, kernel_shape, bias, kernel_init, bias_init), {}

    def apply(params, state, x, *, train=False, key=None, axis_name=None):
        del train, key, axis_name
        return layers.dense(x, params["kernel"], params.get("bias")), state

    return Layer(init, apply, lambda in_shape: (*in_shape[:-1], features), {}, Op("dense"))


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
) -> Layer:
    """2-D convolution of ``(h, w, c)`` images; params ``kernel (kh, kw, c // groups, features)`` and ``bias``.

    Args:
        features: number of output channels, divisible by ``groups``.
        window, stride, dilation: one int or (height, width).
        padding: "SAME", "VALID", "FULL", an int or pairs, as in `layers.conv2d`.
        groups: number of groups of channels that do not see one another.
        bias: whether to add a bias.
        kernel_init, bias_init: as in `Dense`.
    """
    _check_positive("features", features)
    window, stride, dilation = _pair("window", window), _pair("stride", stride), _pair("dilation", dilation)

    def init(key, in_shape):
        channels = _image_shape("Conv", in_shape)[2]
        if channels % groups or features % groups:
            raise ValueError(f"groups={groups} must divide both {channels} input and {features} output channels")
        kernel_shape = (*window, channels // groups, features)
        return _init_affine(key, kernel_shape, bias, kernel_init, bias_init), {}

    def apply(params, state, x, *, train=False, key=None, axis_name=None):
        del train, key, axis_name
        y = layers.conv2d(
            x,
            params["kernel"],
            params.get("bias"),
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
        )
        return y, state

    op = Op("conv", window, stride, padding, dilation, groups)
    return Layer(init, apply, lambda in_shape: (*_spatial_shape("Conv", in_shape, op), features), {}, op)


def MaxPool(window: int | Sequence[int], *, stride=None, padding: Any = "VALID") -> Layer:
    """Maximum over windows, per channel. See `layers.max_pool2d`."""
    return _pool("max_pool", layers.max_pool2d, window, stride, padding)


def AvgPool(window: int | Sequence[int], *, stride=None, padding: Any = "VALID") -> Layer:
    """Mean over windows, per channel. See `layers.avg_pool2d`."""
    return _pool("avg_pool", layers.avg_pool2d, window, stride, padding)


def BatchNorm(*, momentum: float = 0.9, eps: float = 1e-5, scale: bool = True, offset: bool = True) -> Layer:
    """Normalise each channel by the batch in training and by running statistics in evaluation.

    The running statistics are ``momentum * old + (1 - momentum) * batch``, with the variance of 1/m (Lecture row G5).
    With ``axis_name`` the batch is that of all devices.

    Args:
        momentum: share of the old running statistics that is kept each step, in [0, 1).
        eps: added to the variance inside the root.
        scale, offset: whether to learn them.

    Reference: S. Ioffe, C. Szegedy, Batch Normalization, 2015, https://arxiv.org/abs/1502.03167.
    """
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum={momentum} is not in [0, 1)")

    def init(key, in_shape):
        del key
        channels = (in_shape[-1],)
        params = {"scale": jnp.ones(channels)} if scale else {}
        params |= {"offset": jnp.zeros(channels)} if offset else {}
        return params, {"mean": jnp.zeros(channels), "var": jnp.ones(channels)}

    def apply(params, state, x, *, train=False, key=None, axis_name=None):
        del key
        mean, var = state["mean"], state["var"]
        if train:
            mean, var = layers.batch_statistics(x, axis_name=axis_name)
            state = {
                "mean": momentum * state["mean"] + (1 - momentum) * mean,
                "var": momentum * state["var"] + (1 - momentum) * var,
            }
        return layers.batch_norm(x, mean, var, params.get("scale"), params.get("offset"), eps=eps), state

    return Layer(init, apply, lambda in_shape: in_shape, {}, Op("batch_norm"))


def Dropout(rate: float, *, mode: str = "inverted") -> Layer:
    """Drop each unit with probability ``rate`` in training; the identity in evaluation. See `layers.dropout`.

    ``apply`` raises ValueError in training without a key. Only the inverted form needs no scale in evaluation, so
    it is the only one offered as a layer; ``mode="as_drawn"`` multiplies by 1 - rate in evaluation instead.
    """
    if not 0 <= rate < 1:
        raise ValueError(f"rate={rate} is not in [0, 1): it is the probability of dropping a unit")
    if mode not in ("inverted", "as_drawn"):
        raise ValueError(f"mode={mode!r} is not one of 'inverted', 'as_drawn'")

    def apply(params, state, x, *, train=False, key=None, axis_name=None):
        del params, axis_name
        if not train:
            return (x if mode == "inverted" else x * (1 - rate)), state
        if key is None:
            raise ValueError("key=None: Dropout draws at random, so apply(..., train=True) needs a key")
        return layers.dropout(key, x, rate, mode=mode), state

    return Layer(no_init, apply, lambda in_shape: in_shape, {}, Op("dropout"))


def _flatten(x: Array) -> Array:
    return x.reshape(x.shape[0], -1)


flatten = Layer(
    init=lambda key, in_shape: ({}, {}),
    apply=lambda params, state, x, **_: (_flatten(x), state),
    out_shape=lambda in_shape: (math.prod(in_shape),),
    children={},
    op=Op("flatten"),
)

identity = Layer(
    init=lambda key, in_shape: ({}, {}),
    apply=lambda params, state, x, **_: (x, state),
    out_shape=lambda in_shape: in_shape,
    children={},
    op=Op("identity"),
)

global_avg_pool = function(layers.global_avg_pool2d, kind="global_avg_pool")


def _init_affine(key, kernel_shape: Shape, bias: bool, kernel_init, bias_init) -> Tree:
    kernel_key, bias_key = child_key(key, "kernel"), child_key(key, "bias")
    params = {"kernel": (kernel_init or initializers.lecun_normal())(kernel_key, kernel_shape)}
    if bias:
        params["bias"] = (bias_init or initializers.zeros())(bias_key, kernel_shape[-1:])
    return params


def _pool(kind: str, pool: Callable[..., Array], window, stride, padding) -> Layer:
    window = _pair("window", window)
    stride = window if stride is None else _pair("stride", stride)
    op = Op(kind, window, stride, padding, (1, 1))

    def apply(params, state, x, *, train=False, key=None, axis_name=None):
        del params, train, key, axis_name
        return pool(x, window=window, stride=stride, padding=padding), state

    def out_shape(in_shape):
        return (*_spatial_shape(kind, in_shape, op), in_shape[2])

    return Layer(no_init, apply, out_shape, {}, op)


def _spatial_shape(what: str, in_shape: Shape, op: Op) -> Shape:
    height, width, _ = _image_shape(what, in_shape)
    paddings = op.padding if isinstance(op.padding, (list, tuple)) else (op.padding, op.padding)
    return tuple(
        sizes.output_length(length, window, stride=stride, padding=padding, dilation=dilation)
        for length, window, stride, padding, dilation in zip(
            (height, width), op.window, op.stride, paddings, op.dilation, strict=True
        )
    )


def _image_shape(what: str, in_shape: Shape) -> Shape:
    if len(in_shape) != 3:
        raise ValueError(f"in_shape={tuple(in_shape)}: {what} takes images (height, width, channels)")
    return tuple(in_shape)


def _pair(name: str, value: int | Sequence[int]) -> tuple[int, int]:
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if len(pair) != 2 or not all(isinstance(v, int) and v >= 1 for v in pair):
        raise ValueError(f"{name}={value!r} is neither a positive int nor a pair of them (height, width)")
    return pair


def _check_positive(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"{name}={value} is less than 1")
