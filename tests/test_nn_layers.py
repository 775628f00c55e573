"""Layers of sequences, noise and scaling against numpy formulas; several inputs and shared parameters."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from jaxdl import layers, nn

KEY = jax.random.key(3)
RANDOM = np.random.default_rng(0)
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def normal(*shape):
    return RANDOM.normal(size=shape).astype(np.float32)


# ---------------------------------------------------------------- functions by their formulas


@pytest.mark.parametrize("interleaved", [True, False])
def test_rotary_is_a_product_of_complex_numbers(interleaved):
    x, d = normal(2, 5, 6), 6
    pairs = (x[..., ::2], x[..., 1::2]) if interleaved else (x[..., :3], x[..., 3:])
    angles = np.arange(5)[:, None] * 100.0 ** (-2 * np.arange(3) / d)
    turned = (pairs[0] + 1j * pairs[1]) * np.exp(1j * angles)
    y = np.asarray(layers.rotary(x, base=100.0, interleaved=interleaved))
    got = (y[..., ::2], y[..., 1::2]) if interleaved else (y[..., :3], y[..., 3:])
    np.testing.assert_allclose(got[0] + 1j * got[1], turned, **CLOSE)


def test_scores_of_rotated_vectors_depend_on_the_distance_alone():
    q, k = normal(6), normal(6)
    at = lambda x, place: layers.rotary(jnp.asarray(x)[None], jnp.array([place]))[0]
    np.testing.assert_allclose(at(q, 3) @ at(k, 1), at(q, 12) @ at(k, 10), **CLOSE)


def test_sinusoidal_positions_by_the_formula():
    y = layers.sinusoidal_positions(np.arange(4), features=6)
    for p in range(4):
        for i in range(3):
            angle = p / 10_000 ** (2 * i / 6)
            np.testing.assert_allclose(y[p, 2 * i : 2 * i + 2], [np.sin(angle), np.cos(angle)], **CLOSE)


def test_attention_by_a_loop_and_a_query_without_a_key():
    q, k, v = normal(4, 3), normal(5, 3), normal(5, 2)
    mask = RANDOM.random((4, 5)) > 0.4
    mask[2] = False
    y = layers.scaled_dot_product_attention(q, k, v, mask)
    for t in range(4):
        w = np.where(mask[t], np.exp(k @ q[t] / np.sqrt(3)), 0)
        np.testing.assert_allclose(y[t], w @ v / w.sum() if w.any() else np.zeros(2), **CLOSE)
    gradient = jax.grad(lambda q: layers.scaled_dot_product_attention(q, k, v, mask).sum())(q)
    assert np.isfinite(gradient).all()


def test_symbols_outside_the_table_give_nan():
    y = layers.embed(np.array([0, 3, -1, 2]), normal(3, 2))
    np.testing.assert_array_equal(np.isnan(y).all(1), [False, True, True, False])


def test_squeeze_excitation_and_layer_scale_by_hand():
    layer, x = nn.SqueezeExcitation(2), normal(2, 3, 4, 5)
    params = jax.tree.map(lambda p: np.asarray(p) + normal(*p.shape), layer.init(KEY, (3, 4, 5))[0])
    hidden = np.maximum(x.mean((1, 2)) @ params["reduce_kernel"] + params["reduce_bias"], 0)
    gate = 1 / (1 + np.exp(-(hidden @ params["expand_kernel"] + params["expand_bias"])))
    np.testing.assert_allclose(layer.apply(params, {}, x)[0], x * gate[:, None, None], **CLOSE)
    params, _ = nn.LayerScale(0.5).init(KEY, (5,))
    np.testing.assert_array_equal(params["scale"], np.full(5, 0.5))
    scale = normal(5)
    np.testing.assert_allclose(nn.LayerScale().apply({"scale": scale}, {}, x)[0], x * scale, rtol=1e-6)


def test_prelu_by_hand():
    layer, x = nn.PReLU(0.5), normal(2, 3, 5)
    params, _ = layer.init(KEY, (3, 5))
    np.testing.assert_array_equal(params["slope"], np.full(5, 0.5))
    slope = normal(5)
    np.testing.assert_allclose(layer.apply({"slope": slope}, {}, x)[0], np.where(x > 0, x, slope * x), rtol=1e-6)


def test_reversing_within_the_length_is_its_own_inverse():
    x = np.arange(8.0).reshape(2, 4, 1)
    y = layers.reverse_sequence(x, np.array([3, 1]))
    np.testing.assert_array_equal(y[..., 0], [[2, 1, 0, 3], [4, 5, 6, 7]])
    np.testing.assert_array_equal(layers.reverse_sequence(y, np.array([3, 1])), x)


# ---------------------------------------------------------------- layers are their functions


small = st.integers(1, 3)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), small, small, small, st.sampled_from(["SAME", "VALID", 0, 1, (0, 1)]), st.integers(0, 2))
def test_out_shape_of_transposed_convolutions(n, window, stride, dilation, padding, more):
    assume(more < max(stride, dilation))
    options = {"stride": stride, "dilation": dilation, "padding": padding, "output_padding": more}
    layer, in_shape = nn.ConvTranspose1d(2, window, **options), (n, 3)

    def applied():
        return jax.eval_shape(lambda: layer.apply(*layer.init(KEY, in_shape), jnp.ones((1, *in_shape)))[0]).shape[1:]

    assert outcome(applied) == outcome(lambda: layer.out_shape(in_shape))


def outcome(run):
    """Return the result, or the message of its error."""
    try:
        return run()
    except ValueError as error:
        return str(error)


def test_a_convolution_and_its_transpose_are_adjoint():
    """⟨conv(x), y⟩ = ⟨x, transposed(y)⟩ for every size of x that gives y's size."""
    options = {"stride": 3, "padding": 1}
    kernel = normal(4, 4, 2, 3)
    for size, more in ((5, 0), (6, 1), (7, 2)):
        x = normal(size, size, 2)
        z = layers.conv2d(x, kernel, **options)
        y = normal(*z.shape)
        back = nn.ConvTranspose(2, 4, output_padding=more, bias=False, **options)
        found, _ = back.apply({"kernel": jnp.asarray(kernel).swapaxes(2, 3)}, {}, y[None])
        assert found.shape == (1, *x.shape)
        np.testing.assert_allclose((z * y).sum(), (x * found[0]).sum(), rtol=1e-3, atol=1e-3)


