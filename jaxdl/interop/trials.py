"""What functions do with the order of their entries, tried on numbers."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import nn

Apply = Callable[[list[np.ndarray]], Any]


def moved(layer: nn.Layer, places: np.ndarray, out_shape: tuple[int, ...]) -> np.ndarray | None:
    """Return where a layer without parameters puts the places; None unless it grows, or falls, with each entry alone.

    Args:
        layer: the layer.
        places: of its inputs in PyTorch, of their shape.
        out_shape: shape of its outputs, as many as the inputs.
    """
    count = places.size
    shuffled = np.random.default_rng(0).permutation(count)
    straight, mixed = (_ranks(layer, ranks.reshape(places.shape)) for ranks in (np.arange(count), shuffled))
    for came, upwards in ((straight, True), (count - 1 - straight, False)):
        if np.array_equal(mixed, shuffled[came] if upwards else count - 1 - shuffled[came]):
            return places.ravel()[came].reshape(out_shape)
    return None


def keeps(apply: Apply, places: Sequence[np.ndarray], out: np.ndarray | None) -> bool:
    """Whether the outputs stand at ``out`` in PyTorch's if the inputs stand at ``places``; None is the same place."""
    draw = np.random.default_rng(0)
    normal = [draw.normal(size=one.shape).astype(np.float32) for one in places]
    above_one = [draw.uniform(1, 2, one.shape).astype(np.float32) for one in places]
    for ours in (normal, above_one):
        theirs = [np.empty_like(x) for x in ours]
        for there, x, to in zip(theirs, ours, places, strict=True):
            there.ravel()[to.ravel()] = x.ravel()
        with jax.ensure_compile_time_eval():
            own, of_theirs = (np.asarray(apply(x), np.float32).ravel() for x in (ours, theirs))
        again = of_theirs if out is None else of_theirs[out.ravel()]
        if not np.allclose(own, again, rtol=1e-4, atol=1e-5, equal_nan=True):
            return False
    return True


def pools(layer: nn.Layer, in_shape: Sequence[int], out_shape: Sequence[int]) -> bool:
    """Whether a function makes a vector of an image or sequence without regard to the order of places and channels.

    So is a vector of as many entries as channels, of a mean over places, or of one over channels.
    """
    places = np.arange(int(np.prod(in_shape))).reshape(-1, in_shape[-1])
    draw, apply = np.random.default_rng(0), applied(layer)
    shuffled = draw.permutation(len(places)), draw.permutation(in_shape[-1])
    orders = (places[shuffled[0]], places[:, shuffled[1]])
    return out_shape[0] == in_shape[-1] or any(keeps(apply, [one.reshape(in_shape)], None) for one in orders)


def applied(layer: nn.Layer) -> Apply:
    """Return a layer without parameters as a function of one example in a list."""
    return lambda x: layer.apply({}, {}, jnp.asarray(x[0][None]))[0][0]


def merging(layer: nn.Layer, branches: int) -> Apply:
    """Return the function by which a `parallel` combines its branches' outputs, of a list of one example's."""
    layer = unwrapped(layer, ("shared", "remat", "compute_in"))
    rebuild = cast(Callable[[Mapping[str, nn.Layer]], nn.Layer], layer.op.rebuild)  # which a combinator has
    merged = rebuild({name: nn.pick(i) for i, name in zip(range(branches), layer.children, strict=True)})
    return lambda outputs: merged.apply({}, {}, tuple(jnp.asarray(one[None]) for one in outputs))[0][0]


def unwrapped(layer: nn.Layer, wrappers: Sequence[str]) -> nn.Layer:
    """Return the layer inside of the wrappers of these names."""
    while layer.op.declaration is not None and layer.op.declaration[0] in wrappers:
        _, args, options = layer.op.declaration
        layer = next(one for one in (*args, *options.values()) if isinstance(one, nn.Layer))
    return layer


def _ranks(layer: nn.Layer, ranks: np.ndarray) -> np.ndarray:
    """Return the ranks of a layer's outputs for inputs between 1 and 2 of the given ranks."""
    with jax.ensure_compile_time_eval():
        x = 1 + jnp.asarray(ranks[None], jnp.float32) / ranks.size
        return np.argsort(np.argsort(np.asarray(layer.apply({}, {}, x)[0], np.float32).ravel(), kind="stable"))
