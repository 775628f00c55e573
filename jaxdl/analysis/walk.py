"""Abstract run of a network that records shapes, multiply-adds and the receptive field of each leaf.

Every leaf is wrapped in a jit of its own that is named by the leaf's path, and the resulting program (a jaxpr) is read.
Shapes, products and receptive fields follow the data itself, so this works for any combinator, even one that is not
jaxdl's. Nothing is computed and no parameter is allocated, but for functions from image to image that take slices,
windows or products: what one of their outputs depends on shows where NaN reaches it.
"""

import bisect
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdl import nn
from jaxdl.layers import sizes
from jaxdl.nn.layer import abstract_batch, is_shape

Shape = tuple[int, ...]
_MARK = "leaf of the network: "
_MIXING = ("slice", "window", "conv_general", "correlate", "gather", "dot", "concatenate", "pad", "fft", "cum", "scan")


class Field(NamedTuple):
    """The region of the image that one value of an activation depends on, per axis (height, width)."""

    size: tuple[int | Fraction, ...]  # pixels
    jump: tuple[int | Fraction, ...]  # pixels between the fields of neighbours; may be below 1 after upsampling
    folded: Shape = (1, 1)  # positions that have become features, which a dense layer mixes


class Seen(NamedTuple):
    """The record of one leaf in the run."""

    in_shape: Any
    out_shape: Any
    multiply_adds: int
    field: Field | None  # None if the network's input is not an image, or after a function that hides what it sees
    sight: Callable[[], list | None] | None = None  # of a function that may mix or drop positions: `_sight`


def leaves(layer: nn.Layer) -> dict[str, nn.Layer]:
    """Return the leaves by path, in order; parts whose children cannot be replaced are opaque and count as leaves."""
    if layer.op.rebuild is None:
        return {"": layer}
    below = {name: leaves(child) for name, child in layer.children.items()}
    return {_join(name, path): leaf for name, found in below.items() for path, leaf in found.items()}


def walk(layer: nn.Layer, in_shape: Any, *, train: bool = False) -> tuple[dict[str, Seen], dict[str, Any], Any]:
    """Follow one input through the network.

    Args:
        layer: the network.
        in_shape: shape of one input, without a batch axis, or a tuple or dict of them.
        train: whether to run as in training.

    Returns:
        The record of each leaf by path, except leaves on which the output does not depend (auxiliary heads in
        evaluation); the output shapes of all parts that ran, by path; and the abstract parameters.
    """
    parts, notes, shapes = leaves(layer), {}, {}
    watched = _watch(layer, "", notes, shapes)
    params, state = jax.eval_shape(lambda: layer.init(jax.random.key(0), in_shape))
    x = abstract_batch(in_shape, 1, layer.op.input_dtype)

    def run(x, params, state, key):
        return watched.apply(params, state, x, train=train, key=key)[0]

    program = jax.make_jaxpr(run)(x, params, state, jax.eval_shape(lambda: jax.random.key(0))).jaxpr
    fields: dict[str, Field] = {}
    starts = [Field((1, 1), (1, 1)) if len(one.shape) == 4 else None for one in jax.tree.leaves(x)]
    after = functools.partial(_after_leaf, parts, notes, fields)
    _flow(program, starts + [None] * (len(program.invars) - len(starts)), after)
    used, _ = _needed(program, [True] * len(program.outvars))
    return {path: notes[path]._replace(field=fields.get(path)) for path in parts if path in used}, shapes, params


def _join(*names: str) -> str:
    return "/".join(name for name in names if name)


def _watch(layer: nn.Layer, path: str, notes: dict[str, Any], shapes: dict[str, Any]) -> nn.Layer:
    """Return the network with all leaves watched, whose parts record the shapes of their outputs."""
    if layer.op.rebuild is None:
        return _watched(path, layer, notes, shapes)
    below = {name: _watch(child, _join(path, name), notes, shapes) for name, child in layer.children.items()}
    whole = layer.op.rebuild(below)

    def apply(params, state, x, **options):
        y, new_state = whole.apply(params, state, x, **options)
        shapes[path] = _shapes(y)
        return y, new_state

    return whole._replace(apply=apply)


