"""Layers and combinators against flax.linen, closed forms and the contract of `jaxdl.nn`."""

import functools
import math
import subprocess
import sys
import zlib

import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from jaxdl import activations, initializers, losses, nn

KEY = jax.random.key(3)
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.normal(size=(4, 9, 7, 3)).astype(np.float32)
quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def net():
    """Every kind of leaf and of combinator, names out of alphabetical order."""
    return nn.serial(
        stem=nn.serial(z=nn.Conv(4, 3, stride=2), norm=nn.BatchNorm(), a=activations.relu),
        block=nn.residual(
            nn.serial(conv=nn.Conv(4, 3, groups=2), norm=nn.BatchNorm(), drop=nn.Dropout(0.4)), nn.Conv(4, 1)
        ),
        inception=nn.parallel("concat", z=nn.Conv(2, 3), pool=nn.AvgPool(3, stride=1, padding="SAME"), same=jnp.tanh),
        pool=nn.MaxPool(2),
        flat=nn.flatten,
        head=nn.Dense(5),
    )


def initial(layer, in_shape=(9, 7, 3)):
    return quick_jit(lambda: layer.init(KEY, in_shape))()


def assert_trees_equal(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def assert_trees_close(a, b, rtol=1e-6):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=rtol, atol=rtol), a, b)


def applied_shape(layer, in_shape, batch=3):
    def run(x):
        return layer.apply(*layer.init(KEY, in_shape), x)[0]

    return jax.eval_shape(run, jax.ShapeDtypeStruct((batch, *in_shape), jnp.float32)).shape


def assert_out_shape_is_applys(layer, in_shape):
    promised = layer.out_shape(in_shape)
    assert isinstance(promised, tuple)
    assert all(type(n) is int for n in promised)
    assert applied_shape(layer, in_shape) == (3, *promised)
    assert layer.out_shape(list(in_shape)) == promised


# ---------------------------------------------------------------- shapes

sizes = st.integers(1, 3)
per_axis = st.one_of(sizes, st.tuples(sizes, sizes))
amounts = st.integers(0, 2)
paddings = st.one_of(
    st.sampled_from(["SAME", "VALID", "FULL"]),
    amounts,
    st.tuples(amounts, amounts),
    st.lists(st.tuples(amounts, amounts), min_size=2, max_size=2),
    st.tuples(st.sampled_from(["SAME", "VALID"]), amounts),
)
images = st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([2, 4]))


def built_and_fitting(make, in_shape):
    """The layer, or no example where its options do not go together or the image is too small: then apply agrees."""
    complaint = why_not(make)
    assume(not complaint)
    complaint, applys = why_not(lambda: make().out_shape(in_shape)), why_not(lambda: applied_shape(make(), in_shape))
    assert complaint == applys
    assume(not complaint)
    return make()


def why_not(run):
    try:
        run()
    except ValueError as error:
        return str(error)
    return None


@settings(max_examples=60, deadline=None)
@given(images, per_axis, per_axis, per_axis, paddings, st.sampled_from([1, 2]), st.booleans())
def test_out_shape_of_convolutions(in_shape, window, stride, dilation, padding, groups, bias):
    options = {"stride": stride, "dilation": dilation, "padding": padding, "groups": groups, "bias": bias}
    layer = built_and_fitting(lambda: nn.Conv(4, window, **options), in_shape)
    assert_out_shape_is_applys(layer, in_shape)


@settings(max_examples=60, deadline=None)
@given(images, per_axis, st.none() | per_axis, paddings, st.sampled_from([nn.MaxPool, nn.AvgPool]))
def test_out_shape_of_pools(in_shape, window, stride, padding, pool):
    layer = built_and_fitting(lambda: pool(window, stride=stride, padding=padding), in_shape)
    assert_out_shape_is_applys(layer, in_shape)


