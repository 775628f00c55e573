"""Layers as people use them: half precision over many examples, donated buffers, arguments in wrong places."""

import functools
import inspect
import re

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from jaxdl import activations, analysis, layers, models, nn
from jaxdl.nn.layer import abstract_batch
from tests import test_laws as laws

KEY = jax.random.key(0)


@pytest.fixture
def untyped():
    """Turn annotation checks off, so that wrong arguments reach the layers as they do outside of tests."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


# ---------------------------------------------------------------- sums over many examples, places and time steps


def ones(*shape):
    return np.full(shape, 0.5, np.float32)


MANY, TIME = 8192, 2000
# functions of an input and of parameters that many entries share
SHARED = {
    "batch_norm": (layers.batch_norm, (ones(32, 16, 16, 3), *[ones(3)] * 4)),
    "conv1d": (layers.conv1d, (ones(16, 512, 3), ones(3, 3, 4), ones(4))),
    "conv2d": (layers.conv2d, (ones(32, 16, 16, 3), ones(3, 3, 3, 4), ones(4))),
    "conv_transpose1d": (layers.conv_transpose1d, (ones(16, 512, 3), ones(3, 3, 4), ones(4))),
    "conv_transpose2d": (layers.conv_transpose2d, (ones(32, 16, 16, 3), ones(3, 3, 3, 4), ones(4))),
    "convolve1d": (layers.convolve1d, (ones(16, 512), ones(3))),
    "convolve2d": (layers.convolve2d, (ones(32, 16, 16), ones(3, 3))),
    "dense": (layers.dense, (ones(MANY, 3), ones(3, 4), ones(4))),
    "dropconnect": (lambda x, rate: layers.dropconnect(KEY, x, rate), (ones(64, 128), ones() / 2)),
    "dropout": (lambda x, rate: layers.dropout(KEY, x, rate), (ones(MANY), ones() / 2)),
    "embed": (functools.partial(layers.embed, np.zeros(MANY, np.int32)), (ones(3, 4),)),
    "gaussian_dropout": (lambda x, rate: layers.gaussian_dropout(KEY, x, rate), (ones(MANY), ones() / 2)),
    "group_norm": (
        functools.partial(layers.group_norm, groups=1),
        (np.linspace(0, 1, MANY * 3, dtype=np.float32).reshape(-1, 16, 16, 3), ones(3), ones(3)),
    ),
    "gru": (layers.gru, (ones(2, TIME, 3), ones(2, 2), ones(3, 6) / 8, ones(2, 6) / 8, ones(6) / 8, ones(2))),
    "gru_cell": (layers.gru_cell, (ones(MANY, 2), ones(MANY, 3), ones(3, 6) / 8, ones(2, 6) / 8, ones(6) / 8, ones(2))),
    "instance_norm": (
        layers.instance_norm,
        (np.linspace(0, 1, MANY * 3, dtype=np.float32).reshape(-1, 16, 16, 3), ones(3), ones(3)),
    ),
    "layer_norm": (layers.layer_norm, (np.resize(np.float32([1, 2, 4]), (MANY, 3)), ones(3), ones(3))),
    "layer_scale": (layers.layer_scale, (ones(MANY, 3), ones(3))),
    "local_response_norm": (
        lambda x, alpha, beta, k: layers.local_response_norm(x, alpha=alpha, beta=beta, k=k),
        (ones(32, 16, 16, 3), ones(), ones(), ones()),
    ),
    "lstm": (
        lambda x, h, c, *parameters: layers.lstm(x, (h, c), *parameters)[0],
        (ones(2, TIME, 3), ones(2, 2), ones(2, 2), ones(3, 8) / 8, ones(2, 8) / 8, ones(8) / 8),
    ),
    "lstm_cell": (
        lambda h, c, x, *parameters: layers.lstm_cell((h, c), x, *parameters)[0],
        (ones(MANY, 2), ones(MANY, 2), ones(MANY, 3), ones(3, 8), ones(2, 8), ones(8)),
    ),
    "multi_head_attention": (
        functools.partial(layers.multi_head_attention, heads=2),
        (ones(MANY, 4), np.resize(np.float32([1, 2, 0]), (2, 4)), np.resize(np.float32([1, 3, 0]), (2, 4))),
    ),
    "rms_norm": (layers.rms_norm, (np.resize(np.float32([1, 2, 4]), (MANY, 3)), ones(3))),
    "rnn": (
        functools.partial(layers.rnn, activation=lambda z: z / 2),
        (ones(2, TIME, 3), ones(2, 2), ones(3, 2) / 8, ones(2, 2) / 8, ones(2)),
    ),
    "rnn_cell": (layers.rnn_cell, (ones(MANY, 2), ones(MANY, 3), ones(3, 2), ones(2, 2), ones(2))),
    "scaled_dot_product_attention": (
        layers.scaled_dot_product_attention,
        (ones(MANY, 4), np.resize(np.float32([1, 2, 0]), (2, 4)), np.resize(np.float32([1, 3, 0]), (2, 4))),
    ),
    "shakeout": (lambda w, rate, c: layers.shakeout(KEY, w, rate, c=c), (ones(64, 128), ones() / 2, ones())),
    "spatial_dropout": (
        lambda x, rate: layers.spatial_dropout(KEY, x, rate),
        (ones(32, 4, 4, 16), ones() / 2),
    ),
    "squeeze_excitation": (
        layers.squeeze_excitation,
        (ones(MANY, 2, 2, 3), ones(3, 2), ones(2), ones(2, 3), ones(3)),
    ),
    "stochastic_depth": (lambda x, rate: layers.stochastic_depth(KEY, x, rate), (ones(MANY, 1), ones() / 2)),
    "weighted_pool2d": (
        layers.weighted_pool2d,
        (np.resize(np.float32([1, 2, 4, 0, 3]), (32, 16, 16, 3)), np.float32([[1, 2], [3, 5]])),
    ),
    "whiteout": (
        lambda x, w, b, sigma: layers.whiteout(KEY, x, w, b, sigma=sigma),
        (ones(MANY, 3), ones(3, 4), ones(4), ones()),
    ),
}
SHARE_NOTHING = {  # functions that broadcast no argument over entries of another
    *(
        "avg_pool2d",
        "batch_statistics",
        "cached_attention",
        "capsule_length",
        "dynamic_routing",
        "global_avg_pool2d",
        "global_max_pool2d",
    ),
    *("l2_pool2d", "local_contrast_norm", "max_pool2d", "max_pool2d_argmax", "max_unpool2d", "squash"),
    *("reverse_sequence", "rotary", "sinusoidal_positions"),
    "zoneout",  # its draws have no gradient
}
ACTIVATIONS = {  # their learned slopes
    "elu": lambda x, alpha: activations.elu(x, alpha=alpha),
    "leaky_relu": lambda x, slope: activations.leaky_relu(x, negative_slope=slope),
    "swish": lambda x, beta: activations.swish(x, beta=beta),
}


def gradients(f, args, dtype):
    """Return the gradients of the sum of all outputs, divided by 16 so that no 16-bit number overflows."""

    def total(args):
        return jax.tree.leaves(f(*args))[0].astype(jnp.float32).sum() / 16

    return jax.jit(jax.grad(total))([jnp.asarray(a, jnp.bfloat16).astype(dtype) for a in args])


def test_every_layer_is_held_to_float32_sums():
    functions = {name for name in layers.__all__ if callable(getattr(layers, name))}
    assert functions == {*SHARED, *SHARE_NOTHING}
    assert not {*SHARED} & SHARE_NOTHING


@pytest.mark.parametrize("name", [*SHARED, *ACTIVATIONS])
def test_sums_over_many_entries_are_made_in_float32(name):
    f, args = SHARED.get(name) or (ACTIVATIONS[name], (-ones(MANY), ones()))
    for got, exact in zip(gradients(f, args, jnp.bfloat16), gradients(f, args, jnp.float32), strict=True):
        assert got.dtype == jnp.bfloat16
        scale = np.abs(exact).max()
        # one rounding is 2⁻⁹, and 2,000 steps of a 16-bit state add a few; a saturated sum would lose most of its value
        np.testing.assert_allclose(got.astype(np.float32), exact, atol=0.03 * scale + 1e-6)


def test_the_bias_of_the_issue():
    x, kernel, bias = jnp.ones((32, 32, 32, 1)), jnp.ones((1, 1, 1, 1)), jnp.zeros(1)
    args = [a.astype(jnp.bfloat16) for a in (x, kernel, bias)]
    assert jax.grad(lambda b: (layers.conv2d(*args[:2], b).astype(jnp.float32) / 16).sum())(args[2]) == 2048


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "got"), [(jnp.int32, "<class"), ("bf16", "'bf16'"), (None, "None"), (nn.Dense(2), "a Layer")]
)
def test_compute_in_names_what_is_no_floating_dtype(dtype, got, untyped):
    with pytest.raises(ValueError, match=f"dtype: got {got}.*allowed are floating"):
        nn.compute_in(dtype, nn.Dense(2))


def test_compute_in_has_float32_gradients_of_many_places():
    net = nn.serial(
        conv=nn.Conv(3, 3), act=activations.leaky_relu, norm=nn.BatchNorm(), pool=nn.global_avg_pool, fc=nn.Dense(2)
    )
    params, state = net.init(KEY, (16, 16, 2))
    images = jax.random.uniform(KEY, (64, 16, 16, 2))

    def gradient(layer):
        return jax.grad(lambda params: layer.apply(params, state, images)[0].sum())(params)

    half, exact = gradient(nn.compute_in(jnp.bfloat16, net)), gradient(net)
    for got, want in zip(jax.tree.leaves(half), jax.tree.leaves(exact), strict=True):
        assert got.dtype == jnp.float32
        np.testing.assert_allclose(got, want, atol=0.03 * np.abs(want).max())


def test_float32_adds_nothing_to_what_is_computed():
    """Widening depends on the dtype, so a float32 program has no conversion."""
    for name in ("conv2d", "dense", "rnn", "lstm"):
        f, args = SHARED[name]
        program = str(jax.make_jaxpr(lambda *args, f=f: jax.vjp(f, *args)[0])(*args))
        assert "convert_element_type" not in program, name


# ---------------------------------------------------------------- every layer: donation, checks

EXAMPLE = re.compile(r">>> (nn\..+)\.out_shape\((.+)\)\n(?: +)(.+)")
PLAIN = {  # layers, not what makes them, and functions that are layers
    "flatten": (nn.flatten, (2, 2), (4,)),
    "function": (nn.function(jnp.tanh), (3,), (3,)),
    "global_avg_pool": (nn.global_avg_pool, (4, 4, 2), (2,)),
    "identity": (nn.identity, (3,), (3,)),
}
NO_LAYERS = {"Layer", "Op", "WithAuxiliary", "at", "child_key", "paths", "replace"}  # types, tools on trees


def from_docstring(name):
    """Return the example in a constructor's docstring: the layer, its input shape and its output shape."""
    found = EXAMPLE.search(inspect.getdoc(getattr(nn, name)))
    return tuple(eval(words, {"nn": nn, "jnp": jnp}) for words in found.groups()) if found else None


