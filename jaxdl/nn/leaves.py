"""The affine layer, flatten and identity, and what layers with kernels have in common."""

import math
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from jaxdl import initializers, layers, sizes
from jaxdl.nn import shapes
from jaxdl.nn.layer import Layer, Op, Shape, Tree, checked, child_key, declared, no_init, own_arrays


@declared
def Dense(features: int, *, bias: bool = True, kernel_init=None, bias_init=None) -> Layer:
    """Affine map of the last axis; params ``kernel (d_in, features)`` and ``bias (features,)``.

    Args:
        features: number of outputs, at least 1.
        bias: whether to add a bias.
        kernel_init: an initialiser ``(key, shape) -> array``; `initializers.lecun_normal` by default.
        bias_init: ditto; zeros by default.

    Examples:
        >>> nn.Dense(4).out_shape((3,))
        (4,)
        >>> params, state = nn.Dense(4).init(jax.random.key(0), (3,))
        >>> y, state = nn.Dense(4).apply(params, state, jnp.ones((2, 3)))
        >>> params["kernel"].shape, y.shape
        ((3, 4), (2, 4))
    """
    sizes.check_at_least_one("features", features)

    def init(key, in_shape):
        kernel_shape = (shapes.channels("Dense", in_shape), features)
        return init_affine(key, kernel_shape, bias, kernel_init, bias_init), {}

    def apply(params, state, x, *, train=False, key=None, axis_name=None):
        del train, key, axis_name
        return layers.dense(x, *affine_params("Dense", params, state, (None, features), bias)), state

    def out_shape(in_shape):
        shapes.channels("Dense", in_shape)
        return (*in_shape[:-1], features)

    return checked(Layer(init, apply, out_shape, {}, Op("dense")))


flatten = checked(
    Layer(
        init=no_init,
        apply=lambda params, state, x, **_: (_flatten(x), state),
        out_shape=shapes.flat,
        children={},
        op=Op("flatten"),
    )
)

identity = checked(
    Layer(
        init=no_init,
        apply=lambda params, state, x, **_: (x, state),
        out_shape=lambda in_shape: in_shape,
        children={},
        op=Op("identity"),
    )
)


def init_affine(key, kernel_shape: Shape, bias: bool, kernel_init, bias_init) -> Tree:
    """Return a kernel and, where there is one, a bias."""
    kernel_key, bias_key = child_key(key, "kernel"), child_key(key, "bias")
    # copies: an initialiser may return an array that it keeps, which a step would then donate
    params = {"kernel": jnp.array((kernel_init or initializers.lecun_normal())(kernel_key, kernel_shape))}
    if bias:
        params["bias"] = jnp.array((bias_init or initializers.zeros())(bias_key, kernel_shape[-1:]))
    return params


def affine_params(
    what: str, params: Tree, state: Tree, kernel_shape: tuple[int | None, ...], bias: bool
) -> tuple[Array, Array | None]:
    """Return the kernel and the bias or None, their shapes compared with those declared.

    Args:
        what: the layer's name, for messages.
        params, state: of the layer.
        kernel_shape: None for a length that the input decides.
        bias: whether there is one.
    """
    allowed: dict[str, Any] = {"kernel": kernel_shape}
    if bias:
        allowed["bias"] = kernel_shape[-1:]
    own = own_arrays(what, {"params": params, "state": state}, "params", allowed)
    return own["kernel"], own.get("bias")


def _flatten(x: ArrayLike) -> Array:
    x = jnp.asarray(x)
    return x.reshape(x.shape[0], math.prod(x.shape[1:]))  # -1 would fail on an empty batch