@pytest.mark.parametrize(
    ("layer", "in_shape", "expected"),
    [
        (nn.Dense(5), (4,), (5,)),
        (nn.Dense(5, bias=False), (2, 3, 4), (2, 3, 5)),
        (nn.BatchNorm(), (4,), (4,)),
        (nn.BatchNorm(scale=False, offset=False), (2, 3, 4), (2, 3, 4)),
        (nn.Dropout(0.5), (2, 3), (2, 3)),
        (nn.flatten, (2, 3, 4), (24,)),
        (nn.flatten, (), (1,)),
        (nn.identity, (2, 3), (2, 3)),
        (nn.global_avg_pool, (5, 6, 4), (4,)),
        (nn.function(lambda x: x[:, ::2]), (5, 4), (3, 4)),
        (nn.serial(), (2, 3), (2, 3)),
        (nn.parallel("sum", a=nn.Dense(3), b=nn.Dense(3)), (4,), (3,)),
        (nn.parallel("concat", a=nn.Dense(3), b=jnp.tanh), (4,), (7,)),
        (nn.parallel(lambda ys: jnp.stack(ys, 1), a=nn.identity, b=jnp.tanh), (4,), (2, 4)),
        (nn.residual(nn.Dense(4)), (4,), (4,)),
        (net(), (9, 7, 3), (5,)),
    ],
)
def test_out_shape_of_the_rest(layer, in_shape, expected):
    assert layer.out_shape(in_shape) == expected
    assert_out_shape_is_applys(layer, in_shape)


def test_several_heads_have_a_tree_of_shapes():
    heads = nn.parallel(lambda ys: {"logits": ys[0], "box": ys[1]}, a=nn.Dense(3), b=nn.serial(fc=nn.Dense(2)))
    assert heads.out_shape((5,)) == {"logits": (3,), "box": (2,)}
    both = nn.parallel(tuple, first=heads, second=nn.function(lambda x: (x, x[:, 0])))
    assert both.out_shape((5,)) == ({"logits": (3,), "box": (2,)}, ((5,), ()))
    y, _ = both.apply(*both.init(KEY, (5,)), jnp.ones((2, 5)))
    assert jax.tree.map(lambda a: a.shape[1:], y) == both.out_shape((5,))


def test_every_leaf_takes_a_numpy_batch():
    leaves = {
        "fc": nn.Dense(2),
        "conv": nn.Conv(2, 1),
        "norm": nn.BatchNorm(),
        "max": nn.MaxPool(1),
        "avg": nn.AvgPool(1),
    }
    leaves |= {
        "drop": nn.Dropout(0.1, mode="as_drawn"),
        "mean": nn.global_avg_pool,
        "flat": nn.flatten,
        "fc": nn.Dense(2),
    }
    for name, leaf in leaves.items():
        assert isinstance(leaf.apply(*leaf.init(KEY, IMAGES.shape[1:]), IMAGES)[0], np.ndarray | jax.Array), name


def test_an_empty_batch_goes_through():
    assert applied_shape(net(), (9, 7, 3), batch=0) == (0, 5)


# ---------------------------------------------------------------- params and state


def test_params_and_state_are_nested_dicts_without_empty_entries():
    params, state = initial(net())
    affine = {"kernel", "bias"}
    norm = {"scale", "offset"}
    names = jax.tree.map(lambda a: None, params, is_leaf=lambda t: not isinstance(next(iter(t.values())), dict))
    assert names == {
        "stem": {"z": None, "norm": None},
        "block": {"body": {"conv": None, "norm": None}, "shortcut": None},
        "inception": {"z": None},
        "head": None,
    }
    assert set(params["stem"]["z"]) == set(params["block"]["shortcut"]) == set(params["head"]) == affine
    assert set(params["stem"]["norm"]) == norm
    assert jax.tree.map(jnp.shape, state) == {
        "stem": {"norm": {"mean": (4,), "var": (4,)}},
        "block": {"body": {"norm": {"mean": (4,), "var": (4,)}}},
    }
    assert params["stem"]["z"]["kernel"].shape == (3, 3, 3, 4)
    assert params["block"]["body"]["conv"]["kernel"].shape == (3, 3, 2, 4)
    assert {leaf.dtype for leaf in jax.tree.leaves((params, state))} == {jnp.dtype("float32")}
    assert nn.Dense(2, bias=False).init(KEY, (3,))[0].keys() == {"kernel"}
    assert nn.BatchNorm(scale=False).init(KEY, (3,))[0].keys() == {"offset"}
    assert nn.serial(a=nn.flatten, b=nn.serial(c=jnp.tanh)).init(KEY, (3,)) == ({}, {})


def test_params_stay_float32_under_x64():
    with jax.enable_x64(True):
        params, state = jax.eval_shape(lambda: net().init(KEY, (9, 7, 3)))
        x = jax.ShapeDtypeStruct(IMAGES.shape, jnp.float64)
        run = functools.partial(net().apply, train=True, key=KEY)
        y, new_state = jax.eval_shape(run, params, state, x)
        assert {leaf.dtype for leaf in jax.tree.leaves((params, state, new_state))} == {jnp.dtype("float32")}
        assert y.dtype == jnp.float64