def test_unpooling_takes_values_back_to_their_places():
    x = normal(2, 4, 6, 3)
    pair = nn.parallel(tuple, values=nn.MaxPool(2), places=layers.max_pool2d_argmax)
    net = nn.serial(pool=pair, back=nn.MaxUnpool(2), again=nn.MaxPool(2))
    assert net.out_shape((4, 6, 3)) == (2, 3, 3)
    (y, seen), _ = nn.tap(net, ["back"]).apply({}, {}, x)
    back = np.asarray(seen["back"])
    assert ((back == 0) | (back == x)).all()
    assert (back != 0).sum() == 2 * 2 * 3 * 3
    np.testing.assert_array_equal(y, np.where(np.asarray(y) == 0, 0, nn.MaxPool(2).apply({}, {}, x)[0]))
    assert nn.MaxUnpool(3, stride=2, size=(7, 8)).out_shape(((3, 3, 1), (3, 3, 1))) == (7, 8, 1)


NOISE = {
    "SpatialDropout": (nn.SpatialDropout(0.4), lambda key, x: layers.spatial_dropout(key, x, 0.4)),
    "GaussianDropout": (nn.GaussianDropout(0.4), lambda key, x: layers.gaussian_dropout(key, x, 0.4)),
    "StochasticDepth": (nn.StochasticDepth(0.4), lambda key, x: layers.stochastic_depth(key, x, 0.4)),
}


@pytest.mark.parametrize("name", NOISE)
def test_noise_is_the_function_s_in_training_and_nothing_in_evaluation(name):
    layer, function = NOISE[name]
    x = normal(6, 4, 4, 3)
    np.testing.assert_array_equal(layer.apply({}, {}, x, train=True, key=KEY)[0], function(KEY, x))
    assert layer.apply({}, {}, x)[0] is x
    with pytest.raises(ValueError, match=f"key: got None, but {name} draws at random"):
        layer.apply({}, {}, x, train=True)