DOCUMENTED = {name: from_docstring(name) for name in nn.__all__ if name not in {*PLAIN, *NO_LAYERS}}
EXAMPLES = {**PLAIN, **{name: found for name, found in DOCUMENTED.items() if found}}
BODY = {"a": nn.Dense(3), "b": nn.BatchNorm()}
FORMS = {  # options that change a layer's inputs, parameters or computation
    "GRU, both ways, with lengths": (nn.GRU(2, depth=2, bidirectional=True, lengths=True), ((4, 3), ())),
    "LSTM, last": (nn.LSTM(2, output="last", zoneout_rate=0.2), (4, 3)),
    "MultiHeadAttention, masked": (nn.MultiHeadAttention(4, 2, cross=True, masked=True), ((3, 4), (5, 2), (3, 5))),
    "MultiHeadAttention, cached": (nn.MultiHeadAttention(4, 2, causal=True, rotary=True, cache=(2, 8)), (3, 4)),
    "PositionEmbedding, cached": (nn.PositionEmbedding(8, cache=True), (3, 4)),
    "compute_in": (nn.compute_in(jnp.bfloat16, nn.serial(**BODY)), (3,)),
    "inputs by name": (
        nn.parallel("concat", a=nn.pick("table", nn.Dense(2)), b=nn.pick("word", nn.Embedding(5, 2))),
        {"table": (3,), "word": ()},
    ),
    "remat": (nn.remat(nn.serial(**BODY)), (3,)),
    "residual": (nn.residual(nn.serial(**BODY)), (3,)),
    "shared": (nn.shared(nn.serial(a=BODY["a"], norm=BODY["b"], b=BODY["a"], again=BODY["b"])), (3,)),
    "TransformerBlock": (
        nn.TransformerBlock(
            nn.MultiHeadAttention(4, 2), nn.Dense(4), norm_first=False, dropout=0.1, depth_rate=0.1, layer_scale=0.1
        ),
        (3, 4),
    ),
}
ALL = {**{name: (layer, in_shape) for name, (layer, in_shape, _) in EXAMPLES.items()}, **FORMS}
MODELS = {  # with leaves of their own
    "lenet5_1998": (models.lenet5_1998(), (28, 28, 1)),
    "capsnet": (models.capsnet(2, image_shape=(28, 28, 1), width=1 / 32), (28, 28, 1)),
}


