"""Layers and combinators against flax.linen, closed forms and the contract of `jaxdl.nn`."""

import functools
import math
import zlib

import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from jaxdl import activations, initializers, losses, nn
from tests.nets import (
    IMAGES,
    KEY,
    RANDOM,
    applied_shape,
    assert_out_shape_is_applys,
    assert_trees_close,
    assert_trees_equal,
    initial,
    net,
    quick_jit,
)

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
    """Return the layer; skip conflicting options, and images too small for it, which apply must refuse, too."""
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
    # the top bit is set in one hash only, which signed numbers would get wrong
    assert zlib.crc32(b"a") > 2**31 > zlib.crc32(b"b")
    for name in ("a", "b"):
        params, _ = nn.serial(outer=nn.serial(**{name: nn.Dense(3)})).init(KEY, (2,))
        key = jax.random.fold_in(jax.random.fold_in(KEY, zlib.crc32(b"outer")), zlib.crc32(name.encode()))
        assert_trees_equal(params["outer"][name], nn.Dense(3).init(key, (2,))[0])


def test_a_layer_s_draws_depend_on_its_path_alone():
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
    """bfloat16 params keep bfloat16, float32 params promote as everywhere in jax, statistics stay float32."""
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
