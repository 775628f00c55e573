"""Combinators: layers in sequence, in parallel, around a shortcut, and with auxiliary heads."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp

from jaxdl.nn.layer import Layer, Op, Tree, abstract_shape, as_layer, checked, child_key, declared, inside, is_shape
from jaxdl.nn.leaves import identity

Part = Layer | Callable[[Any], Any]

_COMBINE = {
    "sum": lambda outputs: _added(outputs),
    "concat": lambda outputs: jnp.concatenate(outputs, axis=-1),
}
_FITS = {
    "sum": lambda shapes: len(set(shapes)) == 1,
    "concat": lambda shapes: len({shape[:-1] for shape in shapes}) == 1 and all(map(len, shapes)),
}


def _added(outputs: list[Any]) -> Any:
    if len(found := {jnp.shape(output) for output in outputs}) > 1:  # they would broadcast silently
        raise ValueError(f"branches: got outputs of shapes {sorted(found)}, allowed for a sum is one shape")
    return sum(outputs[1:], outputs[0])


class WithAuxiliary(NamedTuple):
    """Training output of a network with auxiliary heads; `training.train_step` adds up the losses."""

    output: Any  # as returned in evaluation
    heads: tuple[Any, ...]  # the outputs of the heads, in order of application
    weights: tuple[Any, ...]  # of the heads' losses, beside the output's 1


@declared
def serial(**children: Part) -> Layer:
    """Apply the children one after another, in the order given. A plain function becomes a layer by `function`.

    With an `auxiliary` head among them it returns `WithAuxiliary` in training.

    Examples:
        >>> nn.serial(fc=nn.Dense(4), act=jnp.tanh).out_shape((3,))
        (4,)
        >>> net = nn.serial(fc1=nn.Dense(4), act=jnp.tanh, fc2=nn.Dense(2))
        >>> params, state = net.init(jax.random.key(0), (3,))
        >>> list(params), net.apply(params, state, jnp.ones((5, 3)))[0].shape
        (['fc1', 'fc2'], (5, 2))
    """
    parts = _as_layers(children)

    def init(key, in_shape):
        params, state = {}, {}
        for name, child in parts.items():
            with inside(name):
                _put(params, state, name, *child.init(child_key(key, name), in_shape))
                in_shape = child.out_shape(in_shape)
        return params, state

    def apply(params, state, x, *, train=False, key=None, axis_name=None):
        new_state, heads, weights = {}, (), ()
        for name, child in parts.items():
            x, child_state = _apply_child(child, name, params, state, x, train, key, axis_name)
            _put({}, new_state, name, {}, child_state)
            if isinstance(x, WithAuxiliary):
                heads, weights, x = heads + x.heads, weights + x.weights, x.output
        return (WithAuxiliary(x, heads, weights) if heads else x), new_state

    def out_shape(in_shape):
        for name, child in parts.items():
            with inside(name):
                in_shape = child.out_shape(in_shape)
        return in_shape

    op = Op("serial", rebuild=lambda new: serial(**new), input_dtype=_first_dtype([*parts.values()]))
    return checked(Layer(init, apply, out_shape, parts, op))


@declared
def parallel(combine: str | Callable[[list[Any]], Any], /, **branches: Part) -> Layer:
    """Apply all branches to the same input and combine their outputs.

    Args:
        combine: "sum", "concat" (along the last axis), or a function of the list of outputs.
        branches: layers or plain functions, by name; at least one. See `pick` for branches that take a part of a tuple
            or dict of inputs.

    Raises:
        ValueError: for another ``combine`` or no branch, and from ``init`` and ``out_shape`` where the branches'
            shapes do not fit together.

    Examples:
        >>> nn.parallel("concat", a=nn.Dense(4), b=nn.Dense(2)).out_shape((3,))
        (6,)
    """
    merge = _COMBINE.get(combine) if isinstance(combine, str) else combine
    if not callable(merge):
        raise ValueError(f"combine: got {combine!r}, allowed are {sorted(_COMBINE)} and functions")
    if not branches:
        raise ValueError("branches: got none, allowed is at least one")
    parts = _as_layers(branches)

    def init(key, in_shape):
        params, state = {}, {}
        out_shape(in_shape)  # "sum" would silently broadcast shapes that differ
        for name, child in parts.items():
            with inside(name):
                _put(params, state, name, *child.init(child_key(key, name), in_shape))
        return params, state

    def apply(params, state, x, *, train=False, key=None, axis_name=None):
        outputs, new_state = [], {}
        for name, child in parts.items():
            y, child_state = _apply_child(child, name, params, state, x, train, key, axis_name)
            if isinstance(y, WithAuxiliary):
                raise ValueError(f"in {name}: got an auxiliary head in a branch, allowed are places in a serial")
            outputs.append(y)
            _put({}, new_state, name, {}, child_state)
        return merge(outputs), new_state

    def out_shape(in_shape):
        shapes = {}
        for name, child in parts.items():
            with inside(name):
                shapes[name] = child.out_shape(in_shape)
        arrays = all(map(is_shape, shapes.values()))
        if isinstance(combine, str) and not (arrays and _FITS[combine](list(shapes.values()))):
            raise ValueError(f"branches: {combine!r} does not fit outputs of the shapes {shapes}")
        return abstract_shape("combine", lambda *outputs: merge([*outputs]), *shapes.values())

    dtype = _input_dtype(parts.values())
    op = Op("parallel", rebuild=lambda new: parallel(combine, **new), input_dtype=dtype)
    return checked(Layer(init, apply, out_shape, parts, op))


@declared
def pick(which: int | str, layer: Part = identity, *, input_dtype: Any = None) -> Layer:
    """Apply a layer to one of several inputs: to x[which] of a tuple or dict of arrays.

    Names, parameters and state are those of the layer. With `parallel` it brings several inputs together:
    ``parallel("concat", a=pick("image", cnn), b=pick("table", Dense(8)))`` takes ``{"image": ..., "table": ...}``.

    Args:
        which: index or name of the input.
        layer: what is applied to it; the identity picks the input alone.
        input_dtype: of that input, as in `function`; by default the layer's own.

    Raises:
        ValueError: from ``init`` and ``out_shape`` for inputs without such a part.

    Examples:
        >>> nn.pick(1, nn.Dense(4)).out_shape(((3,), (2,)))
        (4,)
    """
    layer = as_layer(layer)

    def part(in_shape):
        several = not is_shape(in_shape)
        there = several and (which in in_shape if isinstance(in_shape, Mapping) else which in range(len(in_shape)))
        if not there:
            raise ValueError(f"in_shape: got {in_shape!r}, of which pick({which!r}, ...) takes a part")
        return in_shape[which]

    def apply(params, state, x, *, train=False, key=None, axis_name=None):
        there = which in x if isinstance(x, Mapping) else isinstance(x, tuple | list) and which in range(len(x))
        if not there:
            shape = getattr(x, "shape", None)
            got = f"a {type(x).__name__}" if shape is None else f"an array of shape {shape}"
            raise ValueError(f"x: got {got}, allowed for pick({which!r}, ...) are tuples and dicts with that part")
        chosen = cast(Any, x)[which]
        return layer.apply(params, state, chosen, train=train, key=key, axis_name=axis_name)

    rebuild = layer.op.rebuild
    again = None if rebuild is None else lambda new: pick(which, rebuild(new), input_dtype=input_dtype)
    op = layer.op._replace(rebuild=again, input_dtype={which: input_dtype or layer.op.input_dtype})
    init = lambda key, in_shape: layer.init(key, part(in_shape))
    out_shape = lambda in_shape: layer.out_shape(part(in_shape))
    return checked(layer._replace(init=init, apply=apply, out_shape=out_shape, op=op))


@declared
def residual(body: Part, shortcut: Part = identity) -> Layer:
    """``body(x) + shortcut(x)``, with children named body and shortcut.

    Reference: K. He et al., Deep Residual Learning, 2015, https://arxiv.org/abs/1512.03385.

    Examples:
        >>> nn.residual(nn.Dense(3)).out_shape((3,))
        (3,)
    """
    layer = parallel("sum", body=body, shortcut=shortcut)
    return layer._replace(op=layer.op._replace(rebuild=lambda new: residual(**new)))


@declared
def auxiliary(head: Part, *, weight: float = 0.3) -> Layer:
    """Auxiliary head inside a `serial`: x passes through unchanged, and training adds a loss on head(x).

    Evaluation returns the network's own output; `tap` still finds the activations of the head, and jit removes unused
    computation. Names, parameters and state are those of ``head``.

    Args:
        head: maps the activation at this place to the output type of the network, such as logits.
        weight: of the head's loss, beside the network's 1.

    Reference: C. Szegedy et al., Going Deeper with Convolutions, 2014, https://arxiv.org/abs/1409.4842.

    Examples:
        >>> nn.auxiliary(nn.Dense(4)).out_shape((3,))
        (3,)
    """
    head = as_layer(head)

    def apply(params, state, x, *, train=False, key=None, axis_name=None):
        y, new_state = head.apply(params, state, x, train=train, key=key, axis_name=axis_name)
        return (WithAuxiliary(x, (y,), (weight,)) if train else x), new_state

    def out_shape(in_shape):
        head.out_shape(in_shape)  # raises where the activation is too small for the head
        return in_shape

    rebuild = head.op.rebuild
    again = None if rebuild is None else lambda new: auxiliary(rebuild(new), weight=weight)
    return checked(head._replace(apply=apply, out_shape=out_shape, op=head.op._replace(rebuild=again)))


def _first_dtype(parts: list[Layer]) -> Any:
    """Return the dtypes that the first of some layers asks for, and the second of inputs that it gets as they are."""
    if not parts:
        return jnp.float32
    first, *rest = parts
    wanted = rest[0].op.input_dtype if rest else None
    as_they_are = (
        first.op.kind == "parallel" and first.op.declaration is not None and first.op.declaration[1] == (tuple,)
    )
    if not as_they_are or not isinstance(wanted, Mapping):
        return first.op.input_dtype
    picked = {
        which: wanted[i]
        for i, branch in enumerate(first.children.values())
        if i in wanted and branch.op.kind == identity.op.kind and isinstance(branch.op.input_dtype, Mapping)
        for which, own in branch.op.input_dtype.items()
        if own == jnp.float32
    }
    return {**first.op.input_dtype, **picked} if picked else first.op.input_dtype


def _input_dtype(branches: Iterable[Layer]) -> Any:
    """Return the dtypes that the branches ask for, together, by input where they pick one each."""
    wanted = [one.op.input_dtype for one in branches if one.op.input_dtype != jnp.float32]
    parts = [one for one in wanted if isinstance(one, Mapping)]
    return {name: dtype for one in parts for name, dtype in one.items()} if parts else next(iter(wanted), jnp.float32)


def _apply_child(child: Layer, name: str, params, state, x, train, key, axis_name):
    own_key = None if key is None else child_key(key, name)
    own = params.get(name, {}), state.get(name, {})
    with inside(name):
        return child.apply(*own, x, train=train, key=own_key, axis_name=axis_name)


def _put(params: Tree, state: Tree, name: str, child_params: Any, child_state: Any) -> None:
    for tree, of_child in ((params, child_params), (state, child_state)):
        if jax.tree.leaves(of_child):  # the truth of a value would be asked otherwise, where a leaf is a bare array
            tree[name] = of_child


def _as_layers(children: Mapping[str, Any]) -> dict[str, Layer]:
    for name in children:
        if not name or "/" in name:
            raise ValueError(f"the child name {name!r} is empty or holds '/', which separates the names of a path")
    return {name: as_layer(child) for name, child in children.items()}
