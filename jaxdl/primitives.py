"""Factories of JAX primitives: linear and bilinear functions with custom transposes.

A `jax.custom_vjp` forbids forward mode, which Gauss-Newton needs. A primitive that JAX knows to be linear supports
every mode: its tangent is the function itself, and its transpose is ordinary code that JAX differentiates further.
"""

import dataclasses
from collections.abc import Callable
from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array

from jaxdl import compat

__all__ = ["Static", "bilinear", "linear"]


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Static:
    """A hashable Python value, such as a shape or an option, inside a tree of arrays. jit and vmap do not touch it."""

    value: Any


def bilinear(
    name: str,
    f: Callable[..., Array],
    x_cotangent: Callable[..., Array],
    y_cotangent: Callable[..., Array],
    *,
    cpu: Callable[..., Array],
    joins: bool,
    unrolled: int,
    loops: Callable[..., bool] = lambda **_: False,
) -> Callable[..., Array]:
    """Return a primitive for a function that is linear in each of two arrays, with custom cotangents.

    Forward mode applies the function itself to the tangents, and reverse mode calls the two cotangent functions, which
    JAX differentiates further, so derivatives of any order and mode work.

    Args:
        name: name of the primitive in jaxprs.
        f: ``(x, y, **options) -> z`` with hashable options.
        x_cotangent: ``(cotangent of z, y, **options) -> cotangent of x``.
        y_cotangent: ``(cotangent of z, x, **options) -> cotangent of y``.
        cpu: ``(x, y, *, whole, **options) -> z``, a faster equivalent of ``f`` on CPU. ``whole`` is true if x and y are
            whole arrays on one device, in a program for this process; see `compat.whole`.
        joins: whether the leading axis of x and z counts examples, so that a mapped axis of x alone can be merged into
            it.
        unrolled: longest mapped axis to unroll on CPU; compile time grows with it.
        loops: ``(**options) -> bool``, whether `jax.vmap` loops over members, because ``f`` has no derivatives.

    Returns:
        A function of the same arguments. Where `jax.vmap` cannot merge the mapped axis, CPU computes up to `unrolled`
        members one by one; otherwise `jax.vmap` of ``f`` runs, with its own derivatives, or a loop.

    Examples:
        The dot product, with hand-written cotangents:

        >>> dot = primitives.bilinear(
        ...     "dot",
        ...     lambda x, y: (x * y).sum(-1),
        ...     x_cotangent=lambda cotangent, y: cotangent[..., None] * y,
        ...     y_cotangent=lambda cotangent, x: cotangent[..., None] * x,
        ...     cpu=lambda x, y, *, whole: (x * y).sum(-1),
        ...     joins=False,
        ...     unrolled=8,
        ... )
        >>> x, y = jnp.array([1.0, 2.0]), jnp.array([3.0, 4.0])
        >>> dot(x, y), jax.grad(dot)(x, y)
        (Array(11., dtype=float32), Array([3., 4.], dtype=float32))
    """
    primitive = Primitive(name)

    def abstract(x, y, /, **options):
        z = jax.eval_shape(
            partial(f, **options), jax.ShapeDtypeStruct(x.shape, x.dtype), jax.ShapeDtypeStruct(y.shape, y.dtype)
        )
        return x.update(shape=z.shape, dtype=z.dtype, weak_type=False)

    def run(x, y, /, **options):
        with jax.disable_jit(False):  # where it is true, jit would come back here without end
            return jax.jit(partial(primitive.bind, **options))(x, y)

    primitive.def_impl(run)
    primitive.def_abstract_eval(abstract)
    mlir.register_lowering(primitive, mlir.lower_fun(f, multiple_results=False))
    mlir.register_lowering(primitive, _lower_on_cpu(cpu), platform="cpu")
    batching.primitive_batchers[primitive] = _bilinear_batching(primitive, f, joins, unrolled, loops)
    ad.defbilinear(
        primitive,
        lambda cotangent, x, y, /, **options: x_cotangent(cotangent, y, **options),
        lambda cotangent, x, y, /, **options: y_cotangent(cotangent, x, **options),
    )
    return lambda x, y, /, **options: primitive.bind(*compat.vary_alike(x, y), **options)


def _bilinear_batching(
    primitive: Primitive, f: Callable[..., Array], joins: bool, unrolled: int, loops: Callable[..., bool]
) -> Callable:
    """Return the batching rule of `bilinear`."""

    def one_by_one(x, y, /, x_axis, y_axis, **options):
        members = range(x.shape[x_axis] if y_axis is None else y.shape[y_axis])
        pairs = [(_member(x, x_axis, i), _member(y, y_axis, i)) for i in members]
        return jnp.stack([primitive.bind(*pair, **options) for pair in pairs])

    def in_a_loop(*arrays, of_members, **options):
        moved = {i: jnp.moveaxis(arrays[i], axis, 0) for i, axis in enumerate(of_members) if axis is not None}
        pair = lambda members: (members.get(i, array) for i, array in enumerate(arrays))
        return jax.lax.map(lambda members: primitive.bind(*pair(members), **options), moved)

    def batch(arrays, axes, /, **options):
        (x, y), (x_axis, y_axis) = arrays, axes
        if joins and y_axis is None:
            x = jnp.moveaxis(x, x_axis, 0)
            z = primitive.bind(x.reshape(-1, *x.shape[2:]), y, **options)
            return z.reshape(*x.shape[:2], *z.shape[1:]), 0
        looped, by_vmap = partial(in_a_loop, of_members=axes, **options), jax.vmap(partial(f, **options), axes)
        otherwise = looped if loops(**options) else by_vmap
        if max(a.shape[axis] for a, axis in zip(arrays, axes, strict=True) if axis is not None) > unrolled:
            return otherwise(x, y), 0
        on_cpu = partial(one_by_one, x_axis=x_axis, y_axis=y_axis, **options)
        return jax.lax.platform_dependent(x, y, cpu=on_cpu, default=otherwise), 0

    return batch