def test_initialisers_are_used_and_have_a_key_each():
    normal = initializers.normal(1)
    layer = nn.Dense(6, kernel_init=normal, bias_init=normal)
    params, _ = layer.init(KEY, (1,))
    keys = [jax.random.fold_in(KEY, zlib.crc32(name)) for name in (b"kernel", b"bias")]
    np.testing.assert_array_equal(params["kernel"], normal(keys[0], (1, 6)))
    np.testing.assert_array_equal(params["bias"], normal(keys[1], (6,)))
    conv = nn.Conv(2, (1, 3), kernel_init=initializers.ones(), bias_init=initializers.constant(2.5))
    params, _ = conv.init(KEY, (4, 4, 3))
    np.testing.assert_array_equal(params["kernel"], np.ones((1, 3, 3, 2)))
    np.testing.assert_array_equal(params["bias"], [2.5, 2.5])
    default = nn.Dense(200).init(KEY, (300,))[0]
    assert abs(float(default["kernel"].std()) * math.sqrt(300) - 1) < 0.02  # lecun: variance 1/n
    assert not default["bias"].any()


def test_a_child_s_key_is_fold_in_of_the_crc32_of_its_name():
    # the top bit is set in one and not in the other: a signed number would go wrong
    assert zlib.crc32(b"a") > 2**31 > zlib.crc32(b"b")
    for name in ("a", "b"):
        params, _ = nn.serial(outer=nn.serial(**{name: nn.Dense(3)})).init(KEY, (2,))
        key = jax.random.fold_in(jax.random.fold_in(KEY, zlib.crc32(b"outer")), zlib.crc32(name.encode()))
        assert_trees_equal(params["outer"][name], nn.Dense(3).init(key, (2,))[0])


def test_what_a_layer_draws_depends_on_its_path_alone():
    def parts(**first):
        return nn.serial(**first, fc=nn.Dense(8), drop=nn.Dropout(0.5), block=nn.parallel("sum", drop=nn.Dropout(0.5)))

    seen = {}
    for label, extra in {"alone": {}, "sibling": {"new": nn.identity, "noise": nn.Dropout(0.0)}}.items():
        layer = nn.tap(parts(**extra), ["fc", "drop", "block/drop"])
        params, state = layer.init(KEY, (5,))
        (_, taps), _ = layer.apply(params, state, jnp.ones((3, 5)), train=True, key=KEY)
        seen[label] = (params["fc"], taps)
    assert_trees_equal(*seen.values())
    masks = seen["alone"][1]
    assert (np.asarray(masks["drop"] == 0) != np.asarray(masks["block/drop"] == 0)).any()


def test_params_survive_the_key_sorting_of_jit():
    layer = nn.serial(z=nn.Dense(3), a=nn.serial(y=nn.Dense(6), b=nn.BatchNorm()))
    params, state = layer.init(KEY, (5,))
    jitted = initial(layer, (5,))
    assert list(jitted[0]) == ["a", "z"]
    assert list(params) == list(layer.children) == ["z", "a"]
    assert_trees_close(jitted, (params, state))
    x = jnp.ones((2, 5))
    assert_trees_close(layer.apply(*jitted, x), layer.apply(params, state, x))


def test_a_foreign_layer_may_keep_bare_arrays_and_tuples():
    counting = nn.Layer(
        init=lambda key, in_shape: (jnp.zeros(()), (jnp.zeros((), jnp.int32),)),
        apply=lambda params, state, x, **_: (x + params, (state[0] + 1,)),
        out_shape=lambda in_shape: in_shape,
        children={},
        op=nn.Op("counting"),
    )
    layer = nn.tap(nn.serial(inner=nn.serial(count=counting)), ["inner/count", "inner"])
    params, state = jax.jit(lambda: layer.init(KEY, (3,)))()
    assert params == {"inner": {"count": 0.0}}
    for step in range(3):
        assert state == {"inner": {"count": (step,)}}
        (_, taps), state = jax.jit(layer.apply)(params, state, jnp.ones((2, 3)))
        np.testing.assert_array_equal(taps["inner/count"], np.ones((2, 3)))


# ---------------------------------------------------------------- combinators


