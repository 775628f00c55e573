"""flax.nnx modules as layers and back, and layers against nnx's own, up to Transformers that train."""

import functools
import sysconfig
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from sklearn.datasets import load_digits

from jaxdl import analysis, interop, losses, models, nn, optimizers, regularizers

KEY = jax.random.key(0)
RANDOM = np.random.default_rng(3)
quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
CLOSE = {"rtol": 2e-5, "atol": 2e-6}


def normal(*shape):
    return RANDOM.normal(size=shape).astype(np.float32)


class Net(nnx.Module):
    def __init__(self, rngs, rate=0.0):
        self.fc1, self.norm = nnx.Linear(3, 4, rngs=rngs), nnx.BatchNorm(4, rngs=rngs)
        self.drop, self.fc2 = nnx.Dropout(rate, rngs=rngs), nnx.Linear(4, 2, rngs=rngs)

    def __call__(self, x):
        return self.fc2(self.drop(nnx.relu(self.norm(self.fc1(x)))))


# ---------------------------------------------------------------- modules as layers, layers as modules


def test_a_module_is_a_layer_with_its_outputs_statistics_and_gradients():
    module, x = Net(nnx.Rngs(1)), jnp.asarray(normal(5, 3))
    layer = interop.from_nnx(module)
    params, state = layer.init(KEY, (3,))
    assert set(params) == {"fc1", "norm", "fc2"}
    assert jax.tree.map(jnp.shape, state) == {"norm": {"mean": (4,), "var": (4,)}}
    assert layer.out_shape((3,)) == (2,)
    module.eval()
    np.testing.assert_array_equal(layer.apply(params, state, x)[0], module(x))
    module.train()
    ours, moved = quick_jit(functools.partial(layer.apply, train=True, key=KEY))(params, state, x)
    np.testing.assert_allclose(ours, module(x), **CLOSE)
    np.testing.assert_allclose(moved["norm"]["mean"], module.norm.mean[...], **CLOSE)
    theirs = nnx.grad(lambda module: module(x).sum())(module)
    gradient = jax.grad(lambda params: layer.apply(params, state, x, train=True, key=KEY)[0].sum())(params)
    for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(nnx.to_pure_dict(theirs)), strict=True):
        np.testing.assert_allclose(a, b, **CLOSE)


def test_a_function_of_rngs_draws_parameters_by_the_key_and_noise_by_the_call_s():
    layer, x = interop.from_nnx(lambda rngs: Net(rngs, 0.5)), jnp.ones((4, 3))
    (a, state), (b, _) = (layer.init(jax.random.key(seed), (3,)) for seed in (0, 1))
    assert float(jnp.abs(a["fc1"]["kernel"] - b["fc1"]["kernel"]).max()) > 0.1
    run = functools.partial(layer.apply, a, state, x + jnp.arange(4.0)[:, None], train=True)
    one, same, other = (run(key=jax.random.key(seed))[0] for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, same)
    assert float(jnp.abs(one - other).max()) > 0
    assert jax.eval_shape(lambda key: layer.init(key, (3,)), KEY)[0]["fc2"]["kernel"].shape == (4, 2)