def batch(layer, in_shape, size=2):
    """Return inputs for the layer: ones are valid symbols, places and lengths, too."""
    return jax.tree.map(
        lambda one: jnp.ones(one.shape, one.dtype), abstract_batch(in_shape, size, layer.op.input_dtype)
    )


def test_every_layer_has_an_example_in_its_docstring():
    assert [name for name, found in DOCUMENTED.items() if not found] == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_gives_the_shape_that_it_says(name):
    layer, in_shape, expected = EXAMPLES[name]
    assert layer.out_shape(in_shape) == expected


def leaf_shapes(y):
    return jax.tree.map(lambda a: a.shape[1:], y)


@pytest.mark.parametrize("name", ALL)
def test_apply_gives_the_shape_that_out_shape_says_also_of_an_empty_batch(name):
    layer, in_shape = ALL[name]
    size = 2 if "cached" in name else 0  # a cache has a fixed number of examples
    y = jax.eval_shape(lambda: layer.apply(*layer.init(KEY, in_shape), batch(layer, in_shape, size))[0])
    assert leaf_shapes(y) == layer.out_shape(in_shape)
    assert {a.shape[0] for a in jax.tree.leaves(y)} == {size}


@pytest.mark.parametrize("name", ALL)
def test_laws_of_layers(name):
    """Every layer works in ensembles by vmap, under jit, grad and remat, and the summary counts its parameters."""
    layer, in_shape = ALL[name]
    x = batch(layer, in_shape)
    params, state = jax.vmap(lambda key: layer.init(key, in_shape))(jax.random.split(KEY, 2))
    floats = [a for a in jax.tree.leaves(x) if laws.is_float(a)]

    def outputs(params, state, x):
        y, new_state = layer.apply(params, state, x, train=True, key=KEY)
        again = nn.remat(layer).apply(params, state, x, train=True, key=KEY)[0]
        return y, again, new_state

    def total(params, state, x):
        y, new_state = layer.apply(params, state, x, train=True, key=KEY)
        return sum(jnp.sum(jnp.square(a)) for a in jax.tree.leaves(y) if laws.is_float(a)), (y, new_state)

    def everything(params, state):
        grads, (y, new_state) = jax.grad(total, (0, 2), has_aux=True, allow_int=True)(params, state, x)
        finite = [jnp.isfinite(g).all() for g in jax.tree.leaves(grads) if laws.is_float(g)]
        return (y, y, new_state), finite

    (mapped, finite), one = laws.quick_jit(
        lambda params, state: (
            jax.vmap(everything, axis_size=2)(params, state),
            outputs(*jax.tree.map(lambda a: a[1], (params, state)), x),
        )
    )(params, state)
    assert all(np.array(ok).all() for ok in finite)
    for a, b in zip(jax.tree.leaves(mapped), jax.tree.leaves(one), strict=True):
        np.testing.assert_allclose(a[1], b, rtol=2e-5, atol=2e-6)
    y, again, new_state = one
    for a, b in zip(jax.tree.leaves(y), jax.tree.leaves(again), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)
    assert jax.tree.map(jnp.shape, new_state) == jax.tree.map(lambda a: a.shape[1:], state)
    counted = sum(a.size for a in jax.tree.leaves(params)) // 2
    if "cached" not in name:  # which is made for a number of examples; parameters are those of the same without
        assert analysis.summary(layer, in_shape, train=True).parameters == counted
    assert floats or layer.op.input_dtype == jnp.int32