def test_stochastic_depth_drops_whole_examples_and_keeps_the_mean():
    x = np.ones((4000, 3), np.float32)
    y = np.asarray(nn.StochasticDepth(0.25).apply({}, {}, x, train=True, key=KEY)[0])
    assert set(np.unique(y)) == {0, np.float32(1 / 0.75)}
    assert (y == y[:, :1]).all()
    assert abs((y[:, 0] == 0).mean() - 0.25) < 5 * np.sqrt(0.25 * 0.75 / 4000)


@pytest.mark.parametrize(
    "layer",
    [nn.DropConnect(nn.Dense(4), 0.5), nn.Shakeout(nn.Dense(4), 0.5, c=0.1), nn.Whiteout(4, sigma=0.5)],
    ids=["DropConnect", "Shakeout", "Whiteout"],
)
def test_noise_on_kernels_has_the_layer_itself_as_mean(layer):
    params, state = layer.init(KEY, (3,))
    x = jnp.array([[1.0, -2.0, 3.0], [2.0, 1.0, -1.0]])  # not drawn: small inputs have little noise
    plain, _ = nn.Dense(4).apply(params, {}, x)
    np.testing.assert_array_equal(layer.apply(params, state, x)[0], plain)
    draws = jax.vmap(lambda key: layer.apply(params, state, x, train=True, key=key)[0])(jax.random.split(KEY, 4000))
    assert (draws.std(0) > 0.05).all()
    np.testing.assert_allclose(draws.mean(0), plain, atol=6 * float(draws.std(0).max()) / np.sqrt(4000))


def test_dropconnect_of_a_network_draws_each_kernel_by_itself_and_leaves_biases():
    net = nn.DropConnect(nn.serial(a=nn.Dense(50), b=nn.Dense(50)), 0.5)
    assert nn.paths(net) == ["a", "b"]
    params, _ = net.init(KEY, (50,))
    params = jax.tree.map(jnp.ones_like, params)
    tapped = nn.tap(net, ["a"])
    (_, seen), _ = tapped.apply(params, {}, jnp.eye(50), train=True, key=KEY)
    assert set(np.unique(seen["a"])) == {1, 3}  # the bias is 1, the weights are 0 or 2
    with pytest.raises(ValueError, match="which has no kernel that DropConnect could change"):
        nn.DropConnect(nn.LayerNorm(), 0.5).init(KEY, (3,))


def test_zoneout_keeps_units_in_training_and_takes_the_mean_in_evaluation():
    new, old = np.ones((500, 4), np.float32), np.zeros((500, 4), np.float32)
    layer = nn.Zoneout(0.3)
    np.testing.assert_allclose(layer.apply({}, {}, (new, old))[0], 0.7, rtol=1e-6)
    y = layer.apply({}, {}, (new, old), train=True, key=KEY)[0]
    assert abs(float((y == 0).mean()) - 0.3) < 5 * np.sqrt(0.21 / 2000)
    lstm = nn.LSTM(2, zoneout_rate=0.3)
    params, _ = lstm.init(KEY, (5, 3))
    x, start = normal(4, 5, 3), np.zeros((4, 2), np.float32)
    arrays = [params[name] for name in ("kernel", "recurrent_kernel", "bias")]
    for train, key in ((True, KEY), (False, None)):
        expected = layers.lstm(x, (start, start), *arrays, zoneout_rate=0.3, train=train, key=key)[0]
        np.testing.assert_array_equal(lstm.apply(params, {}, x, train=train, key=key)[0], expected)
    with pytest.raises(ValueError, match="key: got None, but LSTM draws"):
        lstm.apply(params, {}, x, train=True)


