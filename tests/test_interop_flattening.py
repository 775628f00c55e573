"""PyTorch's weights behind a flatten: networks in which it is not one dense layer that reads one flattened image."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import interop, nn

IMAGE, FLAT = (4, 3, 2), 24  # height, width, channels
DRAW = np.random.default_rng(0)


def own_flatten(x):
    return jnp.tanh(x).reshape(len(x), -1)


def as_pytorch(x):
    return x.transpose(0, 3, 1, 2).reshape(len(x), -1)


def image(w, x):
    """PyTorch's convolution of windows of 1, and its flatten, of an image (c, h, w) or a sequence (c, n)."""
    return np.einsum("oi...,bi...->bo...", w["conv.weight"], x).reshape(len(x), -1)


def dense(w, name, x):
    return x @ w[f"{name}.weight"].T


def both(w, x):
    return np.concatenate([image(w, x), dense(w, "vector", x.mean((2, 3)))], 1)


HEADS = nn.parallel("sum", one=nn.Dense(3, bias=False), two=nn.Dense(3, bias=False))
FRONT = {"conv": nn.Conv(2, 1, bias=False)}
NETS = {  # -> our parts, the shape of an input, and what PyTorch computes of weights and images (c, ...)
    "a function that flattens": (
        FRONT | {"flat": own_flatten, "fc": nn.Dense(3, bias=False)}, IMAGE,
        lambda w, x: dense(w, "fc", np.tanh(image(w, x))),
    ),
    "a function that flattens as PyTorch does": (
        FRONT | {"flat": as_pytorch, "fc": nn.Dense(3, bias=False)}, IMAGE, lambda w, x: dense(w, "fc", image(w, x)),
    ),
    "a function that flattens and falls": (
        FRONT | {"flat": lambda x: 1 - x.reshape(len(x), -1), "fc": nn.Dense(3, bias=False)}, IMAGE,
        lambda w, x: dense(w, "fc", 1 - image(w, x)),
    ),
    "channels first, and then a flatten": (
        FRONT | {"first": lambda x: jnp.moveaxis(x, 3, 1), "flat": nn.flatten, "fc": nn.Dense(3, bias=False)}, IMAGE,
        lambda w, x: dense(w, "fc", image(w, x)),
    ),
    "a flattened sequence of a convolution": (
        {"conv": nn.Conv1d(2, 1, bias=False), "flat": nn.flatten, "fc": nn.Dense(3, bias=False)}, (5, 2),
        lambda w, x: dense(w, "fc", image(w, x)),
    ),
    "a flattened sequence of a dense layer": (  # whose channels are last in PyTorch, too
        {"vector": nn.Dense(2, bias=False), "flat": nn.flatten, "fc": nn.Dense(3, bias=False)}, (5, 2),
        lambda w, x: dense(w, "fc", dense(w, "vector", np.moveaxis(x, 1, -1)).reshape(len(x), -1)),
    ),
    "two heads": (
        FRONT | {"flat": nn.flatten, "heads": HEADS}, IMAGE,
        lambda w, x: dense(w, "one", image(w, x)) + dense(w, "two", image(w, x)),
    ),
    "a flatten beside a vector": (
        {"both": nn.parallel(
            "concat",
            flat=nn.serial(**FRONT, flat=nn.flatten),
            vector=nn.serial(mean=nn.global_avg_pool, fc=nn.Dense(4, bias=False)),
        ), "fc": nn.Dense(3, bias=False)}, IMAGE,
        lambda w, x: dense(w, "fc", both(w, x)),
    ),
    "a second dense layer of that many inputs": (
        FRONT | {"flat": nn.flatten, "one": nn.Dense(FLAT, bias=False), "two": nn.Dense(3, bias=False)}, IMAGE,
        lambda w, x: dense(w, "two", dense(w, "one", image(w, x))),
    ),
}  # fmt: skip
NAMES = {"both/flat/conv": "conv", "both/vector/fc": "vector", "heads/one": "one", "heads/two": "two"}


@pytest.mark.parametrize("wrap", [lambda net: net, nn.remat], ids=["plain", "wrapped"])
@pytest.mark.parametrize("case", NETS)
def test_outputs_are_those_of_pytorchs_formula_and_weights_go_back(case, wrap):
    parts, in_shape, theirs = NETS[case]
    net = wrap(nn.serial(**parts))
    dots = [path for path in nn.paths(net) if nn.at(net, path).op.kind in ("dense", "conv")]
    names = {path: NAMES.get(path, path) for path in dots}
    drawn, state = net.init(jax.random.key(0), in_shape)
    shapes = interop.to_torch(net, drawn, state, in_shape, names)
    weights = {name: DRAW.normal(size=array.shape).astype(np.float32) for name, array in shapes.items()}
    params, state = interop.from_torch(weights, net, in_shape, names)
    x = DRAW.normal(size=(2, *in_shape)).astype(np.float32)
    expected = theirs(weights, np.moveaxis(x, -1, 1))
    np.testing.assert_allclose(net.apply(params, state, x)[0], expected, rtol=1e-4, atol=1e-4)
    back = interop.to_torch(net, params, state, in_shape, names)
    jax.tree.map(np.testing.assert_array_equal, back, weights)


def test_a_sum_of_vectors_of_different_orders_is_refused():
    net = nn.serial(flat=nn.flatten, block=nn.residual(nn.Dense(FLAT)), fc=nn.Dense(2))
    names = {"block/body": "body", "fc": "fc"}
    params, state = net.init(jax.random.key(0), IMAGE)
    with pytest.raises(ValueError, match=r"'block' joins a flattened image with vectors of another order.*transpose"):
        interop.to_torch(net, params, state, IMAGE, names)
    net = nn.serial(flat=as_pytorch, block=nn.residual(nn.Dense(FLAT)), fc=nn.Dense(2))
    interop.to_torch(net, params, state, IMAGE, names)


@pytest.mark.parametrize(
    "mixes", [lambda v: jnp.cumsum(v[:, ::-1], 1), lambda v: jnp.abs(v - 1.5), lambda v: v.astype(jnp.int8)]
)
def test_a_function_that_flattens_and_mixes_is_refused(mixes):
    net = nn.serial(part=lambda x: mixes(x.reshape(len(x), -1)), fc=nn.Dense(2))
    params, state = net.init(jax.random.key(0), IMAGE)
    with pytest.raises(ValueError, match=r"layer: 'part' flattens and mixes; put nn\.flatten before it"):
        interop.to_torch(net, params, state, IMAGE, {"fc": "fc"})