def test_serial_parallel_and_residual_are_what_they_say():
    double, square = (lambda x: 2 * x), jnp.square
    x = RANDOM.normal(size=(3, 4)).astype(np.float32)
    cases = {
        "serial": (nn.serial(a=double, b=square, c=lambda x: x + 1), 4 * x**2 + 1),
        "order": (nn.serial(b=square, a=double), 2 * x**2),
        "sum": (nn.parallel("sum", a=double, b=square, c=nn.identity), 3 * x + x**2),
        "concat": (nn.parallel("concat", z=double, a=square), np.concatenate([2 * x, x**2], 1)),
        "callable": (nn.parallel(lambda ys: ys[0] * ys[1] - ys[2], b=double, a=square, c=nn.identity), 2 * x**3 - x),
        "residual": (nn.residual(square), x**2 + x),
        "shortcut": (nn.residual(square, double), x**2 + 2 * x),
        "one branch": (nn.parallel("sum", a=double), 2 * x),
    }
    for name, (layer, expected) in cases.items():
        y, state = layer.apply({}, {}, x)
        np.testing.assert_allclose(y, expected, rtol=1e-6, err_msg=name)
        assert state == {}
    assert list(nn.residual(square).children) == ["body", "shortcut"]


def test_names_that_look_like_arguments_are_fine():
    layer = nn.parallel("sum", combine=nn.Dense(3), self=nn.Dense(3), kernel=nn.serial(init=nn.Dense(3), x=jnp.tanh))
    params, state = layer.init(KEY, (2,))
    assert set(params) == {"combine", "self", "kernel"}
    assert layer.apply(params, state, jnp.ones((1, 2)))[0].shape == (1, 3)


def test_kinds_name_what_a_layer_does():
    layer = nn.serial(a=activations.relu, b=functools.partial(jnp.clip, min=0), c=nn.function(jnp.tanh, kind="squash"))
    assert [child.op.kind for child in layer.children.values()] == ["relu", "function", "squash"]
    assert nn.Conv(2, 3, padding=((0, 1), 2)).op[:6] == ("conv", (3, 3), (1, 1), ((0, 1), 2), (1, 1), 1)
    assert nn.MaxPool(3).op[:5] == ("max_pool", (3, 3), (3, 3), ("VALID", "VALID"), (1, 1))
    assert nn.global_avg_pool.op.kind == "global_avg_pool"


# ---------------------------------------------------------------- against flax.linen, with the same params


class LinenNet(linen.Module):
    @linen.compact
    def __call__(self, x, train=False):
        x = linen.Conv(6, (5, 5), padding=2, name="conv1")(x)
        x = linen.max_pool(linen.relu(x), (2, 2), (2, 2))
        x = linen.Conv(8, (3, 3), strides=(2, 1), padding="VALID", feature_group_count=2, name="conv2")(x)
        x = linen.BatchNorm(use_running_average=not train, momentum=0.8, epsilon=1e-5, name="norm")(x)
        x = linen.avg_pool(linen.tanh(x), (2, 2), (1, 1), padding="SAME", count_include_pad=False)
        x = linen.Conv(8, (3, 3), kernel_dilation=2, name="conv3")(x) + x
        x = x.reshape(x.shape[0], -1)
        return linen.Dense(5, name="fc2")(linen.gelu(linen.Dense(12, name="fc1")(x)))


def same_as_linen():
    return nn.serial(
        conv1=nn.Conv(6, 5, padding=2),
        relu=activations.relu,
        pool=nn.MaxPool(2),
        conv2=nn.Conv(8, 3, stride=(2, 1), padding="VALID", groups=2),
        norm=nn.BatchNorm(momentum=0.8),
        tanh=jnp.tanh,
        pool2=nn.AvgPool(2, stride=1, padding="SAME"),
        block=nn.residual(nn.Conv(8, 3, dilation=2)),
        flat=nn.flatten,
        fc1=nn.Dense(12),
        gelu=linen.gelu,
        fc2=nn.Dense(5),
    )


def to_linen(params, state):
    flat = {name: params[name] for name in ("conv1", "conv2", "fc1", "fc2")} | {"conv3": params["block"]["body"]}
    norm = {"scale": params["norm"]["scale"], "bias": params["norm"]["offset"]}
    return {"params": flat | {"norm": norm}, "batch_stats": state}


@pytest.fixture(scope="module")
def nets():
    ours, theirs = same_as_linen(), LinenNet()
    params, state = initial(ours, (14, 13, 2))
    params = jax.tree.map(lambda p: p + 0.1 * RANDOM.normal(size=p.shape).astype(np.float32), params)  # no bias is 0
    return ours, theirs, params, state


