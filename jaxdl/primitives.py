"""Factories of JAX primitives: linear and bilinear functions whose transposes are given code.

A `jax.custom_vjp` forbids forward mode, and Gauss-Newton needs it. A primitive that knows it is linear does not: its
tangent is the function itself, its transpose the given code, and JAX differentiates that code further.
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

__all__ = ["Static", "bilinear", "linear"]


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Static:
    """A hashable Python value, such as a shape or an option, inside a tree of arrays; jit and vmap leave it alone."""

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
) -> Callable[..., Array]:
    """Make of a function that is linear in each of two arrays one whose reverse mode runs given code.

    It is a primitive and no `jax.custom_vjp`, so forward mode and derivatives of derivatives work: the tangent is
    the function itself, twice, and the two cotangents are ordinary functions that JAX differentiates further.

    Args:
        name: of the primitive, in jaxprs.
        f: ``(x, y, **options) -> z`` with hashable options.
        x_cotangent: ``(cotangent of z, y, **options) -> cotangent of x``.
        y_cotangent: ``(cotangent of z, x, **options) -> cotangent of y``.
        cpu: computes the same as ``f``, faster, on CPU.
        joins: whether the leading axis of x and z is one of examples, which a mapped axis of x alone may join.
        unrolled: length up to which a mapped axis is unrolled on CPU; compile time grows with it.

    Returns:
        A function of the same arguments. Under `jax.vmap`, where the mapped axis cannot join, each of up to
        `unrolled` members is computed by itself on CPU; else `jax.vmap` of ``f`` runs, and its own derivatives.
    """
    primitive = Primitive(name)

    def abstract(x, y, /, **options):
        z = jax.eval_shape(
            partial(f, **options), jax.ShapeDtypeStruct(x.shape, x.dtype), jax.ShapeDtypeStruct(y.shape, y.dtype)
        )
        return x.update(shape=z.shape, dtype=z.dtype, weak_type=False)

    def one_by_one(x, y, /, x_axis, y_axis, **options):
        members = range(x.shape[x_axis] if y_axis is None else y.shape[y_axis])
        pairs = [(_member(x, x_axis, i), _member(y, y_axis, i)) for i in members]
        return jnp.stack([primitive.bind(*pair, **options) for pair in pairs])

    def batch(arrays, axes, /, **options):
        (x, y), (x_axis, y_axis) = arrays, axes
        if joins and y_axis is None:
            x = jnp.moveaxis(x, x_axis, 0)
            z = primitive.bind(x.reshape(-1, *x.shape[2:]), y, **options)
            return z.reshape(*x.shape[:2], *z.shape[1:]), 0
        by_vmap = jax.vmap(partial(f, **options), axes)
        if max(a.shape[axis] for a, axis in zip(arrays, axes, strict=True) if axis is not None) > unrolled:
            return by_vmap(x, y), 0
        return jax.lax.platform_dependent(
            x, y, cpu=partial(one_by_one, x_axis=x_axis, y_axis=y_axis, **options), default=by_vmap
        ), 0

    primitive.def_impl(lambda x, y, /, **options: jax.jit(partial(primitive.bind, **options))(x, y))
    primitive.def_abstract_eval(abstract)
    mlir.register_lowering(primitive, mlir.lower_fun(f, multiple_results=False))
    mlir.register_lowering(primitive, mlir.lower_fun(cpu, multiple_results=False), platform="cpu")
    batching.primitive_batchers[primitive] = batch
    ad.defbilinear(
        primitive,
        lambda cotangent, x, y, /, **options: x_cotangent(cotangent, y, **options),
        lambda cotangent, x, y, /, **options: y_cotangent(cotangent, x, **options),
    )
    return primitive.bind


def _member(x, axis: int | None, number: int):
    return x if axis is None else jax.lax.index_in_dim(x, number, axis, keepdims=False)


def linear(name: str, f: Callable[[Any, Array], Array], transposed: Callable[[Any, Array], Array]):
    """Make of a function that is linear in its last argument one whose transpose is given code.

    It is a pair of primitives, each the transpose of the other, so reverse mode runs `transposed`, reverse mode of that
    runs `f`, and forward mode works. Differentiated with respect to a float in the residuals, both are what JAX makes
    of their code.

    Args:
        name: of the primitive, in jaxprs.
        f: ``(residuals, x) -> y``; residuals are a tree of arrays and `Static` values.
        transposed: ``(residuals, cotangent of y) -> cotangent of x``.

    Returns:
        A function of the same arguments. Under `jax.vmap` a mapped axis becomes the first, and one of length 1 stands
        there for what is not mapped, so both functions must take any number of leading axes, and broadcast them.
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
        return y, reduce(jnp.add, parts)  # JAX asks only where one of the tangents is not zero

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