def _lower_on_cpu(cpu: Callable[..., Array]):
    def lower(context, *arrays, **options):
        code = partial(cpu, whole=compat.whole(context))
        return mlir.lower_fun(code, multiple_results=False)(context, *arrays, **options)

    return lower


def _member(x, axis: int | None, number: int):
    return x if axis is None else jax.lax.index_in_dim(x, number, axis, keepdims=False)


def linear(name: str, f: Callable[[Any, Array], Array], transposed: Callable[[Any, Array], Array]):
    """Return a primitive for a function that is linear in its last argument, with a custom transpose.

    It is a pair of primitives that transpose each other: reverse mode runs `transposed`, reverse mode of that runs `f`,
    and forward mode works. JAX's own differentiation handles floats in the residuals.

    Args:
        name: name of the primitive in jaxprs.
        f: ``(residuals, x) -> y``; residuals are a tree of arrays and `Static` values.
        transposed: ``(residuals, cotangent of y) -> cotangent of x``.

    Returns:
        A function of the same arguments. `jax.vmap` moves a mapped axis to the front and gives unmapped arrays a
        leading axis of length 1, so both functions must accept and broadcast any number of leading axes.

    Examples:
        Differences of neighbours and their transpose; a gradient of the sum of them telescopes to the two ends:

        >>> def differences(residuals, x):
        ...     return x[..., 1:] - x[..., :-1]
        >>> def transposed(residuals, cotangent):
        ...     ends = [(0, 0)] * (cotangent.ndim - 1)
        ...     return jnp.pad(cotangent, [*ends, (1, 0)]) - jnp.pad(cotangent, [*ends, (0, 1)])
        >>> difference = primitives.linear("difference", differences, transposed)
        >>> x = jnp.array([1.0, 4.0, 9.0])
        >>> difference((), x)
        Array([3., 5.], dtype=float32)
        >>> jax.grad(lambda x: difference((), x).sum())(x)
        Array([-1.,  0.,  1.], dtype=float32)
    """
    pair = Primitive(name), Primitive(f"{name}_transposed")
    for primitive, code, other in ((pair[0], f, pair[1]), (pair[1], transposed, pair[0])):
        _define_linear(primitive, code, other)

    def call(residuals, x: Array) -> Array:
        leaves, tree = jax.tree.flatten(residuals)
        return pair[0].bind(x, *leaves, tree=tree)

    return call


def _define_linear(primitive: Primitive, code: Callable[[Any, Array], Array], other: Primitive) -> None:
    def run(x, /, *leaves, tree):
        return code(jax.tree.unflatten(tree, leaves), x)

    def abstract(*avals, tree):
        y = jax.eval_shape(partial(run, tree=tree), *(jax.ShapeDtypeStruct(a.shape, a.dtype) for a in avals))
        return avals[0].update(shape=y.shape, dtype=y.dtype, weak_type=False)

    def jvp(primals, tangents, *, tree):
        y = primitive.bind(*primals, tree=tree)
        parts = [] if type(tangents[0]) is ad.Zero else [primitive.bind(tangents[0], *primals[1:], tree=tree)]
        for i, tangent in enumerate(tangents[1:], start=1):
            if type(tangent) is not ad.Zero:
                of_leaf = lambda leaf, i=i: run(*primals[:i], leaf, *primals[i + 1 :], tree=tree)
                parts.append(jax.jvp(of_leaf, (primals[i],), (tangent,))[1])
        return y, reduce(jnp.add, parts)  # not empty, since JAX calls this rule only with a nonzero tangent

    def transpose(cotangent, x, *leaves, tree):
        return [other.bind(cotangent, *leaves, tree=tree), *(None for _ in leaves)]

    def batch(arrays, axes, *, tree):
        size = next(a.shape[axis] for a, axis in zip(arrays, axes, strict=True) if axis is not None)
        moved = [a[None] if axis is None else jnp.moveaxis(a, axis, 0) for a, axis in zip(arrays, axes, strict=True)]
        x = jnp.broadcast_to(moved[0], (size, *moved[0].shape[1:]))
        return primitive.bind(x, *moved[1:], tree=tree), 0

    primitive.def_impl(jax.jit(run, static_argnames="tree"))
    primitive.def_abstract_eval(abstract)
    mlir.register_lowering(primitive, mlir.lower_fun(run, multiple_results=False))
    batching.primitive_batchers[primitive] = batch
    ad.primitive_jvps[primitive] = jvp
    ad.primitive_transposes[primitive] = transpose
