"""Fully connected networks. [Lecture rows A2, A4]"""

from collections.abc import Callable, Sequence

from jaxtyping import Array

from jaxdl import activations, initializers, nn


def mlp(
    num_classes: int = 10,
    *,
    widths: Sequence[int] = (256, 128),
    activation: Callable[[Array], Array] = activations.relu,
    kernel_init=None,
) -> nn.Layer:
    """Hidden layers ``a = g(W^T a + b)`` of the given widths, then one affine layer to the logits.

    The lectures' formula for one hidden layer omits g by mistake.

    Args:
        num_classes: number of logits.
        widths: hidden units per layer; empty for softmax regression.
        activation: g.
        kernel_init: `initializers.he_normal` by default, which suits ReLU.

    Examples:
        >>> net = models.mlp(10, widths=(8,), activation=jnp.tanh)
        >>> params, state = net.init(jax.random.key(0), (4,))
        >>> net.apply(params, state, jnp.ones((2, 4)))[0].shape
        (2, 10)

    [Lecture row A4]
    """
    kernel_init = kernel_init or initializers.he_normal()
    hidden = {}
    for i, width in enumerate(widths, 1):
        hidden |= {f"fc{i}": nn.Dense(width, kernel_init=kernel_init), f"act{i}": activation}
    return nn.serial(flatten=nn.flatten, **hidden, logits=nn.Dense(num_classes, kernel_init=kernel_init))


def softmax_regression(num_classes: int = 10) -> nn.Layer:
    """Softmax regression, a convex model: one affine map to the logits, initialised at zero.

    Examples:
        It starts at zero, so that all classes are equally likely:

        >>> net = models.softmax_regression(3)
        >>> params, state = net.init(jax.random.key(0), (4,))
        >>> net.apply(params, state, jnp.ones((1, 4)))[0]
        Array([[0., 0., 0.]], dtype=float32)

    [Lecture row A2]
    """
    return mlp(num_classes, widths=(), kernel_init=initializers.zeros())
