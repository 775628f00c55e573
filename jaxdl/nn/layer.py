"""`Layer`: the NamedTuple of pure functions that everything in `jaxdl.nn` is. See `jaxdl.nn` for its contract."""

import contextlib
import functools
import inspect
import textwrap
import zlib
from collections.abc import Callable, Iterator, Mapping
from numbers import Integral
from typing import Any, NamedTuple, ParamSpec, cast

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxdl import numerics
from jaxdl.words import own_words

Shape = tuple[int, ...]
Tree = dict[str, Any]
P = ParamSpec("P")

_LINE = 100  # characters of a declaration before it is broken into several lines


class Op(NamedTuple):
    """Description of a layer, which tables, FLOPs, receptive fields and `replace` read."""

    kind: str  # "conv", "dense", "max_pool", "serial", ... or the name of a plain function
    window: Shape = ()  # (height, width) for what looks at a neighbourhood
    stride: Shape = ()
    padding: Any = None  # (height, width), each "SAME", "VALID", "FULL", an int or a pair (low, high)
    dilation: Shape = ()
    groups: int = 1
    momentum: float | None = None  # of batch norm: the share of the old running statistics that a step keeps
    rebuild: Callable[[Mapping[str, "Layer"]], "Layer"] | None = None  # the same combinator over other children
    input_dtype: Any = jnp.float32  # of the input, or by index or name of a part of it; parts left out are float32
    declaration: tuple[str, tuple[Any, ...], dict[str, Any]] | None = None  # constructor and arguments, for repr


class Layer(NamedTuple):
    """A network or a part of one, as pure functions. See `jaxdl.nn` for the contract."""

    init: Callable[..., tuple[Tree, Tree]]  # (key, in_shape) -> (params, state)
    apply: Callable[..., tuple[Any, Tree]]  # (params, state, x, *, train, key, axis_name) -> (y, state)
    out_shape: Callable[[Shape], Any]  # (in_shape) -> shape of one output
    children: Mapping[str, "Layer"]
    op: Op

    def __repr__(self) -> str:
        if self.op.declaration is not None:
            name, args, options = self.op.declaration
            return _written(name, args, options)
        return _written(self.op.kind, (), self.children) if self.children else self.op.kind


def declared(make: Callable[P, Layer]) -> Callable[P, Layer]:
    """Let a constructor's layers print as they were declared, and answer other libraries' keywords."""
    called = own_words(make)

    @functools.wraps(make)
    def declaring(*args: P.args, **options: P.kwargs) -> Layer:
        layer = called(*args, **options)
        return layer._replace(op=layer.op._replace(declaration=(make.__name__, args, options)))

    return declaring


def _written(name: str, args: tuple[Any, ...], options: Mapping[str, Any]) -> str:
    words = [*map(_word, args), *(f"{option}={_word(value)}" for option, value in options.items())]
    line = f"{name}({', '.join(words)})"
    if len(line) <= _LINE and "\n" not in line:
        return line
    return f"{name}(\n{textwrap.indent(f',{chr(10)}'.join(words), '    ')},\n)"


def _word(value: Any) -> str:
    """Return an argument as it may have been written: a function by its name, one made by another by that one's."""
    if isinstance(value, Layer) or not callable(value):
        return repr(value)
    name = getattr(value, "__qualname__", type(value).__name__)
    return name.replace(".<locals>.", "(...).") if not name.startswith("<") else name


def checked(layer: Layer) -> Layer:
    """Return the same layer with checked arguments: a misplaced one raises a ValueError that names it.

    All layers of this package are checked; a user's own Layer need not be.
    """

    @functools.wraps(layer.init)
    def init(key, in_shape):
        numerics.check_key(key)
        return layer.init(key, _checked_shape(in_shape))

    @functools.wraps(layer.apply)
    def apply(params, state=None, x=None, *, train=False, key=None, axis_name=None):
        for name, tree in (("params", params), ("state", state)):
            if not isinstance(tree, Mapping):
                raise ValueError(f"{name}: got {_described(tree)}, allowed are dicts, {{}} for none; {_CALL}")
        if x is None:
            raise ValueError(f"x: got None, allowed are arrays; {_CALL}")
        if key is not None:
            numerics.check_key(key)
        return layer.apply(params, state, x, train=train, key=key, axis_name=axis_name)

    @functools.wraps(layer.out_shape)
    def out_shape(in_shape):
        return layer.out_shape(_checked_shape(in_shape))

    return layer._replace(init=init, apply=apply, out_shape=out_shape)


_CALL = "apply takes (params, state, x), the first two as init returns them"


def _described(value: Any) -> str:
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"an array of shape {value.shape}"
    return "None" if value is None else f"a {type(value).__name__}"


def _checked_shape(in_shape: Any) -> Any:
    """Return a shape, or a tree of shapes, in Python ints."""
    leaves = jax.tree.leaves(in_shape, is_leaf=is_shape)
    if not leaves or not all(map(is_shape, leaves)):
        got = repr(in_shape) if isinstance(in_shape, int | float | list | tuple) else _described(in_shape)
        raise ValueError(
            f"in_shape: got {got}, allowed are tuples of ints, the shape of one example, such as (28, 28, 1) or (64,)"
        )
    return jax.tree.map(lambda shape: tuple(map(int, shape)), in_shape, is_leaf=is_shape)