def test_a_net_and_its_gradients_equal_flax_linens(nets):
    ours, theirs, params, state = nets
    x = RANDOM.normal(size=(6, 14, 13, 2)).astype(np.float32)
    labels = jnp.array([0, 1, 2, 3, 4, 0])

    def our_loss(params, train):
        y, new_state = ours.apply(params, state, x, train=train)
        return losses.softmax_cross_entropy(y, labels).mean(), (y, new_state)

    def their_loss(params, train):
        y, new_state = theirs.apply(to_linen(params, state), x, train, mutable=["batch_stats"])
        return losses.softmax_cross_entropy(y, labels).mean(), (y, new_state["batch_stats"])

    @quick_jit
    def both(params):
        evaluated = our_loss(params, False), their_loss(params, False)
        a, b = (jax.value_and_grad(f, has_aux=True)(params, True) for f in (our_loss, their_loss))
        return evaluated, (a, b)

    for ours_is, theirs_is in both(params):
        assert_trees_close(ours_is, theirs_is, 1e-4)


@pytest.mark.parametrize(("momentum", "eps"), [(0.9, 1e-5), (0.5, 1e-3), (0.0, 0.0)])
def test_running_statistics_equal_flax_linens_over_several_steps(momentum, eps):
    ours = nn.BatchNorm(momentum=momentum, eps=eps)
    theirs = linen.BatchNorm(momentum=momentum, epsilon=eps, use_fast_variance=False)
    params, state = ours.init(KEY, (3, 2, 4))
    params = {"scale": jnp.arange(1.0, 5), "offset": jnp.arange(4.0)}
    variables = {"params": {"scale": params["scale"], "bias": params["offset"]}, "batch_stats": state}
    our_step = quick_jit(functools.partial(ours.apply, train=True))
    their_step = quick_jit(functools.partial(theirs.apply, use_running_average=False, mutable=["batch_stats"]))
    for step in range(5):
        x = (3 + step) * RANDOM.normal(size=(7, 3, 2, 4)).astype(np.float32) + step
        y, state = our_step(params, state, x)
        expected, changed = their_step(variables, x)
        variables |= changed
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
        assert_trees_close(state, variables["batch_stats"], 1e-5)
    y, same = ours.apply(params, state, x)
    expected = theirs.apply(variables, x, use_running_average=True)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
    assert_trees_equal(same, state)


def test_running_statistics_by_hand():
    layer = nn.BatchNorm(momentum=0.75)
    x = np.array([[0.0, 1.0], [2.0, 1.0], [4.0, 4.0]], np.float32)  # means 2, 2; variances 8/3, 2 with 1/m
    _, state = layer.apply(*layer.init(KEY, (2,)), x, train=True)
    np.testing.assert_allclose(state["mean"], [0.5, 0.5], rtol=1e-6)
    np.testing.assert_allclose(state["var"], [0.75 + 8 / 12, 0.75 + 0.5], rtol=1e-6)


def test_batch_statistics_extend_over_a_mapped_axis():
    layer = nn.serial(norm=nn.BatchNorm(), fc=nn.Dense(2))
    params, state = layer.init(KEY, (3,))
    x = RANDOM.normal(size=(8, 3)).astype(np.float32)
    whole, expected = quick_jit(functools.partial(layer.apply, train=True))(params, state, x)
    run = functools.partial(layer.apply, params, state, train=True, axis_name="devices")
    parts, states = quick_jit(jax.vmap(run, axis_name="devices"))(x.reshape(4, 2, 3))
    np.testing.assert_allclose(parts.reshape(8, 2), whole, rtol=1e-5, atol=1e-6)
    for i in range(4):
        assert_trees_close(jax.tree.map(lambda a, i=i: a[i], states), expected, 1e-5)


# ---------------------------------------------------------------- training


def test_training_under_jit_compiles_once_and_keeps_structure_and_dtypes():
    layer, traces = net(), 0

    @quick_jit
    def step(params, state, x, key):
        nonlocal traces
        traces += 1

        def loss(params):
            y, new_state = layer.apply(params, state, x, train=True, key=key)
            return jnp.square(y).mean(), new_state

        grads, new_state = jax.grad(loss, has_aux=True)(params)
        return jax.tree.map(lambda p, g: p - 0.1 * g, params, grads), new_state

    params, state = start = initial(layer)
    for i in range(4):
        params, state = step(params, state, IMAGES, jax.random.fold_in(KEY, i))
    assert traces == 1
    assert jax.tree.structure((params, state)) == jax.tree.structure(start)
    assert jax.tree.map(jnp.result_type, (params, state)) == jax.tree.map(jnp.result_type, start)
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), (params, state), start)
    assert all(jax.tree.leaves(moved))


