"""The factors of K-FAC: second moments of each layer's inputs and of the gradients of its outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
from flax import traverse_util
from jaxtyping import Array, Key

from jaxdl import nn, numerics, sizes

KINDS: Final = ("dense", "conv")
DISTRIBUTIONS: Final = ("categorical", "bernoulli", "gaussian")


class KroneckerFactors(NamedTuple):
    """The two factors of a layer's block of the Fisher matrix, for `optimizers.kfac`."""

    inputs: Array  # (rows, rows); rows counts the kernel's entries per output, and 1 for a bias, which comes last
    outputs: Array  # (features, features)


def kronecker_factors(
    layer: nn.Layer,
    params: Any,
    state: Any,
    x: Any,
    *,
    paths: Sequence[str] | None = None,
    key: Key[Array, ""] | None = None,
    distribution: str = "categorical",
    train: bool = False,
) -> dict[str, KroneckerFactors]:
    """Compute the factors A and G of every dense and convolutional layer, for `optimizers.kfac`.

    For inputs a of a layer, with a 1 for its bias, and gradients g of the log-likelihood in its outputs, A = E[Σ a aᵀ]
    and G = E[Σ g gᵀ / T], where E is the mean over examples and labels that the network itself predicts, and Σ runs
    over the T places of a convolution or the T steps of a sequence. Average the factors of several devices by
    `jax.lax.pmean`.

    Args:
        layer: the network; its layers with a kernel must be `nn.Dense`, `nn.Conv` or `nn.Conv1d` of one group.
        params, state: as `layer.init` returns them.
        x: a batch.
        paths: the layers; None takes every one that has a kernel.
        key: draws one label per example, at the cost of one more backward pass, and drives random layers; None takes
            all labels, at the cost of a backward pass for each output.
        distribution: the distribution that the outputs parametrize: "categorical" for logits over the last axis,
            "bernoulli" for one logit each, or "gaussian" for the mean of a normal distribution of variance 1 each.
        train: as in `layer.apply`.

    Returns:
        A pair of matrices per layer, by its path.

    Raises:
        ValueError: for a layer with a kernel that is none of these, and for an unknown path or distribution.

    References: see `optimizers.kfac`.

    Examples:
        >>> from jaxdl import nn
        >>> layer, x = nn.Dense(1, bias=False), jnp.array([[2.0], [4.0]])
        >>> factors = training.kronecker_factors(layer, {"kernel": jnp.ones((1, 1))}, {}, x, distribution="gaussian")
        >>> factors[""].inputs  # the mean of 2² and 4²
        Array([[10.]], dtype=float32)
    """
    if distribution not in DISTRIBUTIONS:
        raise ValueError(f"distribution is {distribution!r}: it must be one of {', '.join(DISTRIBUTIONS)}")
    parts = _parts(layer, params, paths)
    draw, inside = (None, None) if key is None else jax.random.split(key)
    probed = layer
    for path, part in parts.items():
        probed = nn.replace(probed, path, _probed(part))

    flat = traverse_util.flatten_dict(params, keep_empty_nodes=True, sep="/")

    def run(probes):
        given = flat | {_within(path, PROBE): probe for path, probe in probes.items()}
        y, after = probed.apply(traverse_util.unflatten_dict(given, sep="/"), state, x, train=train, key=inside)
        found: dict[str, Any] = dict(traverse_util.flatten_dict(after, sep="/"))  # pyright: ignore[reportArgumentType]
        return y, {path: {name: found[_within(path, name)] for name in (INPUT, OUTPUT)} for path in parts}

    y, seen = jax.eval_shape(run, {path: jnp.zeros(()) for path in parts})
    if not hasattr(y, "shape") or y.ndim < 2:
        raise ValueError(f"layer gives {jax.tree.map(jnp.shape, y)}; expected one array (n, ..., outputs)")
    probes = {path: jnp.zeros(one[OUTPUT].shape, one[OUTPUT].dtype) for path, one in seen.items()}
    y, pullback, seen = jax.vjp(run, probes, has_aux=True)
    gradients = jax.lax.map(lambda root: pullback(root.astype(y.dtype))[0], _roots(y, distribution, draw))
    return {
        path: KroneckerFactors(
            _of_inputs(part, seen[path][INPUT], _within(path, "bias") in flat), _of_outputs(gradients[path])
        )
        for path, part in parts.items()
    }


INPUT, OUTPUT, PROBE = "input", "output", "probe"