def own_arrays(
    what: str, trees: Mapping[str, Mapping[str, Any]], tree_name: str, shapes: Mapping[str, tuple[int | None, ...]]
) -> dict[str, Any]:
    """Return the arrays of one leaf layer after comparing their names and shapes with the declared ones.

    Args:
        what: the layer's name, for messages.
        trees: "params" and "state" of the layer.
        tree_name: which of the two.
        shapes: shape by name; None for a length that the input decides.
    """
    tree, (other_name,) = trees[tree_name], [name for name in trees if name != tree_name]
    for name, shape in shapes.items():
        if name not in tree:
            swapped = name in trees[other_name]
            hint = f"; {other_name} has it, so the two may be swapped" if swapped else ""
            raise ValueError(f"{tree_name}: got {sorted(map(str, tree))}, but {what} needs {name!r}{hint}")
        got = jnp.shape(tree[name])
        if len(got) != len(shape) or any(n not in (None, m) for m, n in zip(got, shape, strict=True)):
            allowed = str(shape).replace("None", "any")
            raise ValueError(f"{tree_name}: {what} got {name!r} of shape {got}, allowed is {allowed}")
    if unknown := sorted(map(str, set(tree) - set(shapes))):
        raise ValueError(f"{tree_name}: {what} got {unknown}, allowed are {sorted(shapes)}")
    return {name: tree[name] for name in shapes}


def function(f: Callable[[Any], Any], *, kind: str | None = None, input_dtype: Any = jnp.float32) -> Layer:
    """Turn a function of one batch of arrays into a layer without parameters.

    Combinators do this by themselves to any plain function among their children.

    Args:
        f: maps a batch ``(n, ...)`` to a batch ``(n, ...)``, or to a tree of them.
        kind: the name in tables; by default the function's own.
        input_dtype: what `tap` and `analysis.summary` try it on: a dtype, or one by index or name of a tuple or dict.

    ``out_shape`` raises ValueError for a function that does not keep the batch axis.

    Examples:
        >>> double = nn.function(lambda x: 2 * x, kind="double")
        >>> double.apply({}, {}, jnp.ones((1, 3)))[0]
        Array([[2., 2., 2.]], dtype=float32)
    """
    name = kind or getattr(f, "__name__", "function")

    def apply(params, state, x, *, train=False, key=None, axis_name=None):
        del params, train, key, axis_name
        return f(x), state

    out_shape = lambda in_shape: abstract_shape(name, f, in_shape, input_dtype=input_dtype)
    return checked(Layer(no_init, apply, out_shape, {}, Op(name, input_dtype=input_dtype)))


def abstract_shape(what: str, f: Callable[..., Any], *in_shapes: Any, input_dtype: Any = jnp.float32) -> Any:
    """Return the shape of one output (or a tree of them) of a function of batches, without computing it."""
    several = 2  # with one example, a sum over the batch could not be told from the batch
    outputs = jax.eval_shape(f, *(abstract_batch(shape, several, input_dtype) for shape in in_shapes))
    for y in jax.tree.leaves(outputs):
        if y.shape[:1] != (several,):
            raise ValueError(f"{what}: a batch of {several} gave an output of shape {y.shape}: the batch axis is lost")
    return jax.tree.map(lambda y: tuple(y.shape[1:]), outputs)


def abstract_batch(in_shape: Any, size: int, dtype: Any = jnp.float32) -> Any:
    """Return the shapes and dtypes of a batch of inputs, a tree where ``in_shape`` is one. See `Op.input_dtype`."""
    if not isinstance(dtype, Mapping):
        return jax.tree.map(lambda s: jax.ShapeDtypeStruct((size, *s), dtype), in_shape, is_leaf=is_shape)
    part = lambda which: abstract_batch(in_shape[which], size, dtype.get(which, jnp.float32))
    if isinstance(in_shape, Mapping):
        return {name: part(name) for name in in_shape}
    return tuple(part(i) for i in range(len(in_shape)))


def is_shape(value: Any) -> bool:
    """Whether it is the shape of one array, not a tree of them."""
    return isinstance(value, list | tuple) and all(isinstance(n, Integral) for n in value)


def no_init(key, in_shape):
    """Return no parameters and no state."""
    del key, in_shape
    return {}, {}


def as_layer(child: Any) -> Layer:
    """Return the layer itself, or a layer made from a plain function."""
    if isinstance(child, Layer):
        return child
    if not callable(child):
        raise ValueError(f"a child must be a Layer or a function of an array, got {type(child).__name__}")
    if inspect.isclass(child) or getattr(child, "__annotations__", {}).get("return") in (Layer, "Layer"):
        name = getattr(child, "__name__", "it")
        raise ValueError(f"a child must be a Layer or a function of an array, got {name} itself: call {name}(...)")
    if more := _more_arguments(child):
        name = getattr(child, "__name__", "it")
        raise ValueError(
            f"a child must be a Layer or a function of an array, got {name}, which needs {', '.join(more)}, too: "
            "functools.partial gives a number, and what is learnt or random is a layer of its own, such as nn.PReLU"
        )
    return function(cast(Callable[[Array], Array], child))


def _more_arguments(child: Callable[..., Any]) -> list[str]:
    """List the arguments without which a function of an array cannot be called."""
    try:
        parameters = inspect.signature(child).parameters.values()
    except ValueError:  # some of C's have no signature
        return []
    placed = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    first = next((one.name for one in parameters if one.kind in (*placed, inspect.Parameter.VAR_POSITIONAL)), None)
    never = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    required = [one.name for one in parameters if one.default is one.empty and one.kind not in never]
    return [name for name in required if name != first]


def child_key(key: Array, name: str) -> Array:
    """Return the key of a child by name; crc32, unlike `hash`, is the same in every process.

    Examples:
        >>> key = jax.random.key(0)
        >>> bool(nn.child_key(key, "conv1") == nn.child_key(key, "conv2"))
        False
    """
    numerics.check_key(key)
    return jax.random.fold_in(key, zlib.crc32(name.encode()))


@contextlib.contextmanager
def inside(name: str) -> Iterator[None]:
    """Prefix a ValueError with the part of the network that raised it."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"in {name}: {error}") from error
