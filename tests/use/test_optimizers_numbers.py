"""Numerical edge cases of optimizers: complex leaves, clips at the ends of float32, averages."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdl.optimizers as ours

PHASE = np.exp(0.7j)
PARAMS = {"w": np.array([[1.0, -2.0, 0.5], [3.0, 0.25, -1.0]]), "b": np.array([0.5, -0.25, 2.0])}
GRADS = {"w": np.array([[0.5, 1.0, -2.0], [0.25, -0.5, 4.0]]), "b": np.array([1.0, -3.0, 0.125])}
PARAMS, GRADS = (jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), tree) for tree in (PARAMS, GRADS))
MASK = {"w": True, "b": False}

PLAIN = sorted({"gd", "momentum", *ours.conventions.TABLE} - ours.conventions.NEED_THE_LOSS)
# optimizers that take a gradient alone; the members of tests/use/test_optimizers.py that need the loss are below
FIRST_ORDER = {name: getattr(ours, name)(0.1) for name in PLAIN} | {
    "accumulate": ours.accumulate(ours.adam(0.1), 2), "adaptive_grad_clip": ours.adaptive_grad_clip(0.1),
    "add_decayed_weights": ours.add_decayed_weights(0.1),
    "chain": ours.chain(ours.clip_by_norm(1.0), ours.nesterov(0.1)), "clip_by_block_rms": ours.clip_by_block_rms(0.1),
    "clip_by_global_norm": ours.clip_by_global_norm(0.1), "clip_by_norm": ours.clip_by_norm(0.1),
    "ema": ours.ema(0.9), "freeze": ours.freeze(MASK), "lars": ours.lars(0.1, 0.1),
    "masked": ours.masked(ours.adam(0.1), MASK), "max_norm": ours.max_norm(0.1),
    "partition": ours.partition({"a": ours.adam(0.1), "b": ours.sgd(0.1)}, {"w": "a", "b": "b"}),
    "polyak_average": ours.polyak_average(0.5), "proximal_l1": ours.proximal_l1(0.1), "radam": ours.radam(0.1, b2=0.9),
    "sam": ours.sam(ours.sgd(0.1)), "scale_by_group": ours.scale_by_group({"w": 0.5, "b": 2.0}),
    "schedule_free": ours.schedule_free(ours.rmsprop(0.1), 0.1), "set_to_zero": ours.set_to_zero(),
    "shampoo": ours.shampoo(0.1, 0.01), "soap": ours.soap(0.1, eps=0.1), "tail_average": ours.tail_average(1),
    "yogi": ours.yogi(0.1, momentum_from_zero=True),
}  # fmt: skip
SETTINGS = {
    "adam keras": ours.adam(0.1, convention="keras"), "adam nesterov": ours.adam(0.1, nesterov=True),
    "adamw torch": ours.adamw(0.1, convention="torch"), "amsgrad torch": ours.amsgrad(0.1, convention="torch"),
    "nadam torch": ours.nadam(0.1, convention="torch"), "radam torch": ours.radam(0.1, convention="torch"),
    "adamax keras": ours.adamax(0.1, convention="keras"), "adagrad torch": ours.adagrad(0.1, convention="torch"),
    "rmsprop centered": ours.rmsprop(0.1, centered=True, eps=0.1, momentum=0.9),
    "rmsprop torch": ours.rmsprop(0.1, convention="torch"), "lars paper": ours.lars(0.1, convention="paper"),
    "adan paper": ours.adan(0.1, weight_decay=0.1, convention="paper"),
    "yogi paper": ours.yogi(0.1, initial_accumulator_value=1.0, convention="paper"),
    "sign_sgd momentum": ours.sign_sgd(0.1, momentum=0.9), "rprop paper": ours.rprop(0.1, convention="paper"),
    "rprop torch": ours.rprop(0.1, convention="torch"),
    "adafactor paper": ours.adafactor(convention="paper"),
    "shampoo decay": ours.shampoo(0.1, 0.01, decay=0.9), "soap often": ours.soap(0.1, eps=0.1, update_interval=1),
    "muon aol": ours.muon(0.1, preconditioning="aol", adaptive=True),
    "muon schatten": ours.muon(0.1, preconditioning="schatten", nesterov=False),
    "muon spectral": ours.muon(0.1, "dion", preconditioning="spectral", consistent_rms=0.2),
}  # fmt: skip
NEED_THE_LOSS = {"gauss_newton", "kfac", "lbfgs", "natural_gradient", "newton", "newton_cg", "sophia"}
NOT_EQUIVARIANT = {
    "clip_by_value",  # complex leaves have no order, so it refuses them
    "lookahead",  # its parameters are pairs; its own test is below
}


def test_every_transformation_is_a_member():
    transformations = {name for name in ours.__all__ if name not in OTHERS}
    assert set(FIRST_ORDER) | NEED_THE_LOSS | NOT_EQUIVARIANT == transformations


OTHERS = {
    "CONVENTIONS", "LookaheadParams", "apply_updates", "averaged_params", "eval_params", "exponential_average",
    "fisher_product", "gauss_newton_product", "gradient_point", "hessian_product", "hutchinson_diagonal",
    "lookahead_params", "mask_by_path", "orthogonalize", "start_params", "update",
}  # fmt: skip


def two_steps(tx, params, grads):
    def run(params, grads):
        state, found = tx.init(params), []
        for factor in (1.0, -0.5):
            scaled = jax.tree.map(lambda g: factor * g, grads)  # noqa: B023
            updates, state = tx.update(scaled, state, params)
            params = optax.apply_updates(params, updates)
            found.append(updates)
        return found

    return jax.jit(run, compiler_options={"xla_backend_optimization_level": 0})(params, grads)


@pytest.mark.parametrize("name", FIRST_ORDER | SETTINGS)
def test_a_complex_leaf_counts_by_its_absolute_value(name):
    """Updates turn with a real problem in the complex plane, which g² in place of |g|² would break."""
    tx = (FIRST_ORDER | SETTINGS)[name]
    turn = partial(jax.tree.map, lambda x: jnp.asarray(PHASE * np.asarray(x), jnp.complex64))
    found = two_steps(tx, turn(PARAMS), turn(GRADS))
    for turned, plain in zip(found, two_steps(tx, PARAMS, GRADS), strict=True):
        for x, y in zip(jax.tree.leaves(turned), jax.tree.leaves(plain), strict=True):
            np.testing.assert_allclose(x, PHASE * np.asarray(y), rtol=1e-4, atol=1e-5 * float(jnp.abs(y).max()))


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("adam", optax.adam(0.1)), ("adamax", optax.adamax(0.1)), ("adagrad", optax.adagrad(0.1)),
        ("nadam", optax.nadam(0.1)), ("rmsprop", optax.rmsprop(0.1)), ("amsgrad", optax.amsgrad(0.1)),
        ("clip_by_global_norm", optax.clip_by_global_norm(0.1)), ("lamb", optax.lamb(0.1)), ("ema", optax.ema(0.9)),
        ("adaptive_grad_clip", optax.adaptive_grad_clip(0.1)), ("muon", optax.contrib.muon(0.1)),
        ("rmsprop centered", optax.rmsprop(0.1, centered=True, eps=0.1, momentum=0.9)),
    ],
)  # fmt: skip
def test_complex_updates_are_optax_s(name, theirs):
    mix = {"w": GRADS["w"] + 1j * PARAMS["w"][::-1], "b": GRADS["b"] * (1 - 2j)}
    params = jax.tree.map(lambda x: x * (1 + 1j), PARAMS)
    found, expected = (two_steps(tx, params, mix) for tx in ((FIRST_ORDER | SETTINGS)[name], theirs))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), found, expected)


def test_the_examples_of_complex_gradients():
    clip = ours.clip_by_global_norm(1.0)
    np.testing.assert_allclose(clip.update([jnp.array([3 + 4j])], None)[0][0], [0.6 + 0.8j], rtol=1e-6)
    np.testing.assert_allclose(clip.update(jnp.array([100, 100j]), None)[0], np.array([1, 1j]) / 2**0.5, rtol=1e-6)
    with pytest.raises(ValueError, match="complex64 leaf: clip_by_value needs real ones"):
        ours.clip_by_value(1.0).update(jnp.array([3 + 4j]), None)
    adam = ours.adam(0.1, mu_dtype=jnp.float32)
    with pytest.raises(ValueError, match="a complex parameter needs complex gradients and accumulators"):
        adam.update(jnp.array([3 + 4j]), adam.init(jnp.array([3 + 4j])), jnp.array([3 + 4j]))
    fast = ours.lookahead(ours.sgd(0.5), 1, 0.5)
    params = ours.lookahead_params(jnp.array([1 + 1j]))
    updates, _ = fast.update(jnp.array([2j]), fast.init(params), params)
    np.testing.assert_allclose([updates.fast[0], updates.slow[0]], [-0.5j, -0.5j], rtol=1e-6)
    np.testing.assert_allclose(ours.exponential_average(jnp.array([1j, 1j, 1j]), 0.9), [1j] * 3, rtol=1e-6)
    unitary = ours.orthogonalize(jnp.array([[3, 4j], [1, 0.5]]), ns_steps=jnp.int32(30), ns_coeffs=(1.5, -0.5, 0.0))
    np.testing.assert_allclose(unitary @ unitary.conj().T, np.eye(2), atol=1e-5)


MATRIX = np.array([[2, 1 - 1j], [1 + 1j, 4]])
CENTRE = np.array([1 - 2j, 0.5 + 1j])


def complex_quadratic(z):
    d = z - jnp.asarray(CENTRE, jnp.complex64)
    return jnp.real(jnp.vdot(d, jnp.asarray(MATRIX, jnp.complex64) @ d))


def descend(tx, f, start, steps, **extra):
    def step(carry, _):
        params, state = carry
        value, grads = jax.value_and_grad(f)(params)
        # descent subtracts the conjugate of jax.grad of a complex leaf
        grads = jax.tree.map(jnp.conj, grads)
        updates, state = tx.update(grads, state, params, value=value, grad=grads, value_fn=f, **extra)
        return (optax.apply_updates(params, updates), state), None

    return jax.jit(lambda p: jax.lax.scan(step, (p, tx.init(p)), None, length=steps)[0][0])(start)


@pytest.mark.parametrize(("tx", "steps"), [(ours.lbfgs(), 12), (ours.newton(), 1), (ours.newton_cg(), 2)])
def test_methods_that_need_the_loss_solve_a_complex_problem(tx, steps):
    found = descend(tx, lambda p: complex_quadratic(p["z"]), {"z": jnp.zeros(2, jnp.complex64)}, steps)
    np.testing.assert_allclose(found["z"], CENTRE, atol=2e-3)


@pytest.mark.parametrize(
    ("make", "steps"),
    [
        (lambda: ours.masked(ours.newton(), {"z": True, "rest": False}), 1),
        (lambda: ours.partition({"a": ours.lbfgs(), "b": ours.set_to_zero()}, {"z": "a", "rest": "b"}), 12),
        (lambda: optax.chain(ours.masked(ours.newton_cg(), {"z": True, "rest": False})), 2),
        (lambda: ours.masked(optax.lbfgs(), {"z": True, "rest": False}), 12),
    ],
)
def test_they_solve_for_a_part_with_the_rest_held_fixed(make, steps):
    """The loss depends on all parameters; the test subtracts the updates that `masked` passes through."""
    tx = ours.chain(make(), ours.freeze({"z": False, "rest": True}))
    start = {"z": jnp.zeros(2, jnp.complex64), "rest": jnp.float32(3.0)}
    found = descend(tx, lambda p: complex_quadratic(p["z"]) * (1 + p["rest"] ** 2), start, steps)
    np.testing.assert_allclose(found["z"], CENTRE, atol=2e-3)
    np.testing.assert_array_equal(found["rest"], 3.0)


@pytest.mark.parametrize(
    "tx", [ours.gauss_newton(damping=1e-6), ours.natural_gradient(damping=1e-6, distribution="gaussian")]
)
def test_gauss_newton_solves_complex_least_squares(tx):
    def residuals(p):
        d = p["z"] - jnp.asarray(CENTRE, jnp.complex64)
        return jnp.concatenate([d.real, 2 * d.imag])[None]

    def half_square(outputs):
        return 0.5 * jnp.sum(outputs**2)

    start, extra = {"z": jnp.zeros(2, jnp.complex64)}, {"model_fn": residuals, "loss_fn": half_square}
    found = descend(tx, lambda p: half_square(residuals(p)), start, 2, **extra)
    np.testing.assert_allclose(found["z"], CENTRE, atol=1e-3)


# ---------------------------------------------------------------- clips

CLIPS = {
    "clip_by_norm": lambda bound: ours.clip_by_norm(bound),
    "clip_by_global_norm": lambda bound: ours.clip_by_global_norm(bound),
    "clip_by_block_rms": lambda bound: ours.clip_by_block_rms(bound),
    "clip_by_value": lambda bound: ours.clip_by_value(bound),
    "adaptive_grad_clip": lambda bound: ours.adaptive_grad_clip(bound),
}
LARGEST, TINY = float(jnp.finfo(jnp.float32).max), float(jnp.finfo(jnp.float32).tiny)
POINTS = [0.0, TINY, -TINY, 1e-20, -1e-20, 1.0, -1.0, 1e20, -1e20, 3e38, LARGEST, -LARGEST]


def test_every_clip_is_swept():
    assert set(CLIPS) == {name for name in ours.__all__ if "clip" in name}


def clipped(name, g, bound):
    tx = CLIPS[name](bound)
    return tx.update(g, None, jnp.ones_like(g))[0]


def expected_clip(name, g, bound):
    g = np.asarray(g, np.float64)
    if name == "clip_by_value":
        return np.clip(g, -bound, bound)
    size = np.linalg.norm(g) / (np.sqrt(g.size) if name == "clip_by_block_rms" else 1.0)
    bound = bound * np.sqrt(g.size) if name == "adaptive_grad_clip" else bound
    return g if size < bound else g / max(size, 1e-300) * bound


@pytest.mark.parametrize("name", CLIPS)
def test_clips_are_right_and_differentiable_over_all_of_float32(name):
    """float64, whose range holds the squares, is the oracle; the bound is traced, so it may be 0."""
    points = np.array([[a, b] for a in POINTS for b in (0.0, 1.0, -1e20, LARGEST, a)], np.float32)
    for bound in (0.0, 1e-3, 1.0, 500.0):
        found = jax.jit(jax.vmap(lambda g, b: clipped(name, g, b), (0, None)))(points, jnp.float32(bound))
        expected = np.array([expected_clip(name, g, bound) for g in points])
        np.testing.assert_allclose(found, expected, rtol=2e-6, atol=2 * TINY * max(1.0, bound))

        def total(g, b):
            return jnp.sum(clipped(name, g, b))

        slopes = jax.jit(jax.vmap(jax.grad(total), (0, None)))(points, jnp.float32(bound))
        assert jnp.isfinite(slopes).all(), (bound, points[~np.isfinite(slopes).all(1)])
        unclipped = np.all(np.asarray(found) == points, 1) & (expected == points).all(1) & (bound > 0)
        inside = unclipped & (np.abs(points).max(1) < 0.3 * bound)
        np.testing.assert_allclose(np.asarray(slopes)[inside], 1.0, rtol=1e-6)


def test_the_examples_of_clips():
    clip = ours.clip_by_global_norm(1.0)
    np.testing.assert_allclose(clip.update(jnp.array([3e20, 4e20]), None)[0], [0.6, 0.8], rtol=1e-6)
    zero = jax.jit(lambda b: ours.clip_by_global_norm(b).update(jnp.zeros(2), None)[0])(0.0)
    np.testing.assert_array_equal(zero, 0.0)
    # the derivative of g·bound/‖g‖ at (3, 4), by hand: bound·(I − ĝĝᵀ)/‖g‖
    jacobian = jax.jacobian(lambda g: ours.clip_by_norm(1.0).update(g, None)[0])(jnp.array([3.0, 4.0]))
    np.testing.assert_allclose(jacobian, np.array([[0.64, -0.48], [-0.48, 0.36]]) / 5, atol=1e-6)
    for name in CLIPS:  # an infinite gradient stays visible, as in optax
        assert not jnp.isfinite(clipped(name, jnp.array([jnp.inf, 1.0]), 1.0)).all() or name == "clip_by_value"
    np.testing.assert_array_equal(clipped("clip_by_value", jnp.array([jnp.inf, -jnp.inf]), 2.0), [2.0, -2.0])


# the omitted ones take most of the time to compile and differ from muon in nothing
# that a scale could show
STEPS_OF_FINITE = sorted(set(FIRST_ORDER | SETTINGS) - {"muon schatten", "muon spectral"})
# √v, whose slope at 0 is infinite, stands in them as in optax; `eps_root`, where there is one, is the remedy
INFINITE_SLOPE_AT_ZERO = {
    "accumulate", "adafactor", "adafactor paper", "adam", "adam keras", "adam nesterov", "adamw", "adamw torch",
    "adan paper", "ademamix", "adopt", "amsgrad", "amsgrad torch", "dadapt_adamw", "lamb", "masked", "muon",
    "muon aol", "nadam", "nadam torch", "partition", "prodigy", "radam", "radam torch", "rmsprop torch",
    "schedule_free_adamw",
}  # fmt: skip


@pytest.mark.parametrize("name", STEPS_OF_FINITE)
def test_steps_are_finite_for_all_finite_gradients(name):
    tx = (FIRST_ORDER | SETTINGS)[name]

    def step(size):
        grads = jax.tree.map(lambda g: size * jnp.clip(g, -1.0, 1.0), GRADS)
        state = tx.init(PARAMS)
        first, state = tx.update(grads, state, PARAMS)
        second, _ = tx.update(grads, state, PARAMS)
        return first, second

    steps = jax.jit(jax.vmap(step), compiler_options={"xla_backend_optimization_level": 0})(jnp.array(POINTS))
    assert all(not jnp.isnan(x).any() for x in jax.tree.leaves(steps))
    total = jax.jit(jax.grad(lambda s: sum(jnp.sum(x) for x in jax.tree.leaves(step(s)))))
    assert jnp.isfinite(total(1.0))
    if name not in INFINITE_SLOPE_AT_ZERO:
        assert jnp.isfinite(total(0.0))
    else:
        assert not jnp.isfinite(total(0.0))


def test_eps_root_makes_meta_gradients_finite():
    """By hand, Adam's d step/d g at g = 0 is −α/√eps_root; without eps_root it is NaN."""

    def step(g, eps_root):
        tx = ours.adam(0.1, eps=0.0, eps_root=eps_root)
        return tx.update(g, tx.init(g), g)[0]

    assert jnp.isnan(jax.grad(step)(0.0, 0.0))
    np.testing.assert_allclose(jax.grad(step)(0.0, 1e-4), -0.1 / 1e-2, rtol=1e-5)