@pytest.mark.slow
def test_padding_changes_no_state_and_layers_stand_on_one_another():
    net = nn.GRU(3, depth=2, bidirectional=True, lengths=True, output="last")
    params, state = net.init(KEY, ((6, 2), ()))
    x = normal(2, 6, 2)
    other = x.copy()
    other[0, 4:], other[1, 2:] = 9, -9
    lengths = np.array([4, 2])
    y, _ = net.apply(params, state, (x, lengths))
    np.testing.assert_array_equal(y, net.apply(params, state, (other, lengths))[0])
    alone = nn.GRU(3, depth=2, bidirectional=True, output="last")
    np.testing.assert_allclose(y[1], alone.apply(params, state, x[1:, :2])[0][0], **CLOSE)
    first = nn.GRU(3, bidirectional=True).apply(params["layer1"], {}, x[1:, :2])[0]
    second = nn.GRU(3, bidirectional=True, output="last").apply(params["layer2"], {}, first)[0]
    np.testing.assert_allclose(y[1], second[0], **CLOSE)


# ---------------------------------------------------------------- several inputs


def two_towers():
    return nn.serial(
        towers=nn.parallel(
            "concat",
            image=nn.pick("image", nn.serial(conv=nn.Conv(2, 3), flat=nn.flatten)),
            table=nn.pick("table", nn.Dense(3)),
        ),
        head=nn.Dense(2),
    )


def test_a_dict_of_inputs_by_name():
    net, in_shape = two_towers(), {"table": (4,), "image": (3, 3, 1)}
    params, state = net.init(KEY, in_shape)
    assert net.out_shape(in_shape) == (2,)
    x = {"image": normal(5, 3, 3, 1), "table": normal(5, 4)}
    conv = nn.Conv(2, 3).apply(params["towers"]["image"]["conv"], {}, x["image"])[0].reshape(5, 18)
    table = nn.Dense(3).apply(params["towers"]["table"], {}, x["table"])[0]
    expected = nn.Dense(2).apply(params["head"], {}, jnp.concatenate([conv, table], -1))[0]
    np.testing.assert_allclose(net.apply(params, state, x)[0], expected, **CLOSE)
    (_, seen), _ = nn.tap(net, ["towers/image/conv"]).apply(params, state, x)
    assert seen["towers/image/conv"].shape == (5, 3, 3, 2)
    wide = nn.replace(net, "towers/image/conv", nn.Conv(4, 3))
    assert wide.init(KEY, in_shape)[0]["head"]["kernel"].shape == (39, 2)
    half = nn.compute_in(jnp.bfloat16, net).apply(params, state, x)[0]
    np.testing.assert_allclose(half, expected, atol=0.05)