def _watched(path: str, leaf: nn.Layer, notes: dict[str, Any], shapes: dict[str, Any]) -> nn.Layer:
    """Return the leaf, which records its shapes and products when it is traced."""

    def apply(params, state, x, *, train=False, key=None, axis_name=None):
        def run(params, state, x, key):
            return leaf.apply(params, state, x, train=train, key=key, axis_name=axis_name)

        run.__name__ = _MARK + path
        y, new_state = jax.jit(run)(params, state, x, key)
        given, shapes[path] = _shapes(x), _shapes(y)
        products, sight = _closed_form(leaf, given, shapes[path]), None
        if products is None:
            program = jax.make_jaxpr(run)(params, state, x, key).jaxpr
            products = _products(program)
            images = _is_image(given) and _is_image(shapes[path]) and not leaf.op.window
            if images and (_mixes(program) or given[:2] != shapes[path][:2]):
                abstract = jax.tree.map(lambda a: jax.ShapeDtypeStruct(jnp.shape(a), a.dtype), (params, state, x))
                sight = functools.partial(_sight, leaf, *abstract)
        notes[path] = Seen(given, shapes[path], products, None, sight)
        return y, new_state

    return leaf._replace(apply=apply)


def _shapes(values: Any) -> Any:
    return jax.tree.map(lambda a: tuple(jnp.shape(a)[1:]), values)  # weights of auxiliary losses are numbers


def _closed_form(leaf: nn.Layer, in_shape: Any, out_shape: Any) -> int | None:
    """Return by formula the multiply-adds of leaves that jaxdl may compute in several ways."""
    op = leaf.op
    if not (is_shape(in_shape) and is_shape(out_shape)):
        return None
    if op.kind == "conv_transpose":
        per_input = math.prod(op.window) * out_shape[-1] // op.groups
        return math.prod(in_shape) * per_input
    if op.kind == "conv":
        return sizes.conv_multiply_adds(out_shape[:-1], op.window, in_shape[-1], out_shape[-1], groups=op.groups)
    if op.kind == "dense":
        return math.prod(out_shape[:-1]) * sizes.dense_multiply_adds(in_shape[-1], out_shape[-1])
    return 0 if op.window else None  # pools count no products, however they are computed


def _is_image(shape: Any) -> bool:
    return is_shape(shape) and len(shape) == 3


def _mixes(program: Any) -> bool:
    """Return whether a jaxpr has an operation by which an output may depend on several positions of an image."""
    return any(
        any(kind in equation.primitive.name for kind in _MIXING) or any(map(_mixes, _inner(equation)))
        for equation in program.eqns
    )


