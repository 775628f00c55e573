"""Turn a forward and a backward function into one that `jax.grad` differentiates with them."""

import functools
from collections.abc import Callable
from typing import Any

import jax

__all__ = ["install"]


def install(forward: Callable[..., tuple[Any, Any]], backward: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    """Return the function that `forward` computes, with `backward` as its reverse-mode derivative.

        conv2d = install(conv2d_forward, conv2d_backward)
        conv2d = install(conv2d_forward, functools.partial(conv2d_backward, method="sliced"))

    The result is a `jax.custom_vjp`, so it supports reverse mode (`grad`, `vjp` and `jacrev`), also nested and under
    `jit`, `vmap` and `scan`, but not forward mode: `jvp`, `jacfwd` and the function that `linearize` returns raise
    JAX's TypeError. The functions of `jaxdl.layers` support all modes.

    Args:
        forward: `(*arrays, **options) -> (output, residuals)`.
        backward: `(residuals, cotangent) ->` one cotangent per positional argument of `forward`, as a tuple unless
            there is only one. None means 0, or no gradient for a key, an integer or an argument of None.

    Returns:
        `f(*arrays, **options) -> output`. Options are keyword-only constants; JAX raises an error where a gradient with
        respect to one is requested.

    Examples:
        >>> relu = backprop.install(backprop.relu_forward, backprop.relu_backward)
        >>> jax.vmap(jax.grad(relu))(jnp.array([-1.0, 2.0]))
        Array([0., 1.], dtype=float32)
    """

    @functools.wraps(forward)
    def installed(*arrays: Any, **options: Any) -> Any:
        run = functools.partial(forward, **options)
        function = jax.custom_vjp(lambda *arrays: run(*arrays)[0])
        function.defvjp(run, functools.partial(_backward, backward, len(arrays)))
        return function(*arrays)

    # `wraps` copies the signature of `forward`, which returns more than this function, and type checkers enforce it
    del installed.__wrapped__
    installed.__annotations__ = {}
    return installed


def _backward(backward: Callable[[Any, Any], Any], count: int, residuals: Any, cotangent: Any) -> tuple[Any, ...]:
    cotangents = backward(residuals, cotangent)
    cotangents = cotangents if isinstance(cotangents, tuple) else (cotangents,)
    return cotangents[:count]  # omitted trailing arguments have no cotangent
