"""PyTorch's weights behind a flatten: networks in which it is not one dense layer that reads one flattened image."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import interop, nn
from jaxdl.interop import flattening

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


def pooled(x):
    return np.concatenate([x.mean((2, 3)), x.max((2, 3))], 1)


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
    "an auxiliary head of one layer": (
        FRONT | {"flat": nn.flatten, "aux": nn.auxiliary(nn.Dense(3, bias=False)), "fc": nn.Dense(3, bias=False)},
        IMAGE,
        lambda w, x: dense(w, "fc", image(w, x)),
    ),
    "an auxiliary head of two": (
        FRONT | {
            "flat": nn.flatten,
            "aux": nn.auxiliary(nn.serial(one=nn.Dense(2, bias=False), two=nn.Dense(3, bias=False))),
            "fc": nn.Dense(3, bias=False),
        }, IMAGE,
        lambda w, x: dense(w, "fc", image(w, x)),
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
    "a pooling of steps by a function": (
        FRONT | {"pool": lambda x: jnp.concatenate([x.mean((1, 2)), x.max((1, 2))], 1), "fc": nn.Dense(3, bias=False)},
        IMAGE, lambda w, x: dense(w, "fc", pooled(np.einsum("oi...,bi...->bo...", w["conv.weight"], x))),
    ),
    "rows of channels, in the order of PyTorch": (
        FRONT | {"rows": lambda x: x.transpose(0, 2, 3, 1).reshape(len(x), 3, -1), "fc": nn.Dense(3, bias=False)},
        IMAGE, lambda w, x: dense(w, "fc", image(w, x).reshape(len(x), 8, 3).swapaxes(1, 2)),
    ),
    "channels as many as rows and columns, moved to the front": (
        FRONT | {"first": lambda x: jnp.moveaxis(x, 3, 1), "flat": nn.flatten, "fc": nn.Dense(3, bias=False)},
        (2, 2, 2), lambda w, x: dense(w, "fc", image(w, x)),
    ),
    "one softmax of all entries": (
        FRONT | {"flat": nn.flatten, "shares": jax.nn.softmax, "fc": nn.Dense(3, bias=False)}, IMAGE,
        lambda w, x: dense(w, "fc", np.asarray(jax.nn.softmax(image(w, x)))),
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


def halves(p):
    return p.reshape(len(p), 2, 2, 3, 2).max(2).reshape(len(p), -1)


APART, MIXES, UNLIKE = "takes a flattened image apart", "flattens and mixes", "mixes an image's places and channels"
READ = {"fc": nn.Dense(2)}
UNKNOWN = {  # -> our parts, the shape of an input, and the refusal
    "a gated half": ({"flat": nn.flatten, "part": jax.nn.glu}, IMAGE, APART),
    "a slice": ({"flat": nn.flatten, "part": lambda v: v[:, :5]}, IMAGE, APART),
    "a running sum": ({"flat": nn.flatten, "part": lambda v: jnp.cumsum(v, 1)}, IMAGE, APART),
    "a view as an image of PyTorch": (
        {"flat": nn.flatten, "part": lambda v: v.reshape(-1, 2, 4, 3).transpose(0, 2, 3, 1), "conv": nn.Conv(2, 1)},
        IMAGE, APART,
    ),
    "pooled and flattened": ({"part": halves}, IMAGE, MIXES),
    "a mean over rows, flattened": ({"part": lambda x: x.mean(1).reshape(len(x), -1)}, IMAGE, MIXES),
    "flattened where branches meet": (
        {"part": nn.parallel(
            lambda both: jnp.concatenate([x.reshape(len(x), -1) for x in both], 1), a=nn.identity, b=nn.global_avg_pool
        )}, IMAGE, MIXES,
    ),
    "a tuple with a flattened image": (
        {"part": nn.parallel(tuple, a=nn.flatten, b=nn.global_avg_pool), "first": nn.pick(0)}, IMAGE, MIXES,
    ),
    "a concatenation the other way round": (
        {"flat": nn.flatten, "part": nn.parallel(lambda p: jnp.concatenate(p[::-1], 1), a=nn.identity, b=nn.Dense(2))},
        IMAGE, "joins a flattened image",
    ),
    "rows of an image, channels last": (
        {"conv": nn.Conv(2, 1), "part": lambda x: x.swapaxes(1, 2).reshape(len(x), 3, -1)}, IMAGE, UNLIKE,
    ),
    "frames of a clip": ({"part": lambda x: x.reshape(*x.shape[:2], -1)}, (2, *IMAGE), UNLIKE),
    "a turned image, flattened": ({"part": lambda x: x.swapaxes(1, 2).reshape(len(x), -1)}, IMAGE, UNLIKE),
    "a clip": ({"part": nn.flatten}, (2, *IMAGE), UNLIKE),
}  # fmt: skip


@pytest.mark.parametrize("case", UNKNOWN)
def test_weights_behind_an_unknown_order_are_refused(case):
    parts, in_shape, said = UNKNOWN[case]
    net = nn.serial(**parts, **READ)
    params, state = net.init(jax.random.key(0), in_shape)
    names = {path: path for path in nn.paths(net) if nn.at(net, path).op.kind in ("dense", "conv")}
    with pytest.raises(ValueError, match=rf"layer: 'part' {said}.*(nn\.flatten|transpose)"):
        interop.to_torch(net, params, state, in_shape, names)


def test_images_among_several_inputs_are_flattened_as_pytorch_does():
    net = nn.serial(both=nn.parallel("concat", b=nn.pick(1, nn.flatten), a=nn.pick(0, nn.flatten)), fc=nn.Dense(3))
    places = flattening.orders(net, (IMAGE, IMAGE))["fc"]
    a, b = DRAW.normal(size=(2, 5, *IMAGE)).astype(np.float32)
    theirs = np.concatenate([x.transpose(0, 3, 1, 2).reshape(5, -1) for x in (b, a)], 1)
    flat = nn.at(net, "both").apply({}, {}, (a, b))[0]
    np.testing.assert_array_equal(flat, theirs[:, places])


def test_places_that_share_parameters_must_read_one_order():
    one, two = nn.Dense(FLAT), nn.Dense(FLAT)
    net = nn.serial(flat=nn.flatten, body=nn.remat(nn.shared(nn.serial(first=one, act=jnp.tanh, again=one))))
    params, state = net.init(jax.random.key(0), IMAGE)
    with pytest.raises(ValueError, match=r"'body/again' and 'body/first' share parameters.*orders.*transpose"):
        interop.to_torch(net, params, state, IMAGE, {"body/first": "fc"})
    net = nn.serial(flat=nn.flatten, body=nn.shared(nn.parallel("sum", first=two, again=two)))
    params, state = net.init(jax.random.key(0), IMAGE)
    interop.to_torch(net, params, state, IMAGE, {"body/first": "fc"})


@pytest.mark.parametrize(
    "beside",
    [nn.pick(1), nn.pick(1, lambda n: 2 * n), nn.pick(1, lambda n: n[:, None])],
    ids=["as it is", "2n", "(1,)"],
)
def test_one_number_beside_a_sequence_has_no_order(beside):
    """Such as the sequence's length, with which it goes to an LSTM."""
    embed = nn.serial(words=nn.pick(0), table=nn.Embedding(9, 4))
    net = nn.serial(both=nn.parallel(tuple, embed=embed, number=beside), first=nn.pick(0), fc=nn.Dense(3))
    assert flattening.orders(net, ((7,), ())) == {}
    read = nn.serial(both=nn.parallel(tuple, embed=embed, lengths=nn.pick(1)), lstm=nn.LSTM(5, lengths=True))
    params, state = read.init(jax.random.key(0), ((7,), ()))
    theirs = interop.to_torch(read, params, state, ((7,), ()), {"both/embed/table": "table", "lstm": "lstm"})
    np.testing.assert_array_equal(theirs["table.weight"], params["both"]["embed"]["table"]["table"])