@pytest.mark.parametrize("name", ALL)
def test_half_precision_stays_half_precision(name):
    layer, in_shape = ALL[name]
    narrow = functools.partial(jax.tree.map, lambda a: a.astype(jnp.bfloat16) if laws.is_float(a) else a)
    params, state = layer.init(KEY, in_shape)
    statistics = narrow(state) if "cached" in name else state
    y, new_state = jax.eval_shape(
        functools.partial(layer.apply, train=True, key=KEY), narrow(params), statistics, narrow(batch(layer, in_shape))
    )
    kept = jnp.float32 if name == "compute_in" else jnp.bfloat16
    arrays = [a for a in jax.tree.leaves(y) if a.shape]  # the weights of auxiliary losses are numbers
    assert {a.dtype for a in arrays if laws.is_float(a)} <= {jnp.dtype(kept)}
    assert jax.tree.map(lambda a: a.dtype, new_state) == jax.tree.map(lambda a: a.dtype, statistics)


@pytest.mark.parametrize("name", sorted({*DOCUMENTED} - {"tap"}))
def test_a_layer_prints_as_it_was_declared(name):
    words = EXAMPLE.search(inspect.getdoc(getattr(nn, name))).group(1).replace("nn.", "")
    said = repr(DOCUMENTED[name][0])
    assert "".join(said.split()).replace(",)", ")") == "".join(words.replace("jnp.", "").replace('"', "'").split())


