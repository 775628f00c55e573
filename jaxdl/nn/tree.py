"""Tree tools: find a part by its path, replace it, tap its activation."""

import difflib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxdl.nn.layer import Layer, abstract_batch, as_layer, checked, declared


def at(layer: Layer, path: str) -> Layer:
    """Return the part of ``layer`` at ``path``, names joined by "/"; the empty path is the layer itself.

    Raises:
        ValueError: for an unknown path, naming the nearest that exist.

    Examples:
        >>> net = nn.serial(body=nn.serial(conv1=nn.Conv(4, 3), relu1=jax.nn.relu), fc=nn.Dense(10))
        >>> nn.at(net, "body/conv1")
        Conv(4, 3)
    """
    here = layer
    for name in _names(path):
        if name not in here.children:
            raise ValueError(f"path: got {path!r}, which does not exist in this layer; {_nearest(path, layer)}")
        here = here.children[name]
    return here


def paths(layer: Layer) -> list[str]:
    """Return the paths of all parts below ``layer``, parents before their children, in order of application.

    Examples:
        >>> nn.paths(nn.serial(body=nn.serial(conv1=nn.Conv(4, 3), relu1=jax.nn.relu), fc=nn.Dense(10)))
        ['body', 'body/conv1', 'body/relu1', 'fc']
    """
    found = []
    for name, child in layer.children.items():
        found += [name, *(f"{name}/{below}" for below in paths(child))]
    return found


def replace(layer: Layer, path: str, new: Layer | Callable[[Array], Array]) -> Layer:
    """Return the same network with ``new`` in place of the part at ``path``. See `at` for paths and errors.

    Examples:
        >>> net = nn.serial(body=nn.serial(fc1=nn.Dense(4), act=jnp.tanh), fc=nn.Dense(10))
        >>> nn.replace(net, "fc", nn.Dense(2)).out_shape((3,))
        (2,)
    """
    at(layer, path)
    names = _names(path)
    if not names:
        return as_layer(new)
    if layer.op.rebuild is None:
        raise ValueError(f"path: got {path!r}, below a tapped or foreign {layer.op.kind!r} layer without op.rebuild")
    below = replace(layer.children[names[0]], "/".join(names[1:]), new)
    return layer.op.rebuild({**layer.children, names[0]: below})


class _Tapped(NamedTuple):
    """State that carries an activation out of a layer: through jit, remat and scan alike."""

    state: Any
    activation: Any


@declared
def tap(layer: Layer, wanted: Sequence[str]) -> Layer:
    """Return the same network with output ``(output, {path: activation})``: any intermediate result by name.

    Params and state keep the trees of ``layer``.

    Args:
        layer: any network.
        wanted: paths as in `at`; the empty path is not among them.

    Raises:
        ValueError: for an unknown path, or a layer that is tapped already: name all paths in one call.

    Examples:
        >>> nn.tap(nn.serial(a=nn.Dense(4), b=nn.Dense(2)), ["a"]).out_shape((3,))
        ((2,), {'a': (4,)})
    """
    if isinstance(wanted, str) or "" in wanted:
        raise ValueError(f"wanted: got {wanted!r}, allowed are lists of paths below the layer")
    tapped = layer
    for path in sorted(set(wanted), key=lambda path: -len(_names(path))):  # children before the parents that hold them
        tapped = replace(tapped, path, _recording(at(tapped, path)))

    def apply(params, state, x, *, train=False, key=None, axis_name=None):
        y, new_state = tapped.apply(params, state, x, train=train, key=key, axis_name=axis_name)
        new_state, seen = _take_out(new_state, "")
        return (y, {path: seen[path] for path in wanted}), new_state

    def out_shape(in_shape):
        _, taps = jax.eval_shape(lambda: _run_abstract(tapped, in_shape))
        seen = _take_out(taps, "")[1]
        shapes = jax.tree.map(lambda y: tuple(y.shape[1:]), {path: seen[path] for path in wanted})
        return layer.out_shape(in_shape), shapes

    # rebuilding from the children would lose the taps
    return checked(layer._replace(apply=apply, out_shape=out_shape, op=layer.op._replace(rebuild=None)))


def _run_abstract(layer: Layer, in_shape: Any):
    params, state = layer.init(jax.random.key(0), in_shape)
    x = jax.tree.map(lambda one: jnp.zeros(one.shape, one.dtype), abstract_batch(in_shape, 1, layer.op.input_dtype))
    return layer.apply(params, state, x)


def _recording(layer: Layer) -> Layer:
    def apply(params, state, x, **options):
        y, new_state = layer.apply(params, state, x, **options)
        return y, _Tapped(new_state, y)

    return layer._replace(apply=apply, op=layer.op._replace(rebuild=None))


def _take_out(state: Any, path: str) -> tuple[Any, dict[str, Any]]:
    seen = {}
    if isinstance(state, _Tapped):
        seen[path] = state.activation
        state = state.state
    if not isinstance(state, dict):
        return state, seen
    clean = {}
    for name, value in state.items():
        clean_value, below = _take_out(value, f"{path}/{name}" if path else name)
        seen |= below
        if not (isinstance(clean_value, dict) and not clean_value):
            clean[name] = clean_value
    return clean, seen


def _names(path: str) -> list[str]:
    return path.split("/") if path else []


def _nearest(path: str, layer: Layer) -> str:
    known = paths(layer)
    near = difflib.get_close_matches(path, known, n=3, cutoff=0.3)
    return f"nearest: {', '.join(near)}" if near else f"it has: {', '.join(known) or 'no children'}"
