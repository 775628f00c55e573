"""K-FAC: factors against loops over examples, labels and places, and blocks of the Fisher matrix; its step."""

import collections
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.core import FrozenDict

from jaxdl import activations, losses, models, nn, optimizers, training
from jaxdl.data import load

KEY = jax.random.key(0)


def dense_net():
    return nn.serial(fc1=nn.Dense(4), tanh=activations.tanh, fc2=nn.Dense(3, bias=False))


def conv_net():
    parts = {"conv": nn.Conv(3, (3, 2), stride=(2, 1), padding=((1, 0), (0, 1)), dilation=(1, 2)), "tanh": jnp.tanh}
    return nn.serial(**parts, conv1=nn.Conv(2, 2, padding="VALID"), flat=nn.flatten, fc=nn.Dense(3))


def made(layer, shape, n, seed=1):
    params, state = layer.init(KEY, shape)
    params = jax.tree.map(lambda leaf: leaf + 0.1, params)  # biases that are not 0
    return params, state, jax.random.normal(jax.random.key(seed), (n, *shape))


def with_bias_last(tree):
    """Return a layer's kernel, with its bias as the last row, as a matrix in float64."""
    rows = np.asarray(tree["kernel"], np.float64).reshape(-1, tree["kernel"].shape[-1])
    return np.concatenate([rows, np.asarray(tree["bias"], np.float64)[None]]) if "bias" in tree else rows


def fisher_block(layer, params, state, x, path):
    """Return Σ_c p_c vec(∇ log p_c) vec(∇ log p_c)ᵀ of one example, by a gradient for each class."""
    outputs = lambda params: layer.apply(params, state, x)[0][0]
    gradients = jax.jacrev(lambda params: jax.nn.log_softmax(outputs(params)))(params)
    p = np.asarray(jax.nn.softmax(outputs(params)), np.float64)
    each = [with_bias_last(jax.tree.map(lambda leaf, c=c: leaf[c], gradients)[path]).ravel() for c in range(len(p))]
    return sum(weight * np.outer(one, one) for weight, one in zip(p, each, strict=True))


@pytest.mark.parametrize(("net", "shape"), [(dense_net, (5,)), (lambda: models.mlp(3, widths=(4,)), (2, 2, 1))])
def test_for_one_example_a_dense_layer_s_factors_are_its_block_of_the_fisher_matrix(net, shape):
    layer = net()
    params, state, x = made(layer, shape, 1)
    factors = training.kronecker_factors(layer, params, state, x)
    assert {*factors} == {path for path in params if "kernel" in params[path]}
    for path, (a, g) in factors.items():
        np.testing.assert_allclose(np.kron(a, g), fisher_block(layer, params, state, x, path), atol=1e-6)


def test_a_convolution_of_one_place_has_its_block_of_the_fisher_matrix():
    layer = nn.serial(conv=nn.Conv(4, (3, 2), padding="VALID"), flat=nn.flatten, tanh=jnp.tanh, fc=nn.Dense(3))
    params, state, x = made(layer, (3, 2, 2), 1)
    a, g = training.kronecker_factors(layer, params, state, x)["conv"]
    np.testing.assert_allclose(np.kron(a, g), fisher_block(layer, params, state, x, "conv"), atol=1e-6)


@pytest.mark.slow
def test_the_factors_of_convolutions_are_sums_over_examples_labels_and_places():
    layer, shape = conv_net(), (5, 4, 2)
    params, state, x = made(layer, shape, 3)
    factors = training.kronecker_factors(layer, params, state, x)
    padded = np.pad(np.asarray(x, np.float64), ((0, 0), (1, 0), (0, 1), (0, 0)))
    each = [
        np.append(padded[n, 2 * i : 2 * i + 3, j : j + 3 : 2].ravel(), 1)
        for n in range(3)
        for i in range(2)
        for j in range(3)
    ]
    np.testing.assert_allclose(factors["conv"].inputs, sum(np.outer(a, a) for a in each) / 3, rtol=1e-5, atol=1e-6)

    def from_conv(bumps, x):  # the network with numbers added to the outputs of its first layer
        y = layer.children["conv"].apply(params["conv"], {}, x[None])[0] + bumps
        rest = [("conv1", params["conv1"]), ("flat", {}), ("fc", params["fc"])]
        y = jnp.tanh(y)
        for name, own in rest:
            y = layer.children[name].apply(own, {}, y)[0]
        return y[0]

    total = 0
    for one in x:
        p = jax.nn.softmax(from_conv(jnp.zeros((1, 2, 3, 3)), one))
        scores = jax.jit(jax.jacrev(lambda bumps, one=one: jax.nn.log_softmax(from_conv(bumps, one))))(
            jnp.zeros((1, 2, 3, 3))
        )
        for weight, score in zip(np.asarray(p, np.float64), np.asarray(scores, np.float64), strict=True):
            total = total + weight * sum(np.outer(g, g) for g in score.reshape(-1, 3)) / 6
    np.testing.assert_allclose(factors["conv"].outputs, total / 3, rtol=1e-4, atol=1e-7)


