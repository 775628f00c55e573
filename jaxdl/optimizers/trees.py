"""Operations on trees of parameters, gradients and states that every optimizer shares.

Four contracts hold for all optimizers. Where an update is None it stays None, and its state and parameter do not
change (equinox's filtered gradients are None where a module holds a function or a string). Arithmetic runs in float32
or wider. The square of a complex gradient is |g|². A state keeps its dtypes, whatever the dtypes of the gradients.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce
from numbers import Number
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike


def map_updates(function: Callable[..., Any], updates: Any, *rest: Any) -> Any:
    """Map a function over the leaves of the updates and the same places of other trees; None stays None.

    Args:
        function: (update, *others) → anything.
        updates: the first tree; where its leaf is None, the leaves of the other trees are skipped.
        *rest: trees of the same structure.

    Raises:
        ValueError: the trees or the shapes of their arrays differ, for example if a state belongs to other parameters.
    """
    return _mapped(lambda g, *others: None if g is None else function(g, *others), updates, *rest)


def map_state(function: Callable[..., Any], updates: Any, state: Any, *rest: Any) -> Any:
    """Map like ``map_updates`` with the state second; a leaf of the state stays where its update is None."""
    return _mapped(lambda g, s, *others: s if g is None else function(g, s, *others), updates, state, *rest)


def _mapped(function, updates, *rest):
    leaves, structure = jax.tree.flatten(updates, is_leaf=lambda x: x is None)
    columns = [leaves, *(_flattened(structure, tree) for tree in rest)]
    for g, *others in zip(*columns, strict=True):
        for x in others:
            if isinstance(g, jax.Array) and isinstance(x, jax.Array) and g.shape != x.shape:
                raise ValueError(
                    f"updates has a leaf of shape {g.shape} where the state or params has one of shape {x.shape}"
                )
    return jax.tree.unflatten(structure, [function(*row) for row in zip(*columns, strict=True)])


def _flattened(structure, tree):
    try:
        return structure.flatten_up_to(tree)
    except ValueError as error:
        raise ValueError(f"updates is another tree than the state or params beside it: {error}") from error


def promoted(*dtypes: DTypeLike) -> Any:
    """Return the dtype that all dtypes promote to, even where implicit promotion is an error."""
    kinds = {jnp.dtype(dtype) for dtype in dtypes}
    if len(kinds) == 1:
        return kinds.pop()
    with jax.numpy_dtype_promotion("standard"):
        return reduce(jnp.promote_types, kinds)


def is_array(x: Any) -> bool:
    """Return whether a leaf is an array or a number, unlike the static leaves of a module."""
    return isinstance(x, jax.Array | np.ndarray | np.generic | Number)


def is_inexact(x: Any) -> bool:
    """Return whether an array is floating or complex; averages of other arrays have no meaning."""
    return jnp.issubdtype(jnp.result_type(x), jnp.inexact)


def widen(x: Any) -> Any:
    """Return a floating array in float32 or wider, and other arrays and static leaves unchanged."""
    if not is_array(x):
        return x
    x = jnp.asarray(x)
    floating = jnp.issubdtype(x.dtype, jnp.floating)
    return _cast(x, promoted(x.dtype, jnp.float32) if floating else x.dtype)


def _cast(x, dtype):
    # skips no-op casts, which would take most of the time of an update outside jit
    return x if x.dtype == dtype and not x.weak_type else x.astype(dtype)


def hyper(value: Any, *more: Any) -> Any:
    """Return hyperparameters that do not promote gradients: arrays widened, Python numbers and None unchanged."""
    wide = [x if x is None or isinstance(x, int | float) else widen(x) for x in (value, *more)]
    return tuple(wide) if more else wide[0]


def cast_like(tree: Any, like: Any) -> Any:
    """Cast a tree to the dtypes of another tree's leaves.

    Raises:
        ValueError: a complex leaf would lose its imaginary part.
    """
    return map_updates(as_dtype_of, tree, like)


def as_dtype_of(x: Any, like: Any) -> jax.Array:
    """Cast an array to another array's dtype. See ``cast_like``."""
    x, dtype = jnp.asarray(x), jnp.result_type(like)
    if jnp.iscomplexobj(x) and not jnp.issubdtype(dtype, jnp.complexfloating):
        raise ValueError(
            f"a {x.dtype} leaf meets one of {dtype}: a complex parameter needs complex gradients and accumulators"
        )
    return _cast(x, dtype)


def keep_dtypes(new: Any, old: Any) -> Any:
    """Cast a new state to the dtypes of the previous one if their structures agree."""
    if jax.tree.structure(new) != jax.tree.structure(old):
        return new
    return jax.tree.map(lambda x, before: as_dtype_of(x, before) if is_array(x) and is_array(before) else x, new, old)