def test_evaluation_uses_running_statistics_no_key_and_no_batch():
    layer = net()
    params, state = initial(layer)
    run = quick_jit(lambda x: layer.apply(params, state, x))
    y, new_state = run(IMAGES)
    assert_trees_equal(new_state, state)
    for i in range(2):
        np.testing.assert_allclose(run(IMAGES[i : i + 1])[0][0], y[i], rtol=1e-5, atol=1e-6)


def test_dropout_as_layer():
    x = jnp.full((50, 40), 3.0)
    inverted, drawn = nn.Dropout(0.25), nn.Dropout(0.25, mode="as_drawn")
    assert inverted.apply({}, {}, x)[0] is x
    np.testing.assert_allclose(drawn.apply({}, {}, x)[0], np.full(x.shape, 3 * 0.75))
    y, _ = inverted.apply({}, {}, x, train=True, key=KEY)
    z, _ = drawn.apply({}, {}, x, train=True, key=KEY)
    np.testing.assert_allclose(np.unique(y), [0, 4], rtol=1e-6)
    np.testing.assert_array_equal(np.unique(z), [0, 3])
    kept = float((y != 0).mean())
    assert abs(kept - 0.75) < 4 * math.sqrt(0.25 * 0.75 / x.size)
    again, _ = inverted.apply({}, {}, x, train=True, key=jax.random.key(4))
    assert (np.asarray(again) != np.asarray(y)).any()
    for layer in (inverted, drawn):  # evaluation is the mean of training
        draw = jax.vmap(lambda key, layer=layer: layer.apply({}, {}, x, train=True, key=key)[0])
        mean = quick_jit(draw)(jax.random.split(KEY, 300)).mean()
        np.testing.assert_allclose(mean, layer.apply({}, {}, x)[0].mean(), rtol=3e-3)
    np.testing.assert_array_equal(nn.Dropout(0.0).apply({}, {}, x, train=True, key=KEY)[0], x)


def test_bfloat16_inputs():
    """bfloat16 params keep bfloat16; float32 params promote, as everywhere in jax; statistics stay float32."""
    layer = net()
    params, state = initial(layer)
    low = functools.partial(jax.tree.map, lambda a: a.astype(jnp.bfloat16))
    x = jnp.asarray(IMAGES, jnp.bfloat16)

    def dtypes(params, x):
        y, new_state = jax.eval_shape(lambda: layer.apply(params, state, x, train=True, key=KEY))
        assert {leaf.dtype for leaf in jax.tree.leaves(new_state)} == {jnp.dtype("float32")}
        return y.dtype

    assert dtypes(low(params), x) == jnp.bfloat16
    assert dtypes(params, x) == jnp.float32
    assert dtypes(low(params), jnp.asarray(IMAGES)) == jnp.float32
    run = quick_jit(lambda params, x: layer.apply(params, state, x)[0])
    np.testing.assert_allclose(run(low(params), x).astype(jnp.float32), run(params, IMAGES), atol=0.05)
    linen_dense, dense = linen.Dense(2), nn.Dense(2)
    own = dense.init(KEY, (3,))[0]
    ones = jnp.ones((1, 3), jnp.bfloat16)
    assert dense.apply(own, {}, ones)[0].dtype == linen_dense.apply({"params": own}, ones).dtype


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
    assert y.shape == (4, 5)  # the original is as it was
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
        (lambda: nn.Conv(2, 3, padding="same"), "padding: got 'same', allowed are 'SAME'"),
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
    with pytest.raises(ValueError, match=f"in leaf: params: .* has no '{name}' in it; there are"):
        layer.apply(params, state, IMAGES)
    with pytest.raises(ValueError, match=r"in leaf: params: .* there are \[\]"):
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
    with pytest.raises(ValueError, match=r"state: BatchNorm has no 'mean' in it; there are \[\]"):
        layer.apply(params, {}, jnp.ones((2, 3)))
    with pytest.raises(ValueError, match="params: BatchNorm has no 'scale'"):
        layer.apply({}, {"mean": jnp.zeros(3), "var": jnp.ones(3)}, jnp.ones((2, 3)))