@pytest.mark.slow
def test_one_axis_sequences_and_whole_layers_have_factors_too():
    layer = nn.Conv1d(2, 3)
    params, state, x = made(layer, (4, 2), 2)
    (pair,) = training.kronecker_factors(layer, params, state, x, distribution="gaussian").values()
    padded = np.pad(np.asarray(x, np.float64), ((0, 0), (1, 1), (0, 0)))
    each = [np.append(padded[n, i : i + 3].ravel(), 1) for n in range(2) for i in range(4)]
    np.testing.assert_allclose(pair.inputs, sum(np.outer(a, a) for a in each) / 2, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(pair.outputs, np.eye(2), atol=1e-6)  # a unit gradient at each of 4 places, over 4
    layer = nn.Dense(3)
    params, state, x = made(layer, (4, 2), 2)  # steps of a sequence
    pair = training.kronecker_factors(layer, params, state, x)[""]
    p = np.asarray(jax.nn.softmax(layer.apply(params, state, x)[0]), np.float64).reshape(-1, 3)
    wanted = sum(np.diag(one) - np.outer(one, one) for one in p) / len(p)
    np.testing.assert_allclose(pair.outputs, wanted, atol=1e-6)


@pytest.mark.parametrize("distribution", ["categorical", "bernoulli", "gaussian"])
def test_drawn_labels_have_the_exact_factors_as_their_mean(distribution):
    layer = dense_net()
    params, state, x = made(layer, (5,), 2)
    factors = functools.partial(training.kronecker_factors, layer, params, state, x, distribution=distribution)
    exact = factors()
    drawn = jax.vmap(lambda key: factors(key=key))(jax.random.split(KEY, 4000))
    for path in exact:
        of_draws = np.asarray(drawn[path].outputs)
        error = of_draws.std(0) / np.sqrt(len(of_draws))
        assert (np.abs(of_draws.mean(0) - exact[path].outputs) < 5 * error + 1e-6).all()
        assert (error > 0).any()
        np.testing.assert_allclose(drawn[path].inputs[0], exact[path].inputs, rtol=1e-5)


def test_the_factors_of_a_bernoulli_net_are_its_fisher_blocks():
    layer = dense_net()
    params, state, x = made(layer, (5,), 1)
    y = lambda params: layer.apply(params, state, x)[0][0]
    block = 0
    for label in np.ndindex(2, 2, 2):
        log_p = lambda params, label=label: (
            -jnp.sum(jnp.logaddexp(0.0, jnp.where(jnp.array(label) == 1, -y(params), y(params))))
        )
        score = with_bias_last(jax.grad(log_p)(params)["fc2"]).ravel()
        block = block + np.exp(float(log_p(params))) * np.outer(score, score)
    a, g = training.kronecker_factors(layer, params, state, x, distribution="bernoulli")["fc2"]
    np.testing.assert_allclose(np.kron(a, g), block, atol=1e-6)


@pytest.mark.slow
def test_a_step_solves_the_damped_factored_system():
    layer, damping, rate = dense_net(), 0.01, 0.5
    params, state, x = made(layer, (5,), 8)
    factors = training.kronecker_factors(layer, params, state, x)
    grads = jax.tree.map(lambda leaf: jnp.sin(7 * leaf), params)
    optimizer = optimizers.kfac(rate, momentum=None, damping=damping)
    updates, _ = jax.jit(optimizer.update)(grads, optimizer.init(params), params, factors=factors)
    for path, pair in factors.items():
        a, g = (np.asarray(one, np.float64) for one in pair)
        pi = np.sqrt((np.trace(a) / len(a)) / (np.trace(g) / len(g)))
        damped = np.kron(a + pi * np.sqrt(damping) * np.eye(len(a)), g + np.sqrt(damping) / pi * np.eye(len(g)))
        wanted = -rate * np.linalg.solve(damped, with_bias_last(grads[path]).ravel())
        np.testing.assert_allclose(with_bias_last(updates[path]).ravel(), wanted, rtol=2e-4, atol=1e-6)


def test_factors_are_averaged_and_inverses_kept():
    params = {"fc": {"kernel": jnp.ones((2, 2))}, "norm": {"scale": jnp.ones(2)}}
    optimizer = optimizers.kfac(1.0, momentum=None, damping=1e-12, decay=0.75, inverse_every=3)
    state, seen = optimizer.init(params), []
    for step in range(7):
        factors = {"fc": (jnp.eye(2) * 4.0**step, jnp.eye(2)), "hidden by a mask": (jnp.eye(1), jnp.eye(1))}
        updates, state = optimizer.update(params, state, params, factors=factors)
        seen.append(-float(updates["fc"]["kernel"][0, 0]))
        np.testing.assert_array_equal(updates["norm"]["scale"], -1.0)
    averages = [1.0]
    for step in range(1, 7):
        past = min(1 - 1 / (step + 1), 0.75)
        averages.append(past * averages[-1] + (1 - past) * 4.0**step)
    np.testing.assert_allclose(seen, [1 / averages[step - step % 3] for step in range(7)], rtol=1e-4)


@pytest.mark.slow
def test_it_trains_digits_faster_than_sgd_with_the_best_of_five_rates():
    digits = load("digits")
    x, labels = jnp.asarray(digits.images[:512], jnp.float32) / 16, jnp.asarray(digits.labels[:512])
    layer = models.mlp(widths=(32,))
    params, state = layer.init(KEY, x.shape[1:])

    def loss(params):
        return losses.softmax_cross_entropy(layer.apply(params, state, x)[0], labels).mean()

    def final(optimizer, with_factors):
        def step(carry, key):
            params, opt_state = carry
            more = {"factors": training.kronecker_factors(layer, params, state, x, key=key)} if with_factors else {}
            updates, opt_state = optimizer.update(jax.grad(loss)(params), opt_state, params, **more)
            return (optax.apply_updates(params, updates), opt_state), None

        (end, _), _ = jax.lax.scan(step, (params, optimizer.init(params)), jax.random.split(KEY, 15))
        return loss(end)

    ours = jax.jit(lambda: final(optimizers.kfac(0.3, damping=0.03), True))()
    theirs = jax.jit(jax.vmap(lambda rate: final(optax.sgd(rate, momentum=0.9), False)))(2.0 ** -jnp.arange(5.0))
    assert float(ours) < 0.5 * float(jnp.nanmin(theirs))


@pytest.mark.slow
def test_what_has_no_factors_is_named():
    layer = nn.serial(lstm=nn.LSTM(3, output="last"), fc=nn.Dense(2))
    params, state, x = made(layer, (4, 2), 2)
    factors = functools.partial(training.kronecker_factors, layer, params, state, x)
    with pytest.raises(ValueError, match=r"params\['lstm'\] belongs to a layer of kind 'lstm'; expected Dense"):
        factors()
    assert {*factors(paths=["fc"])} == {"fc"}
    with pytest.raises(ValueError, match="paths has 'lost': it must be a layer with a kernel, one of fc, lstm"):
        factors(paths=["lost"])
    with pytest.raises(ValueError, match="distribution is 'poisson': it must be one of categorical, bernoulli"):
        factors(distribution="poisson")
    grouped = nn.serial(conv=nn.Conv(4, 3, groups=2), flat=nn.flatten)
    with pytest.raises(ValueError, match=r"kind 'conv' of 2 groups"):
        training.kronecker_factors(grouped, *made(grouped, (4, 4, 2), 1))
    with pytest.raises(ValueError, match="params has no kernel"):
        training.kronecker_factors(nn.flatten, {}, {}, jnp.ones((1, 2)))

    kernels = {"fc": {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}}
    optimizer = optimizers.kfac(0.1)
    state = optimizer.init(kernels)
    for given, said in (
        (None, "factors is None: kfac needs update"),
        ({"conv": (jnp.eye(3), jnp.eye(3))}, r"factors has \['conv'\]: it must have every layer .* also \['fc'\]"),
        ({"fc": (jnp.eye(2), jnp.eye(3))}, r"factors\['fc'\] has shapes \[\(2, 2\), \(3, 3\)\]: the parameters have"),
    ):
        with pytest.raises(ValueError, match=said):
            optimizer.update(kernels, state, kernels, factors=given)
    with pytest.raises(ValueError, match="params is a list: kfac takes nested dicts"):
        optimizer.init([jnp.ones((2, 2))])
    kept = optax.tree_map_params(optimizer, lambda leaf: leaf + 1, state)
    assert (float(kept[1].trace["fc"]["bias"][0]), float(kept[0].inverses["fc"][0][0, 0])) == (1.0, 1.0)
    with pytest.raises(ValueError, match="inverse_every"):
        optimizers.kfac(0.1, inverse_every=0)


KERNELS = {"fc": {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}, "norm": {"scale": jnp.ones(3)}}
OF_FC = (2 * jnp.eye(3), jnp.eye(3))
TREES = {
    "a frozen dict": (FrozenDict, "fc"),
    "an ordered dict": (collections.OrderedDict, "fc"),
    "a frozen dict inside": (lambda tree: {"params": FrozenDict(tree)}, "params/fc"),
    "whole numbers for names": (lambda tree: {0: tree}, "0/fc"),
    "a list inside": (lambda tree: {"layers": [tree]}, "layers/0/fc"),
}


@pytest.mark.parametrize("what", TREES)
def test_dicts_of_other_libraries_are_walked_and_returned(what):
    wrap, path = TREES[what]
    optimizer, params = optimizers.kfac(0.1, damping=0.01), wrap(KERNELS)
    updates, _ = optimizer.update(params, optimizer.init(params), params, factors={path: OF_FC})
    wanted, _ = optimizer.update(KERNELS, optimizer.init(KERNELS), KERNELS, factors={"fc": OF_FC})
    assert jax.tree.structure(updates) == jax.tree.structure(params)
    for one, other in zip(jax.tree.leaves(updates), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("promotion", ["standard", "strict"])
@pytest.mark.parametrize("dtypes", ["float32 float32", "float32 float64", "float64 float32", "bfloat16 float32"])
def test_its_state_keeps_its_types_where_floats_are_of_64_bits(dtypes, promotion):
    optimizer = optimizers.kfac(0.1, damping=np.float64(0.01))
    with jax.enable_x64(True), jax.numpy_dtype_promotion(promotion), jax.numpy_rank_promotion("raise"):
        params, grads = (jax.tree.map(lambda x, d=d: x.astype(d), KERNELS) for d in dtypes.split())
        state = optimizer.init(params)
        step = lambda grads, state: optimizer.update(grads, state, params, factors={"fc": OF_FC})
        updates, after = jax.eval_shape(step, grads, state)
        assert [x.dtype for x in jax.tree.leaves(after)] == [x.dtype for x in jax.tree.leaves(state)]
        assert [x.dtype for x in jax.tree.leaves(updates)] == [x.dtype for x in jax.tree.leaves(grads)]


def test_large_singular_factors_have_finite_inverses():
    """The inputs of dark pictures, say, have a factor of few ranks."""
    pixels = np.random.default_rng(0).uniform(0, 1e4, (3, 40))
    factors = {"": (jnp.asarray(pixels.T @ pixels, jnp.float32), jnp.eye(2))}
    params, optimizer = {"kernel": jnp.ones((40, 2))}, optimizers.kfac(1.0, momentum=None)
    updates, _ = optimizer.update(params, optimizer.init(params), params, factors=factors)
    assert jnp.isfinite(updates["kernel"]).all()


@pytest.mark.parametrize("missing", ["kernel in init", "bias"])
def test_a_layer_without_all_its_gradients_is_named(missing):
    optimizer = optimizers.kfac(0.1)
    begun = {"fc": {"kernel": None, "bias": jnp.ones(3)}} if missing != "bias" else KERNELS
    grads = KERNELS if missing != "bias" else {**KERNELS, "fc": {"kernel": jnp.ones((2, 3)), "bias": None}}
    if missing != "bias":
        grads = {"fc": grads["fc"]}
    with pytest.raises(ValueError, match=r"updates\['fc'\] has [23] rows, kernel and bias: the state has (none|3)"):
        optimizer.update(grads, optimizer.init(begun), factors={"fc": OF_FC})
    with pytest.raises(ValueError, match=r"params\['fc'\] has a bias of shape \(2,\) for a kernel of \(2, 3\)"):
        optimizer.init({"fc": {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(2)}})