def _sight(leaf: nn.Layer, params: Any, state: Any, x: jax.ShapeDtypeStruct) -> list[tuple[int, int | Fraction]] | None:
    """Return a leaf's window and stride of each axis, found by where NaN in its input reaches its outputs.

    None if NaN does not tell, because it always or never does.
    """
    params, state = jax.tree.map(lambda a: jnp.ones(a.shape, a.dtype), (params, state))

    @functools.partial(jax.jit, static_argnums=0)
    def reached(axis, at, begin, end):  # the output in the middle of the other axis
        rows = jax.lax.broadcasted_iota(int, x.shape, axis)
        image = jnp.where((rows >= begin) & (rows < end), jnp.nan, jnp.ones(x.shape, x.dtype))
        y = leaf.apply(params, state, image, train=False, key=jax.random.key(0))[0]
        across = jnp.take(y, y.shape[3 - axis] // 2, 3 - axis)
        return jnp.isnan(jnp.take(across, at, 1)).any()

    def ends(axis, at):
        """Return the first row that reaches an output, and the first one behind all that do."""
        n = x.shape[axis]
        first = bisect.bisect_left(range(1, n + 1), True, key=lambda k: bool(reached(axis, at, 0, k)))
        return first, n - bisect.bisect_left(range(1, n + 1), True, key=lambda k: bool(reached(axis, at, n - k, n)))

    found, out_shape = [], jax.eval_shape(leaf.apply, params, state, x)[0].shape
    middle = out_shape[1] // 2
    if not jnp.issubdtype(x.dtype, jnp.floating) or reached(1, middle, 0, 0) or not reached(1, middle, 0, x.shape[1]):
        return None
    for axis in (1, 2):
        outputs = out_shape[axis]
        first, last = outputs // 4, 3 * outputs // 4
        places = [ends(axis, at) for at in (first, last, outputs // 2)]
        moved = max(abs(b - a) for a, b in zip(*places[:2], strict=True))  # the border may cut one end of a window
        stride = Fraction(moved, last - first).limit_denominator(8) if last > first else x.shape[axis]
        found.append((max(end - begin for begin, end in places), stride))
    return found


def _products(program: Any) -> int:
    """Count a jaxpr's multiply-adds, with the costliest branch of each cond and one iteration of each while loop."""
    total = 0
    for equation in program.eqns:
        name, below = equation.primitive.name, [_products(inner) for inner in _inner(equation)]
        if name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            left = equation.invars[0].aval.shape
            total += math.prod(equation.outvars[0].aval.shape) * math.prod(left[i] for i in contracted)
        elif name == "conv_general_dilated":
            kernel = equation.invars[1].aval.shape
            features = kernel[equation.params["dimension_numbers"].rhs_spec[0]]
            total += math.prod(equation.outvars[0].aval.shape) * math.prod(kernel) // features
        elif name in ("correlate", "correlate_input_gradient"):  # jaxdl's own, whose kernels have their outputs last
            many = equation.outvars[0] if name == "correlate" else equation.invars[0]  # transposed: each input of many
            total += math.prod(many.aval.shape) * math.prod(equation.invars[1].aval.shape[:-1])
        elif name == "cond":
            total += max(below)
        else:
            total += sum(below) * (equation.params["length"] if name == "scan" else 1)
    return total


def _inner(equation: Any) -> list[Any]:
    """Return the jaxprs inside an equation."""
    values = [one for value in equation.params.values() for one in (value if isinstance(value, tuple) else (value,))]
    inner = [getattr(value, "jaxpr", value) for value in values]
    return [value for value in inner if hasattr(value, "eqns")]


def _flow(program: Any, given: Sequence[Field | None], after: Callable[[str, Field | None], Field | None]) -> list:
    """Carry the fields of a jaxpr's inputs to its outputs; ``after`` maps a field through a leaf."""
    known: dict[Any, Field | None] = dict(zip(program.invars, given, strict=True))
    of = lambda v: None if _constant(v) else known.get(v)
    for equation in program.eqns:
        here = [of(v) for v in equation.invars]
        name, inner = str(equation.params.get("name", "")), _inner(equation)
        if name.startswith(_MARK):
            out = [after(name.removeprefix(_MARK), _joined(here))] * len(equation.outvars)
        elif _is_call(equation, inner):
            out = _flow(inner[0], here, after)
        else:  # a sum or concatenation sees all that its parts see
            out = [_joined(here)] * len(equation.outvars)
        known |= zip(equation.outvars, out, strict=True)
    return [of(v) for v in program.outvars]


def _needed(program: Any, wanted: Sequence[bool]) -> tuple[set[str], list[bool]]:
    """Return the leaves on which the wanted outputs of a jaxpr depend, and a flag for each of its inputs."""
    used, needed = set(), {v for v, wants in zip(program.outvars, wanted, strict=True) if wants and not _constant(v)}
    for equation in reversed(program.eqns):
        here = [v in needed for v in equation.outvars]
        if not any(here):
            continue
        name, inner, given = str(equation.params.get("name", "")), _inner(equation), [True] * len(equation.invars)
        if name.startswith(_MARK):
            used.add(name.removeprefix(_MARK))
        elif _is_call(equation, inner):
            below, given = _needed(inner[0], here)
            used |= below
        needed |= {v for v, wants in zip(equation.invars, given, strict=True) if wants and not _constant(v)}
    return used, [v in needed for v in program.invars]


def _is_call(equation: Any, inner: list[Any]) -> bool:
    sizes_of = lambda part: (len(part.invars), len(part.outvars))
    return len(inner) == 1 and sizes_of(inner[0]) == sizes_of(equation)


def _constant(v: Any) -> bool:
    return hasattr(v, "val")


def _joined(fields: Sequence[Field | None]) -> Field | None:
    there = [field for field in fields if field is not None]
    if not there:
        return None
    size, jump = (tuple(map(max, zip(*(field[i] for field in there), strict=True))) for i in range(2))
    return Field(size, jump, max(there, key=lambda field: field.size).folded)  # the larger has mixed its positions


def _after_leaf(parts: Mapping[str, nn.Layer], notes, fields: dict[str, Field], path: str, field: Field | None):
    if field is not None:
        in_shape, out_shape, products, _, sight = notes[path]
        if sight is None:
            field = _seen_through(parts[path].op, in_shape, out_shape, products, field)
        elif (seen := sight()) is None:
            return None
        else:
            window, stride = zip(*seen, strict=True)
            field = _widened(field, window)._replace(jump=_times(field.jump, stride))
        fields[path] = field
    return field


def _seen_through(op: nn.Op, in_shape: Any, out_shape: Any, products: int, field: Field) -> Field:
    """Return the field after a leaf: r + d (k - 1) jump; a leaf that drops the spatial axes sees all positions."""
    if op.kind in ("conv_transpose", "max_unpool") and len(op.window) == 2:
        return _upsampled(field, op)
    if op.kind == "attention":  # every position attends to all of them
        return _widened(field, field.folded)._replace(folded=(1, 1))
    if not (is_shape(in_shape) and is_shape(out_shape)):
        return field
    if len(op.window) == 2:
        return _widened(field, op.window, op.dilation or (1, 1))._replace(jump=_times(field.jump, op.stride or (1, 1)))
    if op.kind == "dense" and len(in_shape) > 1:  # mixes the features of one position
        return field
    if len(in_shape) == 3 and len(out_shape) == 3:
        return field
    if len(in_shape) == 3 and math.prod(in_shape) == math.prod(out_shape):
        return field._replace(folded=tuple(in_shape[:2]))
    if len(in_shape) == 3:
        return _widened(field, in_shape[:2])
    return _widened(field, field.folded)._replace(folded=(1, 1)) if products else field


def _upsampled(field: Field, op: nn.Op) -> Field:
    """Return the field after a transposed convolution, whose outputs see the inputs whose windows cover them."""
    extents = [d * (k - 1) + 1 for k, d in zip(op.window, op.dilation, strict=True)]
    inputs = [-(-extent // s) for extent, s in zip(extents, op.stride, strict=True)]
    jump = tuple(Fraction(j) / s for j, s in zip(field.jump, op.stride, strict=True))
    return _widened(field, inputs)._replace(jump=jump)


def _widened(field: Field, window: Sequence[int], dilation: Sequence[int] = (1, 1)) -> Field:
    parts = zip(field.size, field.jump, window, dilation, strict=True)
    return field._replace(size=tuple(r + d * (k - 1) * j for r, j, k, d in parts))


def _times(a: Sequence[int | Fraction], b: Sequence[int | Fraction]) -> tuple[int | Fraction, ...]:
    return tuple(x * y for x, y in zip(a, b, strict=True))