def test_a_module_trains_as_a_layer_and_a_layer_as_a_module():
    layer = interop.from_nnx(lambda rngs: Net(rngs, 0.1))
    x, labels = normal(8, 3), np.arange(8) % 2
    params, state = layer.init(KEY, (3,))
    net = interop.to_nnx(
        nn.serial(fc=nn.Dense(4), norm=nn.BatchNorm(), drop=nn.Dropout(0.1), out=nn.Dense(2)), (3,), rngs=nnx.Rngs(0)
    )
    optimizer = nnx.Optimizer(net, optax.sgd(0.3), wrt=nnx.Param)

    @nnx.jit
    def their_step(net, optimizer):
        loss = lambda net: losses.softmax_cross_entropy(net(x), labels).mean()
        value, grads = nnx.value_and_grad(loss)(net)
        optimizer.update(net, grads)
        return value

    @quick_jit
    def our_step(params, state, key):
        def loss(params):
            y, new_state = layer.apply(params, state, x, train=True, key=key)
            return losses.softmax_cross_entropy(y, labels).mean(), new_state

        (value, new_state), grads = jax.value_and_grad(loss, has_aux=True)(params)
        return value, jax.tree.map(lambda p, g: p - 0.3 * g, params, grads), new_state

    theirs, ours = [], []
    for i in range(25):
        theirs.append(float(their_step(net, optimizer)))
        value, params, state = our_step(params, state, jax.random.key(i))
        ours.append(float(value))
    assert np.mean(theirs[-5:]) < 0.9 * np.mean(theirs[:5])
    assert np.mean(ours[-5:]) < 0.9 * np.mean(ours[:5])
    assert float(jnp.abs(net.state["norm"]["mean"][...]).max()) > 0


def test_the_path_of_a_variable_is_that_of_its_attribute(tmp_path):
    module = Net(nnx.Rngs(1))
    params, kernels = nnx.state(module, nnx.Param), {"fc1": True, "fc2": True, "norm": False}
    plain = nnx.to_pure_dict(params)
    for mask in (optimizers.mask_by_path(".*/kernel"), regularizers.path_mask("/kernel$")):
        chosen = mask(params)
        assert jax.tree.structure(chosen) == jax.tree.structure(params)
        assert {name: any(jax.tree.leaves(part)) for name, part in nnx.to_pure_dict(chosen).items()} == kernels
        assert jax.tree.leaves(chosen) == jax.tree.leaves(mask(plain))
    assert float(regularizers.l2(params, 2.0, mask=mask)) == float(regularizers.l2(plain, 2.0, mask=mask))
    watched = analysis.watched(optax.sgd(0.1)).init(params)
    assert set(analysis.watched_layers(watched)) == {"fc1", "fc2", "norm"}

    optimizer = nnx.Optimizer(module, optimizers.chain(optax.sgd(0.1), optimizers.freeze(mask)), wrt=nnx.Param)
    optimizer.update(module, jax.tree.map(jnp.ones_like, params))
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), plain, nnx.to_pure_dict(nnx.state(module, nnx.Param)))
    assert moved["fc1"] == moved["fc2"] == {"bias": True, "kernel": False}

    interop.save(tmp_path / "net.safetensors", nnx.state(module, nnx.Param), nnx.state(module, nnx.BatchStat))
    names = interop.read(tmp_path / "net.safetensors")
    assert {"params/fc1/kernel", "state/norm/mean"} < set(names)
    again = interop.load(tmp_path / "net.safetensors", interop.from_nnx(lambda rngs: Net(rngs)), (3,))
    jax.tree.map(np.testing.assert_array_equal, again, interop.from_nnx(module).init(KEY, (3,)))


AVERAGING = optimizers.chain(optimizers.adam(0.1), optimizers.polyak_average(0.9))
ASKING = {
    "schedule-free": (optimizers.schedule_free_adamw(0.1), optimizers.eval_params),
    "average": (AVERAGING, optimizers.eval_params),
    "averaged_params": (
        AVERAGING,
        optimizers.averaged_params,
    ),
    "published Nesterov": (optimizers.nesterov(0.1, convention="paper"), optimizers.gradient_point),
}


@pytest.mark.parametrize("name", ASKING)
def test_parameters_are_judged_in_the_variables_of_a_module_and_its_optimizer(name):
    tx, judge = ASKING[name]
    module = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(module, tx, wrt=nnx.Param)
    params = nnx.state(module, nnx.Param)
    for size in (1.0, -0.5):
        optimizer.update(module, jax.tree.map(lambda w, size=size: jnp.full_like(w, size), params))
    params = nnx.state(module, nnx.Param)
    found, expected = judge(optimizer.opt_state, params), judge(nnx.as_pure(optimizer.opt_state), nnx.as_pure(params))
    assert jax.tree.structure(found) == jax.tree.structure(params)
    jax.tree.map(np.testing.assert_array_equal, nnx.as_pure(found), expected)
    assert not np.array_equal(jax.tree.leaves(found)[0], jax.tree.leaves(params)[0])