def accumulator(x: Any, dtype: DTypeLike | None = None) -> jax.Array:
    """Cast a parameter to the dtype of its accumulators; integers stay integers and complex leaves stay complex.

    Args:
        x: an array or a number.
        dtype: of the accumulator of a real leaf; None is float32 or wider.

    Raises:
        ValueError: ``x`` is neither an array nor a number.
    """
    if not is_array(x):
        raise ValueError(f"params has a leaf of type {type(x).__name__}: init needs a tree of arrays")
    x = widen(x)
    if dtype is None or not is_inexact(x):
        return x
    return x.astype(promoted(dtype, jnp.complex64) if jnp.iscomplexobj(x) else dtype)


def zeros_like(params: Any, dtype: DTypeLike | None = None) -> Any:
    """Return zeros of the parameters' shapes and shardings, each in its own buffer; None keeps each leaf's dtype."""
    return full_like(params, 0, dtype)


def full_like(params: Any, value: Any, dtype: DTypeLike | None = None) -> Any:
    """Return arrays of the parameters' shapes and shardings filled with a value. See ``zeros_like``."""
    return jax.tree.map(lambda p: jnp.full_like(p, value, jnp.result_type(p) if dtype is None else dtype), params)


def copied(x: Any) -> jax.Array:
    """Return a copy of an array, which can be donated while the original stays alive."""
    return jnp.array(x, copy=True)


class Flat(NamedTuple):
    """Parameters and gradients as real vectors, with complex leaves split into real and imaginary parts."""

    params: jax.Array  # (n,), float32 or wider
    grads: jax.Array  # (n,), like params
    point: Callable[[jax.Array], Any]  # (n,) → parameters; static leaves and those without a gradient are unchanged
    step: Callable[[jax.Array], Any]  # (n,) → updates in the gradients' dtypes; None where the gradient is None


def flatten(updates: Any, params: Any) -> Flat:
    """Return the parameters that have a gradient, and their gradient, as vectors.

    A complex gradient is the conjugate of jax.grad's, so that descent subtracts it, as everywhere in optax.

    Raises:
        ValueError: the trees differ, or a parameter with a gradient is neither floating nor complex.
    """
    leaves, structure = jax.tree.flatten(updates, is_leaf=lambda x: x is None)
    values = _flattened(structure, params)
    active = [i for i, g in enumerate(leaves) if g is not None]
    shapes = [jnp.shape(values[i]) for i in active]
    dtypes = [jnp.result_type(values[i]) for i in active]
    vector, dtype = _vector([values[i] for i in active])

    def split(v):
        pieces, start = [], 0
        for shape, kind in zip(shapes, dtypes, strict=True):
            parts = []
            for _ in range(2 if jnp.issubdtype(kind, jnp.complexfloating) else 1):
                parts.append(v[start : start + math.prod(shape)].reshape(shape))
                start += math.prod(shape)
            pieces.append(parts[0] if len(parts) == 1 else jax.lax.complex(*parts))
        return pieces

    def point(v):
        new = dict(zip(active, split(v), strict=True))
        whole = [new[i].astype(jnp.result_type(x)) if i in new else x for i, x in enumerate(values)]
        return jax.tree.unflatten(structure, whole)

    def step(v):
        new = dict(zip(active, split(v), strict=True))
        steps = [as_dtype_of(new[i], g) if i in new else None for i, g in enumerate(leaves)]
        return jax.tree.unflatten(structure, steps)

    return Flat(vector, _vector([leaves[i] for i in active])[0].astype(dtype), point, step)


def size(params: Any) -> tuple[int, Any]:
    """Return the number of real numbers in a tree of arrays, and their common dtype, float32 or wider."""
    vector = jax.eval_shape(lambda p: _vector(jax.tree.leaves(p))[0], params)
    return vector.size, vector.dtype


def _vector(leaves):
    for x in leaves:
        if not (is_array(x) and is_inexact(x)):
            kind = jnp.result_type(x) if is_array(x) else type(x).__name__
            raise ValueError(f"params has a leaf of type {kind}: this method needs floating or complex ones")
    wide = [widen(x) for x in leaves]
    parts = [part for x in wide for part in ((x.real, x.imag) if jnp.iscomplexobj(x) else (x,))]
    dtype = promoted(jnp.float32, *(part.dtype for part in parts))
    empty = jnp.zeros((0,), dtype)
    return jnp.concatenate([empty, *(part.astype(dtype).ravel() for part in parts)]), dtype


def plus(x: jax.Array, y: jax.Array) -> jax.Array:
    """Return x + y in the wider dtype, even where implicit promotion is an error."""
    dtype = promoted(x.dtype, y.dtype)
    return _cast(x, dtype) + _cast(y, dtype)


def times(factor: Any, x: jax.Array) -> jax.Array:
    """Return factor·x in the wider dtype; a Python number does not widen."""
    if isinstance(factor, int | float):
        return factor * x
    dtype = promoted(jnp.result_type(factor), x.dtype)
    return _cast(jnp.asarray(factor), dtype) * _cast(x, dtype)