# ---------------------------------------------------------------- averages


def test_averages_leave_integer_leaves_alone():
    params = {"w": jnp.array([1.0, 2.0]), "steps": jnp.array([7, 16777217]), "on": jnp.array(True)}
    updates = {"w": jnp.array([1.0, -1.0]), "steps": jnp.array([0, 0]), "on": None}
    for tx in (ours.polyak_average(0.9), ours.tail_average(0), ours.tail_average(5)):
        state = tx.init(params)
        for _ in range(3):
            _, state = tx.update(updates, state, params)
        mean = ours.averaged_params(state, params)
        np.testing.assert_array_equal(mean["steps"], params["steps"])
        np.testing.assert_array_equal(mean["on"], True)
        assert jax.tree.map(lambda x: x.dtype, mean) == jax.tree.map(lambda x: x.dtype, params)
    smooth = ours.ema(0.5)
    found, _ = smooth.update(
        {"w": params["w"], "steps": params["steps"]}, smooth.init({k: params[k] for k in ("w", "steps")})
    )
    np.testing.assert_array_equal(found["steps"], params["steps"])
    pair = ours.lookahead_params({k: params[k] for k in ("w", "steps")})
    for leaf_update in ([0, 0], [1, 2]):
        tx = ours.lookahead(optax.identity(), 1, 0.5)
        moved, _ = tx.update({"w": params["w"], "steps": jnp.array(leaf_update)}, tx.init(pair), pair)
        np.testing.assert_array_equal(moved.fast["steps"], leaf_update)
        np.testing.assert_array_equal(moved.slow["steps"], leaf_update)