def _probed(part: nn.Layer) -> nn.Layer:
    """Return a layer that adds params["probe"] to its output, and puts its input and output into the state."""

    def apply(params, state, x, **options):
        own = {name: leaf for name, leaf in params.items() if name != PROBE}
        y, _ = part.apply(own, state, x, **options)
        return y + params[PROBE], {INPUT: x, OUTPUT: y}

    return part._replace(apply=apply)


def _parts(layer: nn.Layer, params: Any, paths: Sequence[str] | None) -> dict[str, nn.Layer]:
    """Return the chosen layers, or those of every dict with a kernel, by path."""
    names = [name.rpartition("/") for name in traverse_util.flatten_dict(params, sep="/")]
    found, kernels = {}, [path for path, _, name in names if name == "kernel"]
    known = {"": layer, **{path: nn.at(layer, path) for path in nn.paths(layer)}}
    for path in kernels if paths is None else paths:
        if path not in kernels:
            raise ValueError(f"paths has {path!r}: it must be a layer with a kernel, one of {', '.join(kernels)}")
        part = known.get(path)
        kind = "no layer of its own" if part is None else f"a layer of kind {part.op.kind!r}"
        if part is None or part.op.kind not in KINDS or part.op.groups != 1:
            grouped = f" of {part.op.groups} groups" if part is not None and part.op.groups != 1 else ""
            raise ValueError(
                f"params[{path!r}] belongs to {kind}{grouped}; expected Dense, Conv or Conv1d of one group"
            )
        found[path] = part
    if not found:
        raise ValueError("params has no kernel, so there are no factors")
    return found


def _within(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name


def _roots(y: Array, distribution: str, key: Key[Array, ""] | None) -> Array:
    """Return cotangents (k, *y.shape) whose outer products sum to each example's Fisher matrix in its outputs.

    With a key, there is one, whose outer product has that matrix as its expectation.
    """
    y = numerics.widen(y)
    count = y[0].size
    alone = jnp.eye(count, dtype=y.dtype).reshape(count, 1, *y.shape[1:])
    if distribution == "gaussian":
        return jnp.broadcast_to(alone, (count, *y.shape)) if key is None else jax.random.normal(key, (1, *y.shape))
    if distribution == "bernoulli":
        p = jax.nn.sigmoid(y)
        return alone * jnp.sqrt(p * (1 - p))[None] if key is None else (p - jax.random.bernoulli(key, p))[None]
    p, classes = jax.nn.softmax(y), y.shape[-1]
    if key is not None:
        return (p - jax.nn.one_hot(jax.random.categorical(key, y), classes, dtype=y.dtype))[None]
    # of class c at a place: √p_c (e_c − p) there, and 0 at all other places
    there = alone.sum(-1, keepdims=True)
    return there * (alone - p[None]) * jnp.sqrt((alone * p[None]).sum(-1, keepdims=True))


def _of_inputs(part: nn.Layer, x: Array, bias: bool) -> Array:
    """Return A: the mean over examples of the sum over places of a aᵀ."""
    x = numerics.widen(x)
    a = _patches(part, x) if part.op.kind == "conv" else x
    a = a.reshape(len(x), -1, a.shape[-1])
    if bias:
        a = jnp.concatenate([a, jnp.ones((*a.shape[:-1], 1), a.dtype)], -1)
    return jnp.einsum("nti,ntj->ij", a, a) / len(x)


def _of_outputs(gradients: Array) -> Array:
    """Return G: the sum over labels of the mean over examples and places of g gᵀ."""
    g = numerics.widen(gradients)
    g = g.reshape(g.shape[0], g.shape[1], -1, g.shape[-1])
    return jnp.einsum("knti,kntj->ij", g, g) / (g.shape[1] * g.shape[2])


def _patches(part: nn.Layer, x: Array) -> Array:
    """Return the window that each output of a convolution sees, in the order of a kernel's entries."""
    op, axes = part.op, len(part.op.window)
    each = zip(x.shape[1:-1], op.window, op.stride, op.padding, op.dilation, strict=True)
    padding = [sizes.padding_amounts(n, k, stride=s, padding=p, dilation=d) for n, k, s, p, d in each]
    space = "HW" if axes == 2 else "W"
    numbers = (f"N{space}C", f"{space}IO", f"N{space}C")
    patches = jax.lax.conv_general_dilated_patches(
        x,
        op.window,
        op.stride,
        padding,
        rhs_dilation=op.dilation,
        dimension_numbers=numbers,
        precision=jax.lax.Precision.HIGHEST,
    )
    by_channel = patches.reshape(*patches.shape[:-1], x.shape[-1], -1)  # JAX has channels first
    return jnp.swapaxes(by_channel, -1, -2).reshape(patches.shape)