def test_there_and_back_is_the_same_layer():
    layer = nn.serial(conv=nn.Conv(2, 3), norm=nn.BatchNorm(), flat=nn.flatten, fc=nn.Dense(3))
    module = interop.to_nnx(layer, (4, 4, 1), rngs=nnx.Rngs(2))
    again = interop.from_nnx(module)
    params, state = again.init(KEY, (4, 4, 1))
    x = normal(3, 4, 4, 1)
    module.eval()
    np.testing.assert_array_equal(again.apply(params, state, x)[0], module(x))
    np.testing.assert_allclose(layer.apply(params["params"], state["state"], x)[0], module(x), **CLOSE)


@pytest.mark.parametrize(("wrong", "said"), [(3, "got int"), (Net, "got Net"), (lambda rngs: 3, "returns no module")])
def test_other_objects_than_modules_are_named(wrong, said):
    with pytest.raises(ValueError, match=f"module: .*{said}"):
        interop.from_nnx(wrong)


def test_a_module_without_a_stream_for_dropout_trains_what_draws_nothing():
    x, rngs = jnp.ones((2, 3)), nnx.Rngs(params=0)
    assert interop.to_nnx(nn.Dense(2), (3,), rngs=rngs)(x).shape == (2, 2)
    drawing = interop.to_nnx(nn.serial(fc=nn.Dense(2), drop=nn.Dropout(0.5)), (3,), rngs=rngs)
    with pytest.raises(ValueError, match="key: got None"):
        drawing(x)
    drawing.eval()
    assert drawing(x).shape == (2, 2)


# ---------------------------------------------------------------- layer by layer