@pytest.mark.parametrize("name", ALL)
def test_fresh_parameters_and_states_can_be_donated_and_made_again(name):
    layer, in_shape = ALL[name]
    params, state = layer.init(KEY, in_shape)
    copies = jax.tree.map(np.array, (params, state))
    step = jax.jit(lambda params, state: jax.tree.map(lambda x: x * 1, (params, state)), donate_argnums=(0, 1))
    step(params, state)
    for a, b in zip(jax.tree.leaves(layer.init(KEY, in_shape)), jax.tree.leaves(copies), strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_initialiser_that_keeps_its_array_can_be_donated():
    kept = jnp.eye(3)
    layer = nn.Dense(3, kernel_init=lambda key, shape: kept, bias_init=lambda key, shape: kept[0])
    params, state = layer.init(KEY, (3,))
    jax.jit(lambda params: jax.tree.map(lambda x: x * 1, params), donate_argnums=0)(params)
    np.testing.assert_array_equal(layer.init(KEY, (3,))[0]["kernel"], np.eye(3))
    del state


@pytest.mark.parametrize("name", [*ALL, *MODELS])
def test_arguments_in_wrong_places_are_named(name, untyped):
    layer, in_shape = {**ALL, **MODELS}[name]
    params, state = jax.jit(lambda key: layer.init(key, in_shape))(KEY)
    x = batch(layer, in_shape)
    wrong = {
        r"key: got 0, allowed are PRNG keys": [
            lambda: layer.init(0, in_shape),
            lambda: layer.apply(params, state, x, train=True, key=0),
        ],
        r"in_shape: got 4, allowed are tuples of ints": [lambda: layer.init(KEY, 4), lambda: layer.out_shape(4)],
        r"in_shape: got \(4\.0,\), allowed": [lambda: layer.init(KEY, (4.0,))],
        r"in_shape: got an array of shape": [lambda: layer.init(KEY, jnp.ones((2, 3)))],
        r"params: got None, allowed are dicts": [lambda: layer.apply(None, state, x)],
        r"params: got an array of shape": [lambda: layer.apply(jnp.ones((2, 3)), params, state)],
        r"params: got a tuple, allowed are dicts": [lambda: layer.apply((params, state), x)],
        r"state: got None, allowed are dicts": [lambda: layer.apply(params, None, x)],
        r"state: got an array of shape .*apply takes \(params, state, x\)": [
            lambda: layer.apply(params, jnp.ones((2, 3)))
        ],
        r"x: got None, allowed are arrays; apply takes": [lambda: layer.apply(params, state)],
    }
    for message, calls in wrong.items():
        for call in calls:
            with pytest.raises(ValueError, match=message):
                call()
    if params or state:
        with pytest.raises(ValueError, match=r"got \[\], but \w+ needs '"):
            layer.apply({}, {}, x)
    if params:
        with pytest.raises(ValueError, match=r"has it, so the two may be swapped|but .* needs '|got \['"):
            layer.apply(state, params, x)


def test_parameters_of_another_shape_are_refused():
    x, images = jnp.ones((2, 3)), jnp.ones((2, 5, 5, 2))
    for made, used, data, message in (
        (nn.Dense(5), nn.Dense(10), x, r"Dense got 'kernel' of shape \(3, 5\), allowed is \(any, 10\)"),
        (
            nn.Conv(5, 3),
            nn.Conv(6, 3),
            images,
            r"Conv got 'kernel' of shape \(3, 3, 2, 5\), allowed is \(3, 3, any, 6\)",
        ),
        (nn.Conv(5, 3), nn.Conv(5, 5), images, r"allowed is \(5, 5, any, 5\)"),
        (nn.Dense(5), nn.Dense(5, bias=False), x, r"Dense got \['bias'\], allowed are \['kernel'\]"),
    ):
        params, state = made.init(KEY, data.shape[1:])
        with pytest.raises(ValueError, match=message):
            used.apply(params, state, data)
    norm = nn.BatchNorm()
    params, state = norm.init(KEY, (1,))  # this shape would broadcast
    for train in (False, True):
        with pytest.raises(ValueError, match=r"BatchNorm got 'mean' of shape \(1,\), allowed is \(3,\)"):
            norm.apply(params, state, x, train=train)
    with pytest.raises(ValueError, match=r"in deep: in fc: params: Dense got 'bias' of shape \(2,\)"):
        nn.serial(deep=nn.serial(fc=nn.Dense(5))).apply(
            {"deep": {"fc": {"kernel": ones(3, 5), "bias": ones(2)}}}, {}, x
        )


def test_layers_run_under_strict_promotion():
    for name, (layer, in_shape) in {**ALL, **MODELS}.items():
        with jax.numpy_dtype_promotion("strict"):
            params, state = jax.eval_shape(functools.partial(layer.init, in_shape=in_shape), KEY)
            run = functools.partial(layer.apply, train=True, key=KEY)
            y, _ = jax.eval_shape(run, params, state, abstract_batch(in_shape, 2, layer.op.input_dtype))
        assert all(laws.is_float(leaf) for leaf in jax.tree.leaves(y)), name
