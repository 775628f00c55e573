"""From a forward and a backward function to one that `jax.grad` differentiates by them."""

import functools
from collections.abc import Callable
from typing import Any

import jax

__all__ = ["install"]


def install(forward: Callable[..., tuple[Any, Any]], backward: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    """Return the function that `forward` computes, with `backward` as its derivative in reverse mode.

        conv2d = install(conv2d_forward, conv2d_backward)
        conv2d = install(conv2d_forward, functools.partial(conv2d_backward, method="sliced"))

    It is a `jax.custom_vjp`, made for reverse mode: `grad`, `vjp` and `jacrev`, also of one another and under `jit`,
    `vmap` and `scan`. Forward mode does not go through it: `jvp` and `jacfwd` raise JAX's TypeError, and so does the
    function that `linearize` returns. `jaxdl.layers` works in all modes.

    Args:
        forward: `(*arrays, **options) -> (output, residuals)`.
        backward: `(residuals, cotangent) ->` one cotangent per positional argument of `forward`, as a tuple unless
            there is only one. None stands for 0, and for what has no gradient: keys, integers, an argument of None.

    Returns:
        `f(*arrays, **options) -> output`. Options have to be given by keyword and are constants: no gradient flows
        to them, and JAX raises an error if one is asked for.
    """

    @functools.wraps(forward)
    def installed(*arrays: Any, **options: Any) -> Any:
        run = functools.partial(forward, **options)
        function = jax.custom_vjp(lambda *arrays: run(*arrays)[0])
        function.defvjp(run, functools.partial(_backward, backward, len(arrays)))
        return function(*arrays)

    # the signature that `wraps` would show, and type checkers would enforce, is that of `forward`
    del installed.__wrapped__
    installed.__annotations__ = {}
    return installed


def _backward(backward: Callable[[Any, Any], Any], count: int, residuals: Any, cotangent: Any) -> tuple[Any, ...]:
    cotangents = backward(residuals, cotangent)
    cotangents = cotangents if isinstance(cotangents, tuple) else (cotangents,)
    return cotangents[:count]  # trailing arguments that were left out have none
