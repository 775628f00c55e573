"""Networks out of layers: one after another, side by side, around a shortcut, and with heads on the way."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxdl.nn.layer import Layer, Op, Tree, abstract_shape, as_layer, checked, child_key, inside
from jaxdl.nn.leaves import identity

Part = Layer | Callable[[Array], Any]

_COMBINE = {
    "sum": lambda outputs: sum(outputs[1:], outputs[0]),
    "concat": lambda outputs: jnp.concatenate(outputs, axis=-1),
}
_FITS = {
    "sum": lambda shapes: len(set(shapes)) == 1,
    "concat": lambda shapes: len({shape[:-1] for shape in shapes}) == 1 and all(map(len, shapes)),
}


class WithAuxiliary(NamedTuple):
    """What a network with auxiliary heads returns in training; `training.train_step` adds up the losses."""

    output: Any  # what the network returns in evaluation
    heads: tuple[Any, ...]  # the outputs of the heads, in order of application
    weights: tuple[Any, ...]  # of the heads' losses, beside the output's 1


def serial(**children: Part) -> Layer:
    """Apply the children one after another, in the order given. A plain function becomes a layer by `function`.

    With an `auxiliary` head among them it returns `WithAuxiliary` in training.
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
        in_shape = tuple(in_shape)
        for name, child in parts.items():
            with inside(name):
                in_shape = child.out_shape(in_shape)
        return in_shape

    return checked(Layer(init, apply, out_shape, parts, Op("serial", rebuild=lambda new: serial(**new))))


def parallel(combine: str | Callable[[list[Any]], Any], /, **branches: Part) -> Layer:
    """Apply all branches to the same input and combine their outputs.

    Args:
        combine: "sum", "concat" (along the last axis), or a function of the list of outputs.
        branches: layers or plain functions, by name; at least one.

    Raises:
        ValueError: for another ``combine`` or no branch, and from ``init`` and ``out_shape`` where the branches'
            shapes do not fit together.
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
                shapes[name] = child.out_shape(tuple(in_shape))
        if isinstance(combine, str) and not _FITS[combine](list(shapes.values())):
            raise ValueError(f"branches: {combine!r} does not fit outputs of the shapes {shapes}")
        return abstract_shape("combine", lambda *outputs: merge([*outputs]), *shapes.values())

    return checked(Layer(init, apply, out_shape, parts, Op("parallel", rebuild=lambda new: parallel(combine, **new))))


def residual(body: Part, shortcut: Part = identity) -> Layer:
    """``body(x) + shortcut(x)``, with children named body and shortcut.

    Reference: K. He et al., Deep Residual Learning, 2015, https://arxiv.org/abs/1512.03385.
    """
    return parallel("sum", body=body, shortcut=shortcut)


def auxiliary(head: Part, *, weight: float = 0.3) -> Layer:
    """A head on the way through a `serial`: x goes on as it came, and in training its loss on head(x) is added.

    In evaluation the output is the network's own: `tap` still finds the head's activations, and jit leaves out what
    nobody asks for. Names, parameters and state are those of ``head``.

    Args:
        head: maps the activation at this place to what the network returns, such as logits.
        weight: of the head's loss, beside the network's 1.

    Reference: C. Szegedy et al., Going Deeper with Convolutions, 2014, https://arxiv.org/abs/1409.4842.
    """
    head = as_layer(head)

    def apply(params, state, x, *, train=False, key=None, axis_name=None):
        y, new_state = head.apply(params, state, x, train=train, key=key, axis_name=axis_name)
        return (WithAuxiliary(x, (y,), (weight,)) if train else x), new_state

    def out_shape(in_shape):
        head.out_shape(in_shape)  # raises where the activation is too small for the head
        return tuple(in_shape)

    rebuild = head.op.rebuild
    again = None if rebuild is None else lambda new: auxiliary(rebuild(new), weight=weight)
    return checked(head._replace(apply=apply, out_shape=out_shape, op=head.op._replace(rebuild=again)))


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
