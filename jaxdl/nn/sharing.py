"""One set of parameters for several places of a network."""

from collections.abc import Mapping
from typing import Any

import jax

from jaxdl.nn.layer import Layer, Tree, checked, declared
from jaxdl.nn.tree import at, paths


@declared
def shared(layer: Layer, places: Mapping[str, str] | None = None) -> Layer:
    """The same network, in which several places have one set of parameters, kept under the first one's path.

    Every place keeps its own state, such as the running statistics of a batch norm, and its own random draws.
    The gradient of shared parameters is the sum over their places.

    Args:
        layer: a network.
        places: path of a place → path of the one whose parameters it uses, such as ``{"unembed": "embed"}``. By
            default all places below ``layer`` at which one and the same Layer object stands:
            ``fc = Dense(8); shared(serial(a=fc, b=fc))``.

    Raises:
        ValueError: for an unknown path, two paths that lie within one another, and for places without a common object;
            from ``init`` for places whose parameters have different names or shapes.

    Examples:
        >>> nn.shared(nn.serial(a=nn.Dense(3), b=nn.Dense(3)), {"b": "a"}).out_shape((3,))
        (3,)
    """
    owners = same_objects(layer) if places is None else dict(places)
    if not owners:
        raise ValueError("places: got none, and no Layer object stands at two places; allowed are {place: owner}")
    for path in (*owners, *owners.values()):
        at(layer, path)
    for place, owner in owners.items():
        if not place or not owner or f"{place}/".startswith(f"{owner}/") or f"{owner}/".startswith(f"{place}/"):
            raise ValueError(f"places: got {place!r}: {owner!r}, allowed are parts outside one another")
        if owner in owners:
            raise ValueError(f"places: got {place!r}: {owner!r}, which uses the parameters of {owners[owner]!r} itself")

    def init(key, in_shape):
        params, state = layer.init(key, in_shape)
        for place, owner in owners.items():
            here, there = (jax.tree.map(lambda leaf: leaf.shape, _get(params, path)) for path in (place, owner))
            if here != there:
                raise ValueError(f"places: {place!r} has parameters {here}, allowed are those of {owner!r}, {there}")
        for place in owners:
            params = _without(params, place.split("/"))
        return params, state

    def apply(params, state, x, *, train=False, key=None, axis_name=None):
        for place, owner in owners.items():
            params = _with(params, place.split("/"), _get(params, owner))
        return layer.apply(params, state, x, train=train, key=key, axis_name=axis_name)

    rebuild = layer.op.rebuild
    again = None if rebuild is None else lambda children: shared(rebuild(children), owners)
    return checked(layer._replace(init=init, apply=apply, op=layer.op._replace(rebuild=again)))


def same_objects(layer: Layer) -> dict[str, str]:
    """Return the places at which an object stands again, without those inside of such a place."""
    first: dict[int, str] = {}
    again: dict[str, str] = {}
    for path in paths(layer):
        if any(path.startswith(f"{place}/") for place in again):
            continue
        owner = first.setdefault(id(at(layer, path)), path)
        if owner != path:
            again[path] = owner
    return again


def _get(params: Any, path: str) -> Any:
    for name in path.split("/"):
        params = params.get(name, {})
    return params


def _with(params: Tree, names: list[str], value: Any) -> Tree:
    if not names:
        return value
    below = _with(params.get(names[0], {}), names[1:], value)
    return {**params, names[0]: below} if jax.tree.leaves(below) else params


def _without(params: Tree, names: list[str]) -> Tree:
    if names[0] not in params:
        return params
    rest = {name: value for name, value in params.items() if name != names[0]}
    below = _without(params[names[0]], names[1:]) if names[1:] else {}
    return {**rest, names[0]: below} if below else rest