# ---------------------------------------------------------------- second order on a net


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gauss_newton", "natural_gradient", "newton_cg"])
def test_the_defaults_descend_on_the_digits(name):
    """64-32-10, ReLU, full batch, 20 steps, 20 seeds; a constant λ of 1e-3 ends between 370 and 615 (3 seeds)."""
    datasets = pytest.importorskip("sklearn.datasets")
    images, labels = datasets.load_digits(return_X_y=True)
    images, labels = jnp.asarray(images / 16, jnp.float32), jnp.asarray(labels)
    tx = getattr(ours, name)()

    def start(key):
        keys = jax.random.split(key)
        return [
            (jax.random.normal(k, s) * jnp.sqrt(2 / s[0]), jnp.zeros((1, s[1])))
            for k, s in zip(keys, ((64, 32), (32, 10)), strict=True)
        ]

    def net(params):
        (w1, b1), (w2, b2) = params
        return jax.nn.relu(images @ w1 + b1) @ w2 + b2

    def loss(logits):
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    @jax.jit
    def run(key):
        def step(carry, _):
            params, state = carry
            value, grads = jax.value_and_grad(lambda p: loss(net(p)))(params)
            functions = {"model_fn": net, "loss_fn": loss, "value_fn": lambda p: loss(net(p))}
            updates, state = tx.update(grads, state, params, **functions)
            return (optax.apply_updates(params, updates), state), value

        params = start(key)
        (params, _), values = jax.lax.scan(step, (params, tx.init(params)), None, length=20)
        return jnp.append(values, loss(net(params)))

    values = np.stack([run(jax.random.key(seed)) for seed in range(20 if name == "gauss_newton" else 5)])
    assert (values[:, -1] < values[:, 0]).all()
    assert values[:, -1].max() < 0.1
    assert (np.diff(values, axis=1) <= 0).all()


@pytest.mark.parametrize("name", ["muon", "shampoo", "soap"])  # which multiply matrices
@pytest.mark.parametrize("shape", [(0, 3), (3, 0)])
def test_an_empty_array_among_the_parameters_changes_nothing(name, shape):
    full, optimizer = {"w": jnp.eye(3, 2)}, getattr(ours, name)(0.1)
    found = []
    for params in (full, full | {"empty": jnp.zeros(shape)}):
        state, updates = optimizer.init(params), params
        for _ in range(2):  # the first gradient of SOAP makes no step
            updates, state = optimizer.update(params, state, params)
        found.append(updates)
    assert found[1]["empty"].shape == shape
    np.testing.assert_array_equal(found[0]["w"], found[1]["w"])