def to_heads(dense, heads):
    """Split the heads off as an axis, as nnx's projections have them."""
    d_in, d_out = dense["kernel"].shape
    return {"kernel": dense["kernel"].reshape(d_in, heads, d_out // heads), "bias": dense["bias"].reshape(heads, -1)}


def attention_of(params, heads):
    given = {name: to_heads(params["project"][name], heads) for name in ("query", "key", "value")}
    kernel = params["out"]["kernel"]
    return given | {"out": {"kernel": kernel.reshape(heads, -1, kernel.shape[1]), "bias": params["out"]["bias"]}}


def norm_of(params):
    return {"scale": params["scale"], "bias": params["offset"]}


def filled(module, values):
    """Return the module with these parameters."""
    state = nnx.state(module, nnx.Param)
    nnx.replace_by_pure_dict(state, values)
    nnx.update(module, state)
    module.eval()
    return module


def noisy(params):
    """Move all parameters away from 0 and 1, so that each of them matters."""
    return jax.tree.map(lambda p: p + 0.3 * normal(*p.shape), params)


RNGS = nnx.Rngs(0)
PEERS = {  # ours, the shape of its input, theirs, our parameters as theirs
    "LayerNorm": (nn.LayerNorm(eps=1e-6), (5, 4), nnx.LayerNorm(4, use_fast_variance=False, rngs=RNGS), norm_of),
    "RMSNorm": (nn.RMSNorm(), (5, 4), nnx.RMSNorm(4, use_fast_variance=False, rngs=RNGS), lambda p: p),
    "GroupNorm": (
        nn.GroupNorm(2, eps=1e-6), (5, 4, 6),
        nnx.GroupNorm(6, num_groups=2, use_fast_variance=False, rngs=RNGS), norm_of,
    ),
    "InstanceNorm": (
        nn.InstanceNorm(eps=1e-6), (5, 4, 3),
        nnx.InstanceNorm(3, epsilon=1e-6, use_fast_variance=False, rngs=RNGS), norm_of,
    ),
    "Conv1d": (
        nn.Conv1d(4, 3, stride=2, groups=2), (9, 6),
        nnx.Conv(6, 4, (3,), strides=2, feature_group_count=2, rngs=RNGS), lambda p: p,
    ),
    "Embedding": (nn.Embedding(7, 3), (5,), nnx.Embed(7, 3, rngs=RNGS), lambda p: {"embedding": p["table"]}),
    "MultiHeadAttention": (
        nn.MultiHeadAttention(8, 2), (5, 6),
        nnx.MultiHeadAttention(2, 6, 8, 8, decode=False, rngs=RNGS), functools.partial(attention_of, heads=2),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PEERS)
def test_a_layer_is_nnxs_with_the_same_parameters(name):
    layer, in_shape, module, translate = PEERS[name]
    params, state = layer.init(KEY, in_shape)
    params = noisy(params)
    x = RANDOM.integers(0, 7, (3, *in_shape)) if name == "Embedding" else normal(3, *in_shape)
    ours = layer.apply(params, state, x)[0]
    np.testing.assert_allclose(ours, filled(module, translate(params))(jnp.asarray(x)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("causal", [False, True])
def test_masks_and_causality_are_nnxs(causal):
    layer = nn.MultiHeadAttention(8, 2, causal=causal, masked=True)
    params, _ = layer.init(KEY, ((5, 8), (5, 5)))
    params, x = noisy(params), normal(3, 5, 8)
    mask = (RANDOM.random((3, 5, 5)) > 0.5) | np.eye(5, dtype=bool)
    module = filled(nnx.MultiHeadAttention(2, 8, decode=False, rngs=RNGS), attention_of(params, 2))
    whole = mask & np.tri(5, dtype=bool) if causal else mask
    expected = module(jnp.asarray(x), mask=jnp.asarray(whole)[:, None])
    np.testing.assert_allclose(layer.apply(params, {}, (x, mask))[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", ["GRU", "LSTM", "RNN"])
def test_recurrent_networks_are_nnxs_with_lengths(kind, bidirectional):
    units, lengths, x = 3, np.int32([2, 4, 1]), normal(3, 4, 2)
    layer = getattr(nn, kind)(units, bidirectional=bidirectional, lengths=True)
    params = noisy(layer.init(KEY, ((4, 2), ()))[0])
    ways = params if bidirectional else {"forward": params}

    def run(own, reverse):
        cell = {"GRU": nnx.GRUCell, "LSTM": nnx.OptimizedLSTMCell, "RNN": nnx.SimpleCell}[kind](2, units, rngs=RNGS)
        of_x, of_h = {"kernel": own["kernel"]}, {"kernel": own["recurrent_kernel"]}
        (of_h if kind == "LSTM" else of_x)["bias"] = own["bias"]
        values = {"dense_i": of_x, "dense_h": of_h}
        net = nnx.RNN(filled(cell, values), reverse=reverse, keep_order=reverse, rngs=RNGS)
        return net(jnp.asarray(x), seq_lengths=jnp.asarray(lengths))

    if kind == "GRU":  # nnx's has no bias of its own inside the reset gate
        ways = {name: {**own, "recurrent_bias": np.zeros(units, np.float32)} for name, own in ways.items()}
    expected = np.concatenate([run(own, name == "backward") for name, own in sorted(ways.items(), reverse=True)], -1)
    given = ways if bidirectional else ways["forward"]
    ours, _ = layer.apply(given, {}, (x, lengths))
    inside = np.arange(4) < lengths[:, None]
    np.testing.assert_allclose(np.asarray(ours)[inside], expected[inside], rtol=1e-4, atol=1e-5)
    last = getattr(nn, kind)(units, bidirectional=bidirectional, lengths=True, output="last")
    ends = [expected[range(3), lengths - 1, :units]] + [expected[:, 0, units:]] * bidirectional
    np.testing.assert_allclose(last.apply(given, {}, (x, lengths))[0], np.concatenate(ends, -1), rtol=1e-4, atol=1e-5)


# ---------------------------------------------------------------- whole Transformers


class Block(nnx.Module):
    def __init__(self, features, heads, causal, eps, approximate, rngs):
        self.norm1, self.norm2 = (
            nnx.LayerNorm(features, epsilon=eps, use_fast_variance=False, rngs=rngs) for _ in range(2)
        )
        self.attention = nnx.MultiHeadAttention(heads, features, decode=False, rngs=rngs)
        self.fc1 = nnx.Linear(features, 4 * features, rngs=rngs)
        self.fc2 = nnx.Linear(4 * features, features, rngs=rngs)
        self.causal, self.approximate = causal, approximate

    def __call__(self, x):
        mask = nnx.make_causal_mask(x[..., 0]) if self.causal else None
        x = x + self.attention(self.norm1(x), mask=mask)
        return x + self.fc2(nnx.gelu(self.fc1(self.norm2(x)), approximate=self.approximate))


def block_of(params, heads):
    attention, mlp = (params[name]["body"] for name in ("attention", "mlp"))
    return {
        "norm1": norm_of(attention["norm"]), "norm2": norm_of(mlp["norm"]),
        "attention": attention_of(attention["layer"], heads), "fc1": mlp["layer"]["fc1"], "fc2": mlp["layer"]["fc2"],
    }  # fmt: skip


class ViT(nnx.Module):
    def __init__(self, rngs):
        self.patches = nnx.Conv(1, 32, (2, 2), strides=2, padding="VALID", rngs=rngs)
        self.token, self.places = nnx.Param(jnp.zeros(32)), nnx.Param(jnp.zeros((17, 32)))
        self.block1, self.block2 = (Block(32, 4, False, 1e-6, False, rngs) for _ in range(2))
        self.norm = nnx.LayerNorm(32, epsilon=1e-6, use_fast_variance=False, rngs=rngs)
        self.fc = nnx.Linear(32, 10, rngs=rngs)

    def __call__(self, x):
        x = self.patches(x).reshape(x.shape[0], 16, 32)
        token = jnp.broadcast_to(self.token[...][None, None], (x.shape[0], 1, 32))
        x = jnp.concatenate([token, x], 1) + self.places[...][None]
        return self.fc(self.norm(self.block2(self.block1(x)))[:, 0])


class GPT(nnx.Module):
    def __init__(self, rngs):
        self.embed, self.places = nnx.Embed(128, 16, rngs=rngs), nnx.Param(jnp.zeros((24, 16)))
        self.block1, self.block2 = (Block(16, 2, True, 1e-5, True, rngs) for _ in range(2))
        self.norm = nnx.LayerNorm(16, epsilon=1e-5, use_fast_variance=False, rngs=rngs)

    def __call__(self, x):
        x = self.embed(x) + self.places[...][None]
        return self.embed.attend(self.norm(self.block2(self.block1(x))))


def vit_of(params):
    blocks = {name: block_of(params[name], 4) for name in ("block1", "block2")}
    rest = {"token": params["token"]["token"], "places": params["places"]["table"], "norm": norm_of(params["norm"])}
    return blocks | rest | {"patches": params["patches"], "fc": params["fc"]}


def gpt_of(params):
    blocks = {name: block_of(params[name], 2) for name in ("block1", "block2")}
    table, places = params["embed"]["table"], params["places"]["table"]
    return blocks | {"embed": {"embedding": table}, "places": places, "norm": norm_of(params["norm"])}


def digits():
    images, labels = load_digits(return_X_y=True)
    return (images[:320].reshape(5, 64, 8, 8, 1) / 8 - 1).astype(np.float32), labels[:320].reshape(5, 64)


def licence():
    """Return characters of Python's licence in rows of 25: 24 inputs, each with the next one as target."""
    text = (Path(sysconfig.get_paths()["stdlib"]) / "LICENSE.txt").read_bytes()
    symbols = np.frombuffer(text, np.uint8)[: 5 * 16 * 25].reshape(5, 16, 25).astype(np.int32) % 128
    return symbols[..., :-1], symbols[..., 1:]


TRANSFORMERS = {
    "ViT on digits": (models.tiny_vit(), (8, 8, 1), ViT, vit_of, digits),
    "GPT on a licence": (
        models.char_transformer(length=24, depth=2, features=16, heads=2), (24,), GPT, gpt_of, licence,
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", TRANSFORMERS)
def test_a_transformer_trains_on_real_data_as_its_form_in_nnx(name):
    layer, in_shape, module, translate, data = TRANSFORMERS[name]
    inputs, labels = data()
    params, state = quick_jit(lambda: layer.init(KEY, in_shape))()
    params = jax.tree.map(lambda p: p + 0.02 * normal(*p.shape), params)  # a zero head would hide the rest
    theirs = filled(module(nnx.Rngs(0)), translate(params))
    optimizer, theirs_optimizer = optax.adam(3e-3), nnx.Optimizer(theirs, optax.adam(3e-3), wrt=nnx.Param)

    def loss(params, x, y):
        return losses.softmax_cross_entropy(layer.apply(params, state, x, train=True, key=KEY)[0], y).mean()

    @quick_jit
    def our_step(params, moments, x, y):
        value, grads = jax.value_and_grad(loss)(params, x, y)
        updates, moments = optimizer.update(grads, moments, params)
        return value, optax.apply_updates(params, updates), moments

    @nnx.jit
    def their_step(net, optimizer, x, y):
        loss = lambda net: optax.softmax_cross_entropy_with_integer_labels(net(x), y).mean()
        value, grads = nnx.value_and_grad(loss)(net)
        optimizer.update(net, grads)
        return value

    moments, ours, expected = optimizer.init(params), [], []
    for _ in range(2):
        for x, y in zip(inputs, labels, strict=True):
            value, params, moments = our_step(params, moments, x, y)
            ours.append(float(value))
            expected.append(float(their_step(theirs, theirs_optimizer, jnp.asarray(x), jnp.asarray(y))))
    np.testing.assert_allclose(ours, expected, rtol=2e-3)
    np.testing.assert_allclose(ours[:3], expected[:3], rtol=2e-5)
    assert np.mean(ours[-3:]) < 0.95 * np.mean(ours[:3])


@pytest.mark.slow
@pytest.mark.parametrize("rotary", [False, True])
def test_a_text_in_pieces_through_the_cache_gives_the_logits_of_the_whole(rotary):
    options = {"length": 12, "depth": 2, "features": 16, "heads": 2, "rotary": rotary}
    whole, pieces = models.char_transformer(**options), models.char_transformer(cache=3, **options)
    params, _ = whole.init(KEY, (12,))
    same, state = pieces.init(KEY, (12,))
    assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), params, same))
    text = RANDOM.integers(0, 128, (3, 12))
    expected, found = whole.apply(params, {}, text)[0], []
    for start, end in ((0, 5), (5, 6), (6, 12)):
        y, state = quick_jit(pieces.apply)(params, state, text[:, start:end])
        found.append(y)
    np.testing.assert_allclose(np.concatenate(found, 1), expected, rtol=1e-4, atol=1e-5)
    beyond, _ = pieces.apply(params, state, text[:, :1])
    assert np.isnan(beyond).all()


def test_a_module_that_draws_needs_a_key_in_training():
    layer = interop.from_nnx(lambda rngs: nnx.Dropout(0.5, rngs=rngs))
    params, state = layer.init(jax.random.key(0), (8,))
    x = np.ones((1, 8), np.float32)
    np.testing.assert_array_equal(layer.apply(params, state, x)[0], x)
    with pytest.raises(ValueError, match="the module draws at random"):
        layer.apply(params, state, x, train=True)
