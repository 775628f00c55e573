"""Tools on the tree of layers, and their error messages."""

import functools
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import activations, nn
from tests.nets import (
    IMAGES,
    KEY,
    assert_trees_close,
    assert_trees_equal,
    initial,
    net,
    quick_jit,
)

# ---------------------------------------------------------------- at, paths, replace


def test_paths_and_at():
    layer = net()
    assert nn.paths(layer)[:9] == [
        "stem", "stem/z", "stem/norm", "stem/a", "block", "block/body", "block/body/conv", "block/body/norm",
        "block/body/drop",
    ]  # fmt: skip
    assert nn.at(layer, "") is layer
    assert nn.at(layer, "block/body/conv").op.groups == 2
    assert nn.at(layer, "stem") is layer.children["stem"]
    assert nn.paths(nn.Dense(3)) == []


def test_replace_keeps_the_rest_and_its_params_valid():
    layer = net()
    params, state = initial(layer)
    changed = nn.replace(layer, "head", nn.Dense(11))
    new_params, _ = initial(changed)
    assert_trees_equal({**new_params, "head": 0}, {**params, "head": 0})
    deep = nn.replace(layer, "block/body/drop", nn.serial(tanh=jnp.tanh, drop=nn.Dropout(0.9)))
    assert nn.paths(deep)[8:11] == ["block/body/drop", "block/body/drop/tanh", "block/body/drop/drop"]

    @quick_jit
    def outputs(params, state, x, head):
        before, after = (nn.tap(one, ["block/shortcut", "block/body/drop"]) for one in (layer, deep))
        wide = changed.apply(params | {"head": head}, state, x)[0]
        return wide, before.apply(params, state, x)[0], after.apply(params, state, x)[0]

    wide, (y, taps), (y_deep, taps_deep) = outputs(params, state, IMAGES, new_params["head"])
    assert wide.shape == (4, 11)
    assert y.shape == (4, 5)  # the original is unchanged
    np.testing.assert_allclose(taps_deep["block/shortcut"], taps["block/shortcut"], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(taps_deep["block/body/drop"], np.tanh(taps["block/body/drop"]), rtol=1e-5, atol=1e-6)
    assert (np.asarray(y) != np.asarray(y_deep)).any()
    assert nn.replace(layer, "", nn.flatten) is nn.flatten
    assert nn.replace(layer, "stem", jnp.tanh).children["stem"].op.kind == "tanh"


# ---------------------------------------------------------------- tap

WANTED = ["stem", "stem/norm", "block", "block/body/conv", "block/shortcut", "inception/same", "head"]


@pytest.fixture(scope="module")
def tapped():
    layer = net()
    params, state = initial(layer)
    state = jax.tree.map(lambda s: s + 0.5, state)
    return layer, nn.tap(layer, WANTED), params, state


def test_taps_are_the_activations_and_change_nothing(tapped):
    layer, tap, params, state = tapped
    assert_trees_equal(initial(tap), initial(layer))
    for options in ({"train": True, "key": KEY}, {}):
        (y, taps), new_state = quick_jit(functools.partial(tap.apply, **options))(params, state, IMAGES)
        plain = quick_jit(functools.partial(layer.apply, **options))(params, state, IMAGES)
        assert_trees_close((y, new_state), plain)
        assert set(taps) == set(WANTED)
        np.testing.assert_array_equal(taps["head"], y)
    stem = nn.at(layer, "stem")
    by_hand = quick_jit(stem.apply)(params["stem"], state["stem"], IMAGES)[0]
    np.testing.assert_allclose(taps["stem"], by_hand, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(taps["stem"], np.maximum(taps["stem/norm"], 0))
    shortcut = nn.Conv(4, 1).apply(params["block"]["shortcut"], {}, by_hand)[0]
    np.testing.assert_allclose(taps["block/shortcut"], shortcut, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(taps["inception/same"], np.tanh(taps["block"]), rtol=1e-5)
    shapes = tap.out_shape((9, 7, 3))
    assert shapes == ((5,), {path: taps[path].shape[1:] for path in WANTED})
    assert all(type(n) is int for shape in shapes[1].values() for n in shape)


@pytest.mark.slow
def test_tap_through_jit_grad_vmap_and_checkpoint(tapped):
    layer, tap, params, state = tapped
    run = functools.partial(tap.apply, train=True, key=KEY)
    expected = jax.jit(run)(params, state, IMAGES)
    mapped = quick_jit(jax.vmap(run, (None, None, 0)))(params, state, jnp.stack([IMAGES, 2 * IMAGES]))
    assert_trees_close(jax.tree.map(lambda a: a[0], mapped), expected, 1e-5)

    def loss(params, wrap):
        (y, taps), new_state = wrap(run)(params, state, IMAGES)
        return jnp.square(y).sum() + jnp.square(taps["block/body/conv"]).sum(), new_state

    def plain(params):
        y = layer.apply(params, state, IMAGES, train=True, key=KEY)[0]
        stem = nn.at(layer, "stem").apply(params["stem"], state["stem"], IMAGES, train=True)[0]
        conv = nn.at(layer, "block/body/conv").apply(params["block"]["body"]["conv"], {}, stem)[0]
        return jnp.square(y).sum() + jnp.square(conv).sum()

    grads, remat, expected = quick_jit(
        lambda p: (
            jax.grad(loss, has_aux=True)(p, lambda f: f),
            jax.grad(loss, has_aux=True)(p, jax.checkpoint),
            jax.grad(plain)(p),
        )
    )(params)
    assert_trees_close(grads[0], expected, 1e-4)
    assert_trees_close(remat, grads, 1e-4)
    assert jax.tree.structure(grads[1]) == jax.tree.structure(state)


def test_a_tapped_layer_cannot_be_taken_apart_silently(tapped):
    layer, tap, params, state = tapped
    with pytest.raises(ValueError, match="tapped or foreign 'serial' layer"):
        nn.tap(tap, ["stem"])
    with pytest.raises(ValueError, match="tapped or foreign"):
        nn.replace(tap, "head", nn.Dense(2))
    for wanted, taps in (([], {}), (["head", "head"], {"head": (4, 5)})):
        (_, seen), _ = jax.eval_shape(nn.tap(layer, wanted).apply, params, state, IMAGES)
        assert {path: one.shape for path, one in seen.items()} == taps


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (lambda: nn.Dense(0), r"features: got 0, allowed are ints ≥ 1"),
        (lambda: nn.Dense(2).init(KEY, ()), r"in_shape: got \(\), but Dense takes at least one axis"),
        (lambda: nn.BatchNorm().init(KEY, ()), r"in_shape: got \(\), but BatchNorm"),
        (lambda: nn.Conv(-1, 3), "features: got -1"),
        (lambda: nn.Conv(2, 0), "window: got 0"),
        (lambda: nn.Conv(2, (3, 3, 3)), r"window: got \(3, 3, 3\)"),
        (lambda: nn.Conv(2, 3, stride=0), "stride: got 0"),
        (lambda: nn.Conv(2, 3, dilation=(1, 0)), "dilation: got 0"),
        (lambda: nn.Conv(2, 3, padding="half"), "padding: got 'half', allowed are 'SAME'"),
        (lambda: nn.Conv(2, 3, padding=-1), "padding: got -1"),
        (lambda: nn.Conv(2, 3, padding=(1, 1, 1)), r"padding: got \(1, 1, 1\)"),
        (lambda: nn.Conv(2, 3, groups=0), "groups: got 0"),
        (lambda: nn.Conv(3, 3, groups=2), "groups: got 2"),
        (lambda: nn.Conv(4, 3, groups=2).init(KEY, (5, 5, 3)), "groups: got 2, .* 3 input channels"),
        (lambda: nn.Conv(4, 3, groups=2).out_shape((5, 5, 3)), "groups: got 2"),
        (lambda: nn.Conv(2, 3).init(KEY, (1, 5, 5, 3)), r"in_shape: got \(1, 5, 5, 3\), but Conv takes images"),
        (lambda: nn.Conv(2, 3).out_shape((5,)), r"in_shape: got \(5,\), but Conv takes images"),
        (lambda: nn.MaxPool(2).out_shape((5, 5)), r"in_shape: got \(5, 5\), but max_pool takes images"),
        (lambda: nn.MaxPool(2, padding=2), "padding: got 2, allowed is less than the window"),
        (lambda: nn.AvgPool((2, 3), padding=(1, (0, 3))), "allowed is less than the window"),
        (lambda: nn.AvgPool(2, stride=-1), "stride: got -1"),
        (lambda: nn.MaxPool(3).out_shape((2, 5, 1)), "window: got 3"),
        (lambda: nn.BatchNorm(momentum=1.0), "momentum: got 1.0, allowed is 0 ≤ momentum < 1"),
        (lambda: nn.BatchNorm(momentum=-0.1), "momentum: got -0.1"),
        (lambda: nn.BatchNorm(eps=-1e-3), "eps: got -0.001"),
        (lambda: nn.Dropout(1.0), "rate: got 1.0, allowed is 0 ≤ rate < 1"),
        (lambda: nn.Dropout(-0.5), "rate: got -0.5"),
        (lambda: nn.Dropout(float("nan")), "rate: got nan"),
        (lambda: nn.Dropout(0.5).apply({}, {}, jnp.ones((1, 2)), train=True), "key: got None, but Dropout"),
        (lambda: nn.serial(**{"a/b": nn.identity}), "the child name 'a/b'"),
        (lambda: nn.serial(**{"": nn.identity}), "the child name ''"),
        (lambda: nn.parallel("mean", a=nn.identity), r"combine: got 'mean', allowed are \['concat', 'sum'\]"),
        (lambda: nn.parallel("sum"), "branches: got none"),
        (lambda: nn.parallel("sum", a=nn.Dense(1), b=nn.Dense(3)).init(KEY, (2,)), "branches: 'sum' does not fit"),
        (lambda: nn.residual(nn.Dense(3)).out_shape((2,)), r"branches: 'sum' .*'body': \(3,\), 'shortcut': \(2,\)"),
        (lambda: nn.parallel("concat", a=nn.MaxPool(2), b=nn.identity).init(KEY, (4, 4, 1)), "'concat' does not fit"),
        (lambda: nn.parallel("concat", a=jnp.ravel, b=jnp.ravel).out_shape(()), "'concat' does not fit"),
        (lambda: nn.serial(m=jnp.mean).out_shape((3,)), "in m: mean: .* the batch axis is lost"),
        (lambda: nn.function(lambda x: x.mean(0, keepdims=True)).out_shape((3,)), "the batch axis is lost"),
        (lambda: nn.parallel(lambda ys: ys[0].sum(0), a=nn.identity).out_shape((3,)), "combine: .* axis is lost"),
        (lambda: nn.serial(a=activations.prelu), "got prelu, which needs slope, too"),
        (lambda: nn.serial(a=activations.noisy_relu), "got noisy_relu, which needs x, too"),
        (lambda: nn.parallel("sum", a=lambda x, *, rate: rate * x), "which needs rate, too: functools.partial"),
        (
            lambda: nn.Embedding(9, 4).out_shape(((5,), ())),
            r"got .* nn\.pick\(0, nn\.Embedding\(\.\.\.\)\)",
        ),
        (lambda: nn.Embedding(9, 4).init(KEY, ((5,), ())), "Embedding takes one array"),
        (lambda: nn.at(net(), "stem/norn"), "path: got 'stem/norn', .*nearest: stem/norm"),
        (lambda: nn.at(net(), "stem/"), "path: got 'stem/'"),
        (lambda: nn.at(nn.Dense(2), "a"), "it has: no children"),
        (lambda: nn.replace(net(), "nowhere", nn.identity), "path: got 'nowhere'"),
        (lambda: nn.tap(net(), "head"), "wanted: got 'head', allowed are lists of paths"),
        (lambda: nn.tap(net(), [""]), r"wanted: got \[''\]"),
        (lambda: nn.tap(net(), ["heat"]), "path: got 'heat'"),
    ],
)
def test_mistakes_are_named(mistake, message):
    with pytest.raises(ValueError, match=message):
        mistake()


MISTAKEN_TYPES = {
    "Dense(2.5)": "features: got 2.5, allowed are ints",
    "Conv(2, 3.0)": "window: got 3.0, allowed are",
    "Conv(2, 'SAME')": "window: got 'SAME', allowed are ints",
    "Conv(2, 3, padding=None)": "padding: got None, allowed are",
    "Conv(2, 3, groups=1.0)": "groups: got 1.0, allowed are ints",
    "Dropout(0.5, mode='other')": "mode: got 'other', allowed are",
    "serial(a=3)": "a child must be a Layer or a function of an array, got int",
    "parallel(3, a=identity)": "combine: got 3, allowed are",
    "parallel(None, a=identity)": "combine: got None, allowed are",
    "replace(serial(a=identity), 'a', 3)": "a child must be a Layer or a function of an array, got int",
}


@pytest.mark.process
def test_wrong_types_are_named_where_nothing_checks_annotations():
    program = f"""if True:
        from jaxdl.nn import *
        for mistake in {list(MISTAKEN_TYPES)}:
            try:
                print("made", eval(mistake))
            except ValueError as error:
                print(error)
    """
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    for said, expected in zip(out.splitlines(), MISTAKEN_TYPES.values(), strict=True):
        assert said.startswith(expected)


def test_an_error_says_which_part_of_the_net_it_comes_from():
    layer = nn.serial(stage=nn.residual(nn.serial(conv=nn.Conv(2, 3, padding="VALID"), pool=nn.MaxPool(2))))
    for run in (layer.out_shape, functools.partial(layer.init, KEY)):
        with pytest.raises(ValueError, match="in stage: in body: in pool: window: got 2"):
            run((3, 3, 1))
    layer = nn.serial(a=nn.serial(conv=nn.Conv(2, 3)))
    params, state = layer.init(KEY, (4, 4, 3))
    with pytest.raises(ValueError, match="in a: in conv: kernel: got 3 input channels, allowed are 1"):
        layer.apply(params, state, jnp.ones((1, 4, 4, 1)))


@pytest.mark.parametrize("name", ["kernel", "bias"])
@pytest.mark.parametrize("leaf", [nn.Dense(2), nn.Conv(2, 1)])
def test_missing_params_raise(leaf, name):
    layer = nn.serial(leaf=leaf)
    params, state = layer.init(KEY, (4, 4, 3))
    del params["leaf"][name]
    with pytest.raises(ValueError, match=f"in leaf: params: got .*, but .* needs '{name}'"):
        layer.apply(params, state, IMAGES)
    with pytest.raises(ValueError, match=r"in leaf: params: got \[\], but \w+ needs '"):
        layer.apply({}, state, IMAGES)


def test_a_bias_that_the_layer_has_not_is_refused():
    params = {"kernel": jnp.eye(2), "bias": jnp.ones(2)}
    with pytest.raises(ValueError, match=r"params: Dense got \['bias'\], allowed are \['kernel'\]"):
        nn.Dense(2, bias=False).apply(params, {}, jnp.eye(2))
    norm = nn.BatchNorm(scale=False, offset=False, eps=0.0)
    params, state = {"scale": jnp.full(2, 3.0), "offset": jnp.ones(2)}, {"mean": jnp.zeros(2), "var": jnp.ones(2)}
    with pytest.raises(ValueError, match=r"params: BatchNorm got \['offset', 'scale'\], allowed are \[\]"):
        norm.apply(params, state, jnp.eye(2))


def test_missing_batch_statistics_raise():
    layer = nn.BatchNorm()
    params, _ = layer.init(KEY, (3,))
    with pytest.raises(ValueError, match=r"state: got \[\], but BatchNorm needs 'mean'"):
        layer.apply(params, {}, jnp.ones((2, 3)))
    with pytest.raises(ValueError, match=r"params: got \[\], but BatchNorm needs 'scale'"):
        layer.apply({}, {"mean": jnp.zeros(3), "var": jnp.ones(3)}, jnp.ones((2, 3)))