@pytest.mark.parametrize(
    ("layer", "in_shape", "message"),
    [
        (two_towers(), {"image": (3, 3, 1)}, r"in towers: in table: in_shape: got .*pick\('table', ...\) takes a part"),
        (nn.pick(2), ((3,), (4,)), r"of which pick\(2, ...\) takes a part"),
        (nn.pick(0), (3, 4), r"of which pick\(0, ...\)"),
        (nn.Dense(2), ((3,), (4,)), "but Dense takes at least one axis"),
        (nn.Conv(2, 3), ((3,), (4,), (5,)), "but Conv takes images"),
        (nn.flatten, ((3,), (4,)), "but flatten takes one array"),
        (nn.parallel("sum", a=nn.identity, b=nn.identity), ((3,), (4,)), "'sum' does not fit"),
        (nn.Zoneout(0.1), (3,), "but Zoneout takes a tuple of the shapes of the new state"),
        (nn.GRU(2, lengths=True), (4, 3), "but GRU takes a tuple of the shapes of the sequences"),
        (nn.GRU(2), (4,), r"but GRU takes sequences \(steps, features\)"),
        (nn.MultiHeadAttention(4, 2, cross=True), (3, 4), r"pick\(0, ...\) takes a part"),
        (nn.PositionEmbedding(3), (4, 2), "got 4 steps, but PositionEmbedding was made for at most 3"),
        (
            nn.PositionEmbedding(3, exact=True),
            (2, 2),
            r"got 2 steps, but PositionEmbedding\(exact=True\) was made for 3",
        ),
        (nn.SinusoidalPositions(), (4, 3), "got 3 features, but SinusoidalPositions takes an even number"),
        (nn.GroupNorm(2), (4, 4, 3), "groups: got 2"),
        (nn.Attention(3), ((2, 4), (2, 4), (2, 4)), "do not fit one another or 3 heads"),
    ],
)
def test_inputs_that_do_not_fit_are_named(layer, in_shape, message):
    with pytest.raises(ValueError, match=message):
        layer.out_shape(in_shape)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.ConvTranspose(2, 3, output_padding=1), "output_padding: got 1, allowed are ints from 0 to"),
        (lambda: nn.LSTM(0), "units: got 0"),
        (lambda: nn.PositionEmbedding(3, exact=True, cache=True), "exact: got True with cache=True"),
        (lambda: nn.RNN(2, depth=0), "depth: got 0"),
        (lambda: nn.GRU(2, zoneout_rate=1.0), "rate: got 1.0"),
        (lambda: nn.MultiHeadAttention(6, 4), "features: got 6, allowed are multiples of the number of heads, 4"),
        (lambda: nn.MultiHeadAttention(4, 2, cross=True, causal=True), "cross: got True"),
        (lambda: nn.Attention(2, cache=(1, 8)), r"cache: got \(1, 8\), allowed are .* causal attention"),
        (lambda: nn.Shakeout(nn.Dense(2), 0.1, c=-1.0), "c: got -1.0"),
        (lambda: nn.Whiteout(2, sigma=-1.0), "sigma: got -1.0"),
        (lambda: nn.LocalContrastNorm(size=4), "size: got 4"),
        (lambda: nn.Embedding(0, 3), "symbols: got 0"),
        (lambda: nn.RMSNorm(eps=-1.0), "eps: got -1.0"),
    ],
)
def test_options_that_are_wrong_are_named_at_once(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# ---------------------------------------------------------------- shared parameters


def test_one_object_at_two_places_has_one_set_of_parameters_on_request():
    fc, x = nn.Dense(3), normal(5, 3)
    apart, net = (wrap(nn.serial(a=fc, b=jnp.tanh, c=fc)) for wrap in (lambda one: one, nn.shared))
    assert set(apart.init(KEY, (3,))[0]) == {"a", "c"}
    params, state = net.init(KEY, (3,))
    assert set(params) == {"a"}
    np.testing.assert_array_equal(params["a"]["kernel"], apart.init(KEY, (3,))[0]["a"]["kernel"])  # keys are the same
    both = {"a": params["a"], "c": params["a"]}
    np.testing.assert_array_equal(net.apply(params, state, x)[0], apart.apply(both, {}, x)[0])
    gradient = jax.grad(lambda p: net.apply(p, state, x)[0].sum())(params)
    parts = jax.grad(lambda p: apart.apply(p, {}, x)[0].sum())(both)
    np.testing.assert_allclose(gradient["a"]["kernel"], parts["a"]["kernel"] + parts["c"]["kernel"], rtol=1e-5)
    (_, seen), _ = nn.tap(net, ["c"]).apply(params, state, x)
    np.testing.assert_array_equal(seen["c"], net.apply(params, state, x)[0])
    assert set(nn.replace(net, "b", nn.identity).init(KEY, (3,))[0]) == {"a"}
    assert repr(net) == "shared(serial(a=Dense(3), b=tanh, c=Dense(3)))"


def test_places_by_name_below_the_top_and_each_with_its_own_state():
    norm = nn.BatchNorm()
    block = nn.serial(fc=nn.Dense(3), norm=norm)
    net = nn.shared(nn.serial(first=block, second=nn.serial(fc=nn.Dense(3), norm=norm)), {"second/fc": "first/fc"})
    params, state = net.init(KEY, (3,))
    assert {name: set(own) for name, own in params.items()} == {"first": {"fc", "norm"}, "second": {"norm"}}
    whole = nn.shared(nn.serial(first=block, second=block))
    params, state = whole.init(KEY, (3,))
    assert set(params) == {"first"}
    assert set(state) == {"first", "second"}
    _, moved = whole.apply(params, state, 5 + normal(6, 3), train=True)
    assert float(jnp.abs(moved["first"]["norm"]["mean"] - moved["second"]["norm"]["mean"]).max()) > 0


@pytest.mark.parametrize(
    ("places", "message"),
    [
        (None, "places: got none, and no Layer object stands at two places"),
        ({"d": "a"}, "path: got 'd'"),
        ({"b/x": "b"}, "places: got 'b/x': 'b', allowed are parts outside one another"),
        ({"a": "c", "c": "b/x"}, "places: got 'a': 'c', which uses the parameters of 'b/x' itself"),
    ],
)
def test_places_that_cannot_share_are_named(places, message):
    net = nn.serial(a=nn.Dense(3), b=nn.serial(x=nn.Dense(3)), c=nn.Dense(3))
    with pytest.raises(ValueError, match=message):
        nn.shared(net, places)


def test_places_of_other_shapes_are_named_by_init():
    net = nn.shared(nn.serial(a=nn.Dense(3), b=nn.Dense(4)), {"b": "a"})
    with pytest.raises(ValueError, match=r"places: 'b' has parameters .*\(3, 4\).*allowed are those of 'a'"):
        net.init(KEY, (3,))


# ---------------------------------------------------------------- repr


def test_a_network_prints_as_it_was_declared():
    net = nn.serial(conv1=nn.Conv(32, 3), relu1=jax.nn.relu, pool=nn.MaxPool(2, stride=1), flat=nn.flatten)
    assert repr(net) == "serial(conv1=Conv(32, 3), relu1=relu, pool=MaxPool(2, stride=1), flat=flatten)"
    assert repr(nn.replace(net, "conv1", nn.identity)).startswith("serial(conv1=identity, relu1=relu")
    assert repr(nn.residual(nn.Dense(3))) == "residual(Dense(3))"
    assert repr(nn.Dense(3, kernel_init=jax.nn.initializers.lecun_normal())).startswith("Dense(3, kernel_init=")
    long = repr(nn.serial(**{f"layer{i}": nn.Dense(10) for i in range(9)}))
    assert long.splitlines()[:2] == ["serial(", "    layer0=Dense(10),"]
    foreign = nn.Layer(net.init, net.apply, net.out_shape, {"a": nn.Dense(2)}, nn.Op("mine"))
    assert repr(foreign) == "mine(a=Dense(2))"
    assert repr(functools.reduce(lambda one, _: nn.remat(one), range(2), nn.Dense(1))) == "remat(remat(Dense(1)))"


@pytest.mark.parametrize("make", [nn.RNN, nn.GRU, nn.LSTM])
def test_a_sequence_without_a_batch_is_refused_and_so_are_missing_lengths(make):
    layer = make(4)
    params, state = layer.init(KEY, (6, 5))
    for shape in ((6, 5), (2, 6, 5, 1)):
        with pytest.raises(ValueError, match=r"x: got shape .*, allowed for .* are batches \(n, steps, features\)"):
            layer.apply(params, state, np.ones(shape, np.float32))
    layer = make(4, lengths=True)
    params, state = layer.init(KEY, ((6, 5), ()))
    with pytest.raises(ValueError, match="are pairs"):
        layer.apply(params, state, np.ones((2, 6, 5), np.float32))


def test_parts_that_are_not_there_and_sums_that_would_broadcast_are_refused():
    net = nn.parallel("sum", a=nn.pick(0, nn.Dense(2)), b=nn.pick(1, nn.Dense(2)))
    params, state = net.init(KEY, ((3,), (3,)))
    with pytest.raises(ValueError, match=r"x: got an array of shape \(4, 3\), allowed for pick\(0, ...\)"):
        net.apply(params, state, np.ones((4, 3), np.float32))
    with pytest.raises(ValueError, match="allowed for a sum is one shape"):
        net.apply(params, state, (np.ones((4, 3), np.float32), np.ones((1, 3), np.float32)))
    named = nn.pick("table", nn.Dense(2))
    params, state = named.init(KEY, {"table": (3,)})
    with pytest.raises(ValueError, match="got a dict"):
        named.apply(params, state, {"image": np.ones((4, 3), np.float32)})
