"""Networks out of layers: one after another, side by side, and around a shortcut."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxdl.nn.layer import Layer, Op, Shape, Tree, as_layer, child_key
from jaxdl.nn.leaves import identity

_COMBINE = {
    "sum": lambda outputs: sum(outputs[1:], outputs[0]),
    "concat": lambda outputs: jnp.concatenate(outputs, axis=-1),
}


def serial(**children: Layer | Callable[[Array], Array]) -> Layer:
    """Apply the children one after another, in the order given. A plain function becomes a layer by `function`."""
    parts = _as_layers(children)

    def init(key, in_shape):
        params, state = {}, {}
        for name, child in parts.items():
            _put(params, state, name, *child.init(child_key(key, name), in_shape))
            in_shape = child.out_shape(in_shape)
        return params, state

    def apply(params, state, x, *, train=False, key=None, axis_name=None):
        new_state = {}
        for name, child in parts.items():
            x, child_state = _apply_child(child, name, params, state, x, train, key, axis_name)
            _put({}, new_state, name, {}, child_state)
        return x, new_state

    def out_shape(in_shape):
        for child in parts.values():
            in_shape = child.out_shape(in_shape)
        return in_shape

    return Layer(init, apply, out_shape, parts, Op("serial", rebuild=lambda new: serial(**new)))


def parallel(combine: str | Callable[[list[Array]], Array], /, **branches: Layer | Callable[[Array], Array]) -> Layer:
    """Apply all branches to the same input and combine their outputs.

    Args:
        combine: "sum", "concat" (along the last axis), or a function of the list of outputs.
        branches: layers or plain functions, by name.

    Raises:
        ValueError: for another ``combine``, and from ``out_shape`` where the branches' shapes do not fit together.
    """
    merge = _COMBINE.get(combine) if isinstance(combine, str) else combine
    if merge is None:
        raise ValueError(f"combine={combine!r} is neither one of {sorted(_COMBINE)} nor a function")
    parts = _as_layers(branches)

    def init(key, in_shape):
        params, state = {}, {}
        for name, child in parts.items():
            _put(params, state, name, *child.init(child_key(key, name), in_shape))
        return params, state

    def apply(params, state, x, *, train=False, key=None, axis_name=None):
        outputs, new_state = [], {}
        for name, child in parts.items():
            y, child_state = _apply_child(child, name, params, state, x, train, key, axis_name)
            outputs.append(y)
            _put({}, new_state, name, {}, child_state)
        return merge(outputs), new_state

    def out_shape(in_shape):
        shapes = {name: child.out_shape(in_shape) for name, child in parts.items()}
        if (combine == "sum" and len(set(shapes.values())) > 1) or (
            combine == "concat" and _differ_before_last(shapes)
        ):
            raise ValueError(f"the branches of parallel({combine!r}, ...) give shapes that do not fit: {shapes}")
        outputs = [jax.ShapeDtypeStruct((1, *shape), jnp.float32) for shape in shapes.values()]
        return jax.eval_shape(merge, outputs).shape[1:]

    return Layer(init, apply, out_shape, parts, Op("parallel", rebuild=lambda new: parallel(combine, **new)))


def residual(body: Layer, shortcut: Layer = identity) -> Layer:
    """``body(x) + shortcut(x)``, with children named body and shortcut.

    Reference: K. He et al., Deep Residual Learning, 2015, https://arxiv.org/abs/1512.03385.
    """
    return parallel("sum", body=body, shortcut=shortcut)


def _apply_child(child: Layer, name: str, params, state, x, train, key, axis_name):
    own_key = None if key is None else child_key(key, name)
    return child.apply(params.get(name, {}), state.get(name, {}), x, train=train, key=own_key, axis_name=axis_name)


def _put(params: Tree, state: Tree, name: str, child_params: Tree, child_state: Tree) -> None:
    if child_params:
        params[name] = child_params
    if child_state:
        state[name] = child_state


def _as_layers(children: Mapping[str, Any]) -> dict[str, Layer]:
    for name in children:
        if not name or "/" in name:
            raise ValueError(f"the child name {name!r} is empty or holds '/', which separates the names of a path")
    return {name: as_layer(child) for name, child in children.items()}


def _differ_before_last(shapes: Mapping[str, Shape]) -> bool:
    return len({shape[:-1] for shape in shapes.values()}) > 1