def inner(x: jax.Array, y: jax.Array) -> jax.Array:
    """Return the real inner product of two arrays."""
    dtype = promoted(x.dtype, y.dtype)
    return jnp.real(jnp.vdot(x.astype(dtype), y.astype(dtype)))


def total(numbers: Any, dtype: DTypeLike) -> jax.Array:
    """Return the sum of a tree's leaves in a dtype."""
    return sum((number.astype(dtype) for number in jax.tree.leaves(numbers)), jnp.zeros([], dtype))


def abs_square(x: jax.Array) -> jax.Array:
    """Return |x|², which is real for a complex array too."""
    return jnp.square(x.real) + jnp.square(x.imag) if jnp.iscomplexobj(x) else x * x


def power_of(x: jax.Array, order: int) -> jax.Array:
    """Return x at order 1 and |x|² at order 2."""
    return abs_square(x) if jnp.iscomplexobj(x) and order == 2 else x**order


def real(x: jax.Array) -> jax.Array:
    """Return the real part. Like optax, jaxdl stores the second moment of a complex leaf as a complex number."""
    return x.real if jnp.iscomplexobj(x) else x


def narrowest(params: Any) -> Any:
    """Return the narrowest real dtype of the floating and complex leaves in float32 or wider; float32 if none is."""
    leaves = [widen(x) for x in jax.tree.leaves(params) if is_array(x) and is_inexact(x)]
    return min((_real_dtype(x) for x in leaves), key=lambda dtype: dtype.itemsize, default=jnp.dtype(jnp.float32))


def as_float(count: Any) -> jax.Array:
    """Return a counter in the default floating dtype."""
    return jnp.asarray(count).astype(jnp.result_type(float))


def increment(count):
    """Add one to an integer counter; at its largest value it stays there instead of overflowing."""
    count = jnp.asarray(count)
    return jnp.minimum(count, jnp.iinfo(count.dtype).max - 1) + jnp.ones((), count.dtype)


def called(prefix: Any, tree: Any) -> Any:
    """Resolve a mask, labels or factors for a tree: call a function of the tree, and return anything else unchanged.

    A callable tree, such as any equinox module, counts as a tree unless its leaves are functions.
    """
    leaves = jax.tree.leaves(prefix)
    is_function = callable(prefix) and bool(leaves) and all(callable(leaf) for leaf in leaves)
    return prefix(tree) if is_function else prefix


def is_placeholder(params: Any) -> bool:
    """Return whether ``optax.tree_map_params`` is calling ``init``, which it does with a single node without children.

    No mask fits that node; where ``init`` stores it tells optax which parts of a state resemble the parameters.
    """
    structure = jax.tree.structure(params)
    childless = structure.num_leaves == 0 and structure.num_nodes == 1
    return childless and not isinstance(params, dict | list | tuple | None)


def norm(leaves: Sequence[jax.Array]) -> jax.Array:
    """Return the Euclidean norm of all entries together; only a norm above the largest float is infinite."""
    size, scale = scaled_norm(leaves)
    return size / scale


def scaled_norm(leaves: Sequence[jax.Array], axis: Any = None) -> tuple[jax.Array, jax.Array]:
    """Return the norm of scale·leaves and the scale, a power of two that keeps squares from over- and underflowing.

    A norm of 0 has a gradient of 0.

    Args:
        leaves: arrays in float32 or wider.
        axis: the axes of a norm, kept with length 1; None reduces all axes of all leaves.

    Returns:
        (norm, scale), of shape (), or of the shape of one leaf with the axes reduced.
    """
    keep = axis is not None
    largest = _reduced(jnp.maximum, [jnp.max(_largest_part(g), axis=axis, keepdims=keep, initial=0.0) for g in leaves])
    largest = jax.lax.stop_gradient(largest)
    _, exponent = jnp.frexp(jnp.where(jnp.isfinite(largest), largest, 1.0))
    limit = -int(jnp.finfo(largest.dtype).minexp) - 1
    scale = jnp.ldexp(jnp.ones_like(largest), -jnp.clip(exponent, -limit, limit))
    squares = [jnp.sum(abs_square(g * scale.astype(_real_dtype(g))), axis=axis, keepdims=keep) for g in leaves]
    square = _reduced(jnp.add, squares)
    return jnp.where(square == 0, 0.0, jnp.sqrt(jnp.where(square == 0, 1.0, square))), scale


def _largest_part(x):
    return jnp.maximum(jnp.abs(x.real), jnp.abs(x.imag)) if jnp.iscomplexobj(x) else jnp.abs(x)


def _real_dtype(x):
    return jnp.finfo(x.dtype).dtype


def _reduced(function, numbers):
    dtype = promoted(jnp.float32, *(n.dtype for n in numbers)) if numbers else jnp.float32
    total = jnp.zeros((), dtype)
    for number in numbers:
        total = function(total, number.astype(dtype))
    return total
