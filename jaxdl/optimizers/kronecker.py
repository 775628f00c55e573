"""One matrix of second moments for every axis of an array, as Shampoo and SOAP keep them.

The matrices of one array lie in one vector, so that a state has the parameters' structure.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxdl import compat
from jaxdl.optimizers import trees


def axes_of(shape: tuple[int, ...], max_dim: Any) -> tuple[int, ...]:
    """Return the axes that have a matrix, which are those of at most ``max_dim`` entries; none of an empty array."""
    return () if 0 in shape else tuple(axis for axis, size in enumerate(shape) if size <= max_dim)


def pack(matrices: Sequence[jax.Array], like: jax.Array) -> jax.Array:
    """Return the entries of all matrices in one vector with the dtype of an array; a zero where there is none.

    Orbax saves no array without entries.
    """
    vectors = [m.astype(like.dtype).ravel() for m in matrices]
    return compat.varying_like(jnp.concatenate(vectors) if vectors else jnp.zeros((1,), like.dtype), like)


def unpack(vector: jax.Array, shape: tuple[int, ...], axes: tuple[int, ...]) -> list[jax.Array]:
    """Return the matrices of some axes in float32 or wider."""
    sizes = [shape[axis] for axis in axes]
    ends = [sum(n * n for n in sizes[: i + 1]) for i in range(len(sizes))]
    wide = trees.widen(vector)
    return [wide[end - n * n : end].reshape(n, n) for n, end in zip(sizes, ends, strict=True)]


def identity(p: jax.Array, axes: tuple[int, ...], factor: Any = 1.0) -> jax.Array:
    """Return factor·I for every axis as one vector."""
    eyes = [factor * jnp.eye(p.shape[axis], dtype=trees.real(p).dtype) for axis in axes]
    return pack(eyes, p)


def second_moment(g: jax.Array, axis: int) -> jax.Array:
    """Return the matrix Σ gᵢ·conj(gⱼ) over all other axes."""
    others = [a for a in range(g.ndim) if a != axis]
    return jnp.tensordot(g, g.conj(), axes=(others, others))


def multiply(matrix: jax.Array, x: jax.Array, axis: int) -> jax.Array:
    """Multiply a matrix with an axis of an array."""
    return jnp.moveaxis(jnp.tensordot(matrix.astype(x.dtype), x, axes=(1, axis)), 0, axis)


def bounded(g: jax.Array) -> jax.Array:
    """Scale an array down whose largest entry exceeds 1e15 in float32, so that sums of squares stay finite."""
    limit = float(jnp.finfo(g.dtype).max) ** 0.4
    sizes = jnp.abs(g.real) + jnp.abs(g.imag) if jnp.iscomplexobj(g) else jnp.abs(g)
    size = jax.lax.stop_gradient(jnp.max(sizes, initial=0))
    size = jnp.minimum(size, jnp.finfo(g.dtype).max)
    return g * jnp.where(size > limit, limit / jnp.where(size > limit, size, 1), 1).astype(trees.real(g).dtype)


def next_bases(matrices, bases, nu, axes, first, due):
    """Return the squares and the bases after a change: eigenvectors at first, and a step of power iteration where due.

    The step sorts by eigenvalue, and so it sorts the squares. Derivatives take bases as constants.

    Args:
        matrices: one for every axis.
        bases: likewise, with vectors in columns.
        nu: averages of squares in the bases, of the array's shape.
        axes: the axes.
        first: whether these are the first matrices.
        due: whether the bases shall turn.
    """
    matrices, bases = jax.lax.stop_gradient((matrices, bases))

    def eigenvectors():
        return nu, [jnp.linalg.eigh(m)[1][:, ::-1].astype(q.dtype) for m, q in zip(matrices, bases, strict=True)]

    def iterated():
        sorted_nu, new = nu, []
        for axis, m, q in zip(axes, matrices, bases, strict=True):
            wide = q.astype(m.dtype)
            product = m @ wide
            order = jnp.argsort(-jnp.sum(trees.real(wide.conj() * product), axis=0))
            sorted_nu = jnp.take(sorted_nu, order, axis=axis)
            new.append(jnp.linalg.qr(product[:, order])[0].astype(q.dtype))
        return sorted_nu, new

    change = first.astype(jnp.int32) + 2 * due.astype(jnp.int32)
    return jax.lax.switch(change, [lambda: (nu, bases), eigenvectors, iterated])


def inverse_root(matrix: jax.Array, order: int, least: Any) -> jax.Array:
    """Return A^(−1/order) of a Hermitian matrix whose eigenvalues count as at least ``least``.

    Its derivative is finite where eigenvalues coincide, which that of the eigenvectors is not.
    """
    return _inverse_root(order, matrix, jnp.asarray(least, trees.real(matrix).dtype))


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _inverse_root(order, matrix, least):
    values, vectors = jnp.linalg.eigh(matrix)
    return (vectors * jnp.maximum(values, least)[None] ** (-1 / order)) @ vectors.conj().T


@_inverse_root.defjvp
def _inverse_root_jvp(order, primals, tangents):
    """Daleckii and Krein: in the eigenbasis, the tangent's entries are multiplied by divided differences."""
    matrix, least = primals
    values, vectors = jnp.linalg.eigh(matrix)
    above = jnp.maximum(values, least)
    powers = above ** (-1 / order)
    gaps, mean = above[:, None] - above[None], 0.5 * (above[:, None] + above[None])
    apart = jnp.abs(gaps) > 1e-3 * mean
    slopes = -1 / order * mean ** (-1 / order - 1)
    divided = jnp.where(apart, (powers[:, None] - powers[None]) / jnp.where(apart, gaps, 1), slopes)
    free = values > least
    inside = vectors.conj().T @ tangents[0].astype(matrix.dtype) @ vectors
    inside = inside * jnp.where(free[:, None] | free[None], divided, 0)
    return (vectors * powers[None]) @ vectors.conj().T, vectors @ inside @ vectors.conj().T
