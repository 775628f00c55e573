"""Every public transformation inside other people's code: dtypes, donation, callable trees, None, mistakes."""

import inspect
import re
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdl.optimizers as ours
from jaxdl.optimizers import states

PARAMS = {"w": np.array([[1.0, -2.0, 0.5], [3.0, 0.25, -1.0]]), "b": np.array([0.5, -0.25, 2.0])}
GRADS = {"w": np.array([[0.5, 1.0, -2.0], [0.25, -0.5, 4.0]]), "b": np.array([1.0, -3.0, 0.125])}
MASK = {"w": True, "b": False}
LABELS = {"w": "a", "b": "b"}
NUMBERS = {"w": states.MuonDimensionNumbers(), "b": None}
ADAM_AND_MOMENTUM = {"a": ours.adam(0.1), "b": ours.momentum(0.1)}

# public names that are no transformations
OTHERS = {
    "CONVENTIONS", "LookaheadParams", "apply_updates", "averaged_params", "eval_params", "exponential_average",
    "fisher_product", "gauss_newton_product", "gradient_point", "hessian_product", "hutchinson_diagonal",
    "lookahead_params", "mask_by_path", "orthogonalize", "start_params", "update",
}  # fmt: skip

# factories that take other arguments than a learning rate
MADE = {
    "accumulate": lambda: ours.accumulate(ours.adam(0.1), 2),
    "adaptive_grad_clip": lambda: ours.adaptive_grad_clip(0.1),
    "add_decayed_weights": lambda: ours.add_decayed_weights(0.1),
    "chain": lambda: ours.chain(ours.clip_by_global_norm(1.0), ours.add_decayed_weights(0.1), ours.adam(0.1)),
    "clip_by_block_rms": lambda: ours.clip_by_block_rms(0.1),
    "clip_by_global_norm": lambda: ours.clip_by_global_norm(0.1),
    "clip_by_norm": lambda: ours.clip_by_norm(0.1),
    "clip_by_value": lambda: ours.clip_by_value(0.6),
    "ema": lambda: ours.ema(0.9),
    "freeze": lambda: ours.freeze(MASK),
    "lbfgs": lambda: ours.lbfgs(4),
    "lookahead": lambda: ours.lookahead(ours.adam(0.1), 2, 0.5),
    "masked": lambda: ours.masked(ours.adam(0.1), MASK),
    "max_norm": lambda: ours.max_norm(0.1),
    "partition": lambda: ours.partition(ADAM_AND_MOMENTUM, LABELS),
    "polyak_average": lambda: ours.polyak_average(0.5),
    "proximal_l1": lambda: ours.proximal_l1(0.1),
    "sam": lambda: ours.sam(ours.adam(0.1)),
    "scale_by_group": lambda: ours.scale_by_group({"w": 0.5, "b": 2.0}),
    "schedule_free": lambda: ours.schedule_free(ours.rmsprop(0.1), 0.1),
    "set_to_zero": lambda: ours.set_to_zero(),
    "tail_average": lambda: ours.tail_average(1),
}
DIRECT = sorted(set(ours.__all__) - OTHERS - set(MADE))
MAKE = MADE | {name: partial(getattr(ours, name), 0.1) for name in DIRECT}


def row_of(name):
    return ours.conventions.TABLE.get("sgd" if name in ("gd", "momentum") else name, {})


# only one convention has their weight_decay, so the table has no row for it
PENALIZED = [
    name
    for name in DIRECT
    if "weight_decay" in (parameters := inspect.signature(getattr(ours, name)).parameters)
    and parameters["weight_decay"].default is None
    and not any("weight_decay" in row for row in row_of(name).values())
]

# settings that take other branches, and wrappers around optax's own
SETTINGS = {
    "adamw mask": lambda: ours.adamw(0.1, mask=MASK),
    "adamw mask function": lambda: ours.adamw(0.1, mask=lambda tree: jax.tree.map(lambda x: jnp.ndim(x) > 1, tree)),
    "adamw mask by path": lambda: ours.adamw(0.1, mask=ours.mask_by_path("w")),
    "adamw torch": lambda: ours.adamw(0.1, mask=MASK, convention="torch"),
    "adam torch penalty": lambda: ours.adam(0.1, weight_decay=0.1, convention="torch"),
    "adam keras": lambda: ours.adam(0.1, convention="keras"),
    "adam nesterov schedule": lambda: ours.adam(optax.linear_schedule(0.1, 0.0, 10), nesterov=True),
    "adam bfloat16": lambda: ours.adam(0.1, state_dtype=jnp.bfloat16),
    "amsgrad torch": lambda: ours.amsgrad(0.1, convention="torch"),
    "nadam torch": lambda: ours.nadam(0.1, convention="torch"),
    "radam torch": lambda: ours.radam(0.1, convention="torch"),
    "adamax keras": lambda: ours.adamax(0.1, convention="keras"),
    "adagrad torch": lambda: ours.adagrad(0.1, convention="torch"),
    "rmsprop centered": lambda: ours.rmsprop(0.1, centered=True, momentum=0.9, nesterov=True, bias_correction=True),
    "lars paper": lambda: ours.lars(0.1, convention="paper"),
    "lion keras": lambda: ours.lion(0.1, convention="keras", weight_decay=0.1),
    "muon options": lambda: ours.muon(0.1, "dion", weight_decay=0.1, weight_decay_mask=MASK, preconditioning="aol"),
    "muon numbers": lambda: ours.muon(0.1, muon_weight_dimension_numbers=NUMBERS),
    "schedule_free optax.sgd": lambda: ours.schedule_free(optax.sgd(0.1), lambda count: 0.1),
    "schedule_free_adamw warm-up": lambda: ours.schedule_free_adamw(0.1, 3, weight_decay=0.1),
    "prodigy paper": lambda: ours.prodigy(weight_decay=0.1, safeguard_warmup=True, convention="paper"),
    "adopt nesterov": lambda: ours.adopt(0.1, nesterov=True, use_clipping=False),
    "ademamix mask": lambda: ours.ademamix(0.1, b3=lambda t: 0.9, alpha=jnp.float32, mask=MASK, weight_decay=0.1),
    "adan paper": lambda: ours.adan(0.1, weight_decay=0.1, mask=MASK, convention="paper"),
    "adabelief nesterov": lambda: ours.adabelief(0.1, nesterov=True),
    "yogi paper": lambda: ours.yogi(0.1, initial_accumulator_value=1.0, convention="paper"),
    "sign_sgd momentum": lambda: ours.sign_sgd(0.1, momentum=0.9),
    "rprop paper": lambda: ours.rprop(0.1, convention="paper"),
    "adafactor paper": lambda: ours.adafactor(weight_decay_rate=0.1, convention="paper"),
    "dadapt_adamw paper": lambda: ours.dadapt_adamw(weight_decay=0.1, convention="paper"),
    "sophia paper": lambda: ours.sophia(
        0.1, weight_decay=0.1, convention="paper"
    ),
    "sam opaque": lambda: ours.sam(ours.adam(0.1), ours.sgd(0.1), 3, opaque_mode=True),
    "shampoo decay": lambda: ours.shampoo(0.1, decay=0.9, update_interval=2),
    "soap often": lambda: ours.soap(0.1, update_interval=1, max_dim=2),
    "ema float32": lambda: ours.ema(0.9, accumulator_dtype=jnp.float32),
    "accumulate optax.adam": lambda: ours.accumulate(optax.adam(0.1), 2),
    "accumulate optax.sgd": lambda: ours.accumulate(optax.sgd(0.1, momentum=0.9), 2),
    "lookahead optax.adam": lambda: ours.lookahead(optax.adam(0.1), 2, 0.5, True),
    "masked optax.adam": lambda: ours.masked(optax.adam(0.1), MASK),
    "chain optax.adam": lambda: ours.chain(optax.adam(0.1), ours.polyak_average()),
    "partition optax": lambda: ours.partition({"a": optax.adam(0.1), "b": optax.sgd(0.1, momentum=0.9)}, LABELS),
    "partition lbfgs": lambda: ours.partition({"a": ours.lbfgs(4), "b": ours.sgd(0.1)}, LABELS),
    "masked newton": lambda: ours.masked(ours.newton(), MASK),
}  # fmt: skip
ALL = MAKE | SETTINGS
COMPLEX_REFUSED = {"clip_by_value", "ema float32"}  # complex numbers have no order, and no real average


def as_dtype(tree, dtype):
    return jax.tree.map(lambda x: jnp.asarray(x, dtype), tree)


def model(params):
    return jnp.tanh(params["w"] + params["b"][None]) + params["w"] ** 2


def value(params):
    return jnp.sum(jnp.abs(model(params)) ** 2).astype(jnp.float32)


def loss(outputs):
    return jnp.sum(jnp.abs(outputs) ** 2).astype(jnp.float32)


def extra(params):
    """Return the extra arguments of second-order methods, in optax's names; no layer has a kernel for kfac."""
    functions = {
        "value_fn": value,
        "model_fn": model,
        "loss_fn": loss,
        "grad_fn": lambda params, i: jax.grad(value)(params),
    }
    return {"value": value(params), "factors": {}, **functions}


def whole(tx, params):
    is_pair = isinstance(jax.eval_shape(tx.init, params), states.LookaheadState)
    return ours.lookahead_params(params) if is_pair else params


def update(tx, grads, state, params):
    """Make one update, with extra arguments if the optimizer takes them."""
    point = params.fast if isinstance(params, ours.LookaheadParams) else params
    takes_extra = isinstance(tx, optax.GradientTransformationExtraArgs)
    return tx.update(grads, state, params, **(extra(point) if takes_extra else {}))


def kinds(tree):
    return [(x.shape, x.dtype, x.weak_type) for x in jax.tree.leaves(tree)]


def test_every_public_name_is_a_member_or_no_transformation():
    assert set(MAKE) | OTHERS == set(ours.__all__)
    assert not set(MAKE) & OTHERS
    assert all(hasattr(make(), "update") for make in ALL.values())


PAIRS = {  # of the parameters' and the gradients' dtypes
    False: ["bfloat16 float32", "float32 bfloat16", "float16 bfloat16", "float16 float16", "float32 float32"],
    True: ["float16 float64", "bfloat16 float32", "float32 float64", "float64 float32", "float64 float16"],
}
COMPLEX_PAIRS = {False: ["complex64 complex64"], True: ["complex64 complex128", "complex128 complex64"]}


@pytest.mark.parametrize("x64", [False, True], ids=["x32", "x64"])
@pytest.mark.parametrize("name", ALL)
def test_a_state_keeps_its_dtypes_under_any_gradient(name, x64):
    """Weak types are kept, too, so scan and cond accept the state; tracing compiles nothing."""
    tx = ALL[name]()
    pairs = PAIRS[x64] + ([] if name in COMPLEX_REFUSED else COMPLEX_PAIRS[x64])
    with jax.enable_x64(x64):
        for pair in pairs:
            params_dtype, grads_dtype = pair.split()
            params, grads = whole(tx, as_dtype(PARAMS, params_dtype)), as_dtype(GRADS, grads_dtype)
            before = jax.eval_shape(tx.init, params)
            after = jax.eval_shape(lambda g, s, p: update(tx, g, s, p)[1], grads, before, params)
            assert kinds(before) == kinds(after), pair


@pytest.mark.parametrize("name", ALL)
def test_a_fresh_state_and_its_parameters_can_be_donated_again_and_again(name):
    tx = ALL[name]()
    grads = as_dtype(GRADS, jnp.float32)

    @partial(jax.jit, donate_argnums=(0, 1))
    def step(params, state):
        return jax.tree.map(lambda x: x + 1, (params, state))

    for init in (tx.init, jax.jit(tx.init)):
        for _ in range(2):
            params = whole(tx, as_dtype(PARAMS, jnp.float32))
            # the host reads them as well, which donating a shared buffer would prevent
            stepped = step(params, init(params))
            assert all(np.isfinite(x).all() for x in jax.tree.leaves(stepped))
    assert not any(x.is_deleted() for x in jax.tree.leaves(grads))
    params = whole(tx, as_dtype(PARAMS, jnp.float32))
    buffers = [x.unsafe_buffer_pointer() for x in jax.tree.leaves((params, tx.init(params)))]
    assert len(set(buffers)) == len(buffers)


class Net(eqx.Module):
    """A callable module with leaves that are no arrays."""

    w: object
    b: object
    activation: object = jnp.tanh
    name: object = "net"

    def __call__(self, x):
        return self.activation(x @ self.w + self.b)


def net(tree, **static):
    return Net(tree["w"], tree["b"], **static)


MODULE_MASK = net(MASK, activation=False, name=False)
MODULE_NUMBERS = net(NUMBERS, activation=None, name=None)


def numbers_of(tree):
    return jax.tree.map(lambda x: states.MuonDimensionNumbers() if jnp.ndim(x) == 2 else None, tree)


CALLABLE = {
    "masked": lambda: ours.masked(ours.adam(0.1), MODULE_MASK),
    "freeze": lambda: ours.freeze(MODULE_MASK),
    "partition": lambda: ours.partition(ADAM_AND_MOMENTUM, net(LABELS, activation="a", name="a")),
    "scale_by_group": lambda: ours.scale_by_group(net({"w": 0.5, "b": 2.0}, activation=0.0, name=0.0)),
    "add_decayed_weights mask": lambda: ours.add_decayed_weights(0.1, MODULE_MASK),
    "max_norm mask": lambda: ours.max_norm(0.1, MODULE_MASK),
    "proximal_l1 mask": lambda: ours.proximal_l1(0.1, MODULE_MASK),
    "adamw mask": lambda: ours.adamw(0.1, mask=MODULE_MASK),
    "adamw torch": lambda: ours.adamw(0.1, mask=MODULE_MASK, convention="torch"),
    "adadelta mask": lambda: ours.adadelta(0.1, weight_decay=0.1, weight_decay_mask=MODULE_MASK),
    "lars masks": lambda: ours.lars(0.1, 0.1, MODULE_MASK, trust_ratio_mask=MODULE_MASK),
    "lars paper": lambda: ours.lars(0.1, 0.1, MODULE_MASK, convention="paper"),
    "muon mask": lambda: ours.muon(0.1, weight_decay=0.1, weight_decay_mask=MODULE_MASK),
    "muon numbers": lambda: ours.muon(0.1, muon_weight_dimension_numbers=MODULE_NUMBERS),
    "muon numbers function": lambda: ours.muon(0.1, muon_weight_dimension_numbers=numbers_of),
}  # fmt: skip
PLAIN = {
    "masked": MAKE["masked"], "freeze": MAKE["freeze"], "partition": MAKE["partition"],
    "scale_by_group": MAKE["scale_by_group"], "adamw mask": SETTINGS["adamw mask"],
    "adamw torch": SETTINGS["adamw torch"],
    "add_decayed_weights mask": lambda: ours.add_decayed_weights(0.1, MASK),
    "max_norm mask": lambda: ours.max_norm(0.1, MASK),
    "proximal_l1 mask": lambda: ours.proximal_l1(0.1, MASK),
    "adadelta mask": lambda: ours.adadelta(0.1, weight_decay=0.1, weight_decay_mask=MASK),
    "lars masks": lambda: ours.lars(0.1, 0.1, MASK, trust_ratio_mask=MASK),
    "lars paper": lambda: ours.lars(0.1, 0.1, MASK, convention="paper"),
    "muon mask": lambda: ours.muon(0.1, weight_decay=0.1, weight_decay_mask=MASK),
    "muon numbers": SETTINGS["muon numbers"], "muon numbers function": SETTINGS["muon numbers"],
}  # fmt: skip


@pytest.mark.parametrize("name", CALLABLE)
def test_masks_labels_and_factors_may_be_modules(name):
    """A module gives the numbers of a dictionary; updates of static leaves are None, parameters stay a module."""
    tx, plain = CALLABLE[name](), PLAIN[name]()
    params, grads = as_dtype(PARAMS, jnp.float32), as_dtype(GRADS, jnp.float32)
    module = net(params)
    arrays = eqx.filter(module, eqx.is_array)
    gradient = net(grads, activation=None, name=None)
    state = tx.init(arrays)
    expected_state = plain.init(params)
    for _ in range(2):
        found, state = tx.update(gradient, state, module)
        expected, expected_state = plain.update(grads, expected_state, params)
    assert found.activation is None
    assert found.name is None
    np.testing.assert_allclose(found.w, expected["w"], rtol=1e-6)
    np.testing.assert_allclose(found.b, expected["b"], rtol=1e-6)


@pytest.mark.parametrize(
    "name", [n for n in ALL if n not in {"kfac", "masked", "freeze", "partition", "scale_by_group"} | set(SETTINGS)]
)  # kfac takes dicts
def test_a_whole_module_with_static_leaves_may_be_the_parameters(name):
    tx = ALL[name]()
    params, grads = as_dtype(PARAMS, jnp.float32), as_dtype(GRADS, jnp.float32)
    module, gradient = net(params), net(grads, activation=None, name=None)
    start = eqx.filter(module, eqx.is_array)

    def arguments(wrap, params):
        def as_dict(p):
            return {"w": p.w, "b": p.b} if isinstance(p, Net) else p

        return {
            "value": value(params), "value_fn": lambda p: value(as_dict(p)), "model_fn": lambda p: model(as_dict(p)),
            "loss_fn": loss,
        } if isinstance(tx, optax.GradientTransformationExtraArgs) else {}  # fmt: skip

    if name == "lookahead":
        module, params = ours.LookaheadParams(module, module), ours.LookaheadParams(params, params)
    point = params.fast if name == "lookahead" else params
    found, _ = tx.update(gradient, tx.init(start), module, **arguments(True, point))
    expected, _ = tx.update(grads, tx.init(point), params, **arguments(False, point))
    if name == "lookahead":
        found, expected = found.fast, expected.fast
    assert found.activation is None
    np.testing.assert_allclose(found.w, expected["w"], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(found.b, expected["b"], rtol=1e-5, atol=1e-7)


WHOLE_TREES = {"lbfgs", "newton", "newton_cg", "gauss_newton", "natural_gradient", "clip_by_global_norm", "chain"}
WHOLE_TREES |= {"partition lbfgs", "masked newton", "prodigy", "prodigy paper", "dadapt_adamw", "dadapt_adamw paper"}
WHOLE_TREES |= {"sophia paper", "sam", "sam opaque"}


@pytest.mark.parametrize("name", sorted(set(ALL) - {n for n in ALL if "optax" in n}))
def test_an_update_that_is_none_leaves_the_leaf_and_its_state_alone(name):
    """The other leaf has the same update, unless all leaves form one vector; the state keeps its structure."""
    tx = ALL[name]()
    params, grads = whole(tx, as_dtype(PARAMS, jnp.float32)), as_dtype(GRADS, jnp.float32)
    if name in {"lbfgs", "partition lbfgs"}:
        pytest.skip("the vector of all parameters has a length of its own")
    state = tx.init(params)
    full, _ = update(tx, grads, state, params)
    partly, after = update(tx, {"w": grads["w"], "b": None}, state, params)
    if isinstance(partly, ours.LookaheadParams):
        full, partly = full.fast, partly.fast
    assert partly["b"] is None
    assert jax.tree.structure(after) == jax.tree.structure(state)
    if name not in WHOLE_TREES:
        np.testing.assert_array_equal(partly["w"], full["w"])


@pytest.mark.parametrize("name", ALL)
def test_optax_s_tree_map_params_reads_every_state(name):
    """Sharding specs are built with it: every tree like the parameters gets their specs."""
    tx = ALL[name]()
    params = as_dtype(PARAMS, jnp.float32)
    state = tx.init(whole(tx, params))
    same = optax.tree_map_params(tx, lambda x: x, state)
    assert jax.tree.structure(same) == jax.tree.structure(state)
    specs = optax.tree_map_params(
        tx,
        lambda x, spec: x if isinstance(x, optax.MaskedNode) else spec,
        state,
        {"w": "rows", "b": "all"},
        transform_non_params=lambda x: "other",
        is_leaf=lambda x: isinstance(x, optax.MaskedNode),
    )
    flat = jax.tree.leaves_with_path(specs)
    assert all(leaf in ("rows", "all", "other") for _, leaf in flat)
    for path, leaf in flat:
        if leaf != "other":
            assert path[-1].key == ("w" if leaf == "rows" else "b")
    moments = [leaf for _, leaf in flat if leaf != "other"]
    shapes = {jax.tree_util.keystr(path): x.shape for path, x in jax.tree.leaves_with_path(state)}
    like = lambda path, shape: shape in ((2, 3), (3,)) and "ns_coeffs" not in path
    kept = [
        path
        for path, shape in shapes.items()
        if like(path, shape) or re.search(r"\.(v(_row|_col)?|statistics|roots|bases)\[", path)
    ]
    assert len(moments) == len(kept)


@pytest.mark.parametrize("name", [*DIRECT, "lbfgs"])
def test_inject_hyperparams_runs_under_jit(name):
    factory = getattr(ours, name)
    static = {"memory_size"} if name == "lbfgs" else set()
    arguments = {} if name == "lbfgs" else {"learning_rate": 0.1}
    tx, plain = optax.inject_hyperparams(factory, static_args=static)(**arguments), factory(**arguments)
    params, grads = as_dtype(PARAMS, jnp.float32), as_dtype(GRADS, jnp.float32)
    jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    found, _ = jit(lambda g, p: update(tx, g, tx.init(p), p))(grads, params)
    expected, _ = jit(lambda g, p: update(plain, g, plain.init(p), p))(grads, params)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), found, expected)
    if name == "lbfgs":
        with pytest.raises(ValueError, match="memory_size is an array: it sets shapes"):
            jax.eval_shape(optax.inject_hyperparams(factory)().init, params)


@pytest.mark.parametrize("name", sorted(set(ALL) - {n for n in ALL if "optax" in n or "schedule" in n}))
def test_strict_promotion_allows_half_precision(name):
    """jax's and equinox's own tests run under it; tracing suffices."""
    for dtype in ("float16", "bfloat16", "float32"):
        with jax.numpy_dtype_promotion("strict"):
            tx = ALL[name]()
            params, grads = as_dtype(PARAMS, dtype), as_dtype(GRADS, dtype)
            params = whole(tx, params)
            once = lambda p, g: update(tx, g, tx.init(p), p)  # noqa: B023
            twice = lambda p, g: update(tx, g, once(p, g)[1], p)  # noqa: B023
            of_functions = ("newton", "newton_cg", "gauss_newton", "natural_gradient", "lbfgs", "masked newton")
            updates, _ = jax.eval_shape(once if name in of_functions else twice, params, grads)
        wide = {jnp.dtype(jnp.float32)} if name == "lookahead" else set()  # its pairs are updated in float32
        assert {x.dtype for x in jax.tree.leaves(updates)} <= {jnp.dtype(dtype), *wide}


@pytest.mark.parametrize("name", [name for name in DIRECT if name != "newton"])  # whose Hessian is singular here
def test_a_learning_rate_of_zero_is_a_control_that_stays(name):
    tx, params = getattr(ours, name)(learning_rate=0.0), as_dtype(PARAMS, jnp.float32)
    updates, _ = jax.jit(lambda g, p: update(tx, g, tx.init(p), p))(as_dtype(GRADS, jnp.float32), params)
    assert not any(x.any() for x in jax.tree.leaves(updates))


class TestMistakes:
    """Errors name the argument, its value and the allowed ones."""

    @pytest.mark.parametrize("name", ALL)
    def test_swapped_arguments_and_foreign_states_are_named(self, name):
        tx = ALL[name]()
        params, grads = whole(tx, as_dtype(PARAMS, jnp.float32)), as_dtype(GRADS, jnp.float32)
        state = tx.init(params)
        message = "state is .*(needs|without arrays|so it is the state of another).*update\\(updates, state, params\\)"
        arguments = extra(as_dtype(PARAMS, jnp.float32))
        arguments = arguments if isinstance(tx, optax.GradientTransformationExtraArgs) else {}
        with pytest.raises(ValueError, match=message):
            tx.update(grads, params, params, **arguments)
        if jax.tree.leaves(state):
            with pytest.raises(ValueError, match=message):
                tx.update(grads, None, params, **arguments)
        other = ours.chain(*[ours.add_decayed_weights(lambda count: 0.1)] * 5).init(params)
        with pytest.raises(ValueError, match=message):
            tx.update(grads, other, params, **arguments)

    def test_a_state_of_other_parameters_is_named(self):
        tx, params = ours.adam(0.1), as_dtype(PARAMS, jnp.float32)
        with pytest.raises(ValueError, match="updates is another tree than the state"):
            tx.update(params, tx.init({"v": params["w"]}), params)
        with pytest.raises(ValueError, match=r"shape \(3,\) where the state or params has one of shape \(1,\)"):
            tx.update(params, tx.init({"w": params["w"], "b": params["b"][:1]}), params)
        with pytest.raises(ValueError, match="state is of 6 parameters: these are 9"):
            ours.lbfgs().update(
                params, ours.lbfgs().init({"w": params["w"]}), params, value=value(params), value_fn=value
            )

    @pytest.mark.parametrize(
        ("make", "name"),
        [
            (lambda n: ours.accumulate(ours.sgd(0.1), n), "every"),
            (lambda n: ours.lookahead(ours.sgd(0.1), n, 0.5), "sync_period"),
            (lambda n: ours.tail_average(n), "start"),
            (lambda n: ours.lbfgs(n), "memory_size"),
            (lambda n: ours.lbfgs(max_halvings=n), "max_halvings"),
            (lambda n: ours.newton_cg(max_steps=n), "max_steps"),
            (lambda n: ours.newton_cg(max_halvings=n), "max_halvings"),
            (lambda n: ours.gauss_newton(max_steps=n), "max_steps"),
            (lambda n: ours.natural_gradient(max_steps=n), "max_steps"),
            (lambda n: ours.muon(0.1, ns_steps=n), "ns_steps"),
            (lambda n: ours.adafactor(0.1, n), "min_dim_size_to_factor"),
            (lambda n: ours.kfac(0.1, inverse_every=n), "inverse_every"),
            (lambda n: ours.sophia(0.1, update_interval=n), "update_interval"),
            (lambda n: ours.shampoo(0.1, max_dim=n), "max_dim"),
            (lambda n: ours.soap(0.1, update_interval=n), "update_interval"),
            (lambda n: ours.sophia(0.1, print_win_rate_every_n_steps=n), "print_win_rate_every_n_steps"),
            (lambda n: ours.sam(ours.sgd(0.1), None, n), "sync_period"),
            (lambda n: ours.hutchinson_diagonal(jax.random.key(0), value, PARAMS, n), "samples"),
        ],
    )
    def test_counts_are_whole_numbers(self, make, name):
        for wrong in (2.5, 4.0, -1, True, jnp.float32(2.0)):
            with pytest.raises(ValueError, match=f"{name} is .*(a whole number|sets shapes)"):
                make(wrong)

    def test_counts_are_all_checked(self):
        """The tests above have every argument of a public function whose default is a whole number."""
        counts = {"every", "sync_period", "start", "memory_size", "max_halvings", "max_steps", "ns_steps", "samples"}
        counts |= {"min_dim_size_to_factor", "update_interval", "print_win_rate_every_n_steps", "inverse_every"}
        for name in ours.__all__:
            if callable(getattr(ours, name)) and not inspect.isclass(getattr(ours, name)):
                for parameter in inspect.signature(inspect.unwrap(getattr(ours, name))).parameters.values():
                    if isinstance(parameter.default, int) and not isinstance(parameter.default, bool):
                        assert parameter.name in counts | {"decay_offset"}, (name, parameter.name)

    @pytest.mark.parametrize("name", MAKE)
    def test_parameters_may_be_python_numbers(self, name):
        tx = ALL[name]()
        numbers = {"w": 1.5, "b": -0.5}

        def run(params, grads):
            params = ours.LookaheadParams(params, params) if "lookahead" in name else params
            functions = {
                "value": 3.0, "value_fn": lambda p: jnp.square(p["w"]) + p["b"] ** 2, "loss_fn": jnp.sum,
                "model_fn": lambda p: jnp.stack([p["w"], p["b"]])[None] ** 2, "factors": {},
            } if isinstance(tx, optax.GradientTransformationExtraArgs) else {}  # fmt: skip
            return tx.update(grads, tx.init(params), params, **functions)[0]

        found, expected = (
            run(numbers, {"w": 0.5, "b": 2.0}),
            run(*as_dtype((numbers, {"w": 0.5, "b": 2.0}), jnp.float32)),
        )
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6), found, expected)

    @pytest.mark.parametrize(
        "make",
        [
            lambda mask: ours.add_decayed_weights(0.1, mask),
            lambda mask: ours.adamw(0.1, mask=mask),
            lambda mask: ours.adamw(0.1, mask=mask, convention="torch"),
            lambda mask: ours.adamw(0.1, mask=mask, weight_decay=lambda count: 0.1),
            lambda mask: ours.lion(0.1, mask=mask),
            lambda mask: ours.soap(0.1, mask=mask),
            lambda mask: ours.sophia(0.1, weight_decay_mask=mask),
            lambda mask: ours.adan(0.1, weight_decay=0.1, mask=mask),
            lambda mask: ours.adan(0.1, weight_decay=0.1, mask=mask, convention="paper"),
            lambda mask: ours.adafactor(0.1, weight_decay_rate=0.1, weight_decay_mask=mask),
            lambda mask: ours.lamb(0.1, weight_decay=0.1, mask=mask),
            lambda mask: ours.adadelta(0.1, weight_decay=0.1, weight_decay_mask=mask),
            lambda mask: ours.lars(0.1, 0.1, mask),
            lambda mask: ours.lars(0.1, 0.1, mask, convention="paper"),
            lambda mask: ours.muon(0.1, weight_decay=0.1, weight_decay_mask=mask),
        ],
    )
    def test_a_decay_whose_mask_selects_no_leaf_is_an_error(self, make):
        params = as_dtype(PARAMS, jnp.float32)
        for mask in (
            {"w": False, "b": False},
            False,
            ours.mask_by_path("kernel"),
            lambda tree: jax.tree.map(lambda x: False, tree),
        ):
            with pytest.raises(ValueError, match="selects none of the"):
                jax.eval_shape(lambda p: (tx := make(mask)).update(p, tx.init(p), p), params)  # noqa: B023
        make(ours.mask_by_path("w")).init(params)

    def test_patterns_are_checked(self):
        with pytest.raises(ValueError, match="patterns is empty"):
            ours.mask_by_path()
        with pytest.raises(ValueError, match=r"patterns has '\('"):
            ours.mask_by_path("(")
        tree = {"conv": {"kernel": 1, "bias": 2}, "head": [3, 4]}
        assert ours.mask_by_path(".*/kernel", "head/1")(tree) == {
            "conv": {"kernel": True, "bias": False},
            "head": [False, True],
        }

    @pytest.mark.parametrize("inner", ["optax.lbfgs", "lbfgs", "newton", "gauss_newton"])
    @pytest.mark.parametrize("outer", ["masked", "partition"])
    def test_a_part_that_optax_hides_from_an_optimizer_of_the_loss_is_refused_in_one_line(self, outer, inner):
        optimizer = optax.lbfgs() if inner == "optax.lbfgs" else getattr(ours, inner)()
        mask, labels = {"w": True, "b": False}, {"w": "a", "b": "b"}
        params = jax.tree.map(jnp.float32, PARAMS)

        def model(params):
            return jnp.concatenate([(params["w"] - 4).ravel(), params["b"]])

        def loss(outputs):
            return (outputs**2).sum()

        def step(library):
            around = (
                library.masked(optimizer, mask)
                if outer == "masked"
                else library.partition({"a": optimizer, "b": ours.set_to_zero()}, labels)
            )
            value, grads = jax.value_and_grad(lambda params: loss(model(params)))(params)
            offered = {
                "value": value,
                "value_fn": lambda params: loss(model(params)),
                "model_fn": model,
                "loss_fn": loss,
            }
            return ours.update(around, grads, around.init(params), params, **offered)[0]

        with pytest.raises(ValueError, match=r"^optimizer: optax.masked or optax.partition hides") as caught:
            step(optax)
        assert "\n" not in str(caught.value)
        assert jnp.all(jnp.abs(step(ours)["w"]) > 0)

    @pytest.mark.parametrize("name", PENALIZED)
    def test_an_l2_penalty_is_an_argument_under_pytorch_s_convention_alone(self, name):
        factory = getattr(ours, name)
        plain = ours.chain(ours.add_decayed_weights(0.1), factory(0.1, convention="torch"))
        penalized = factory(0.1, weight_decay=0.1, convention="torch")
        chained, built_in = (tx.update(GRADS, tx.init(PARAMS), PARAMS)[0] for tx in (plain, penalized))
        jax.tree.map(np.testing.assert_array_equal, chained, built_in)
        for convention, row in row_of(name).items():
            missing = {key: 0.5 for key, value in row.items() if value is ours.conventions.REQUIRED}
            if convention != "torch":
                with pytest.raises(ValueError, match=r"only under 'torch'; chain\(add_decayed_weights\(...\), "):
                    factory(0.1, weight_decay=0.1, convention=convention, **missing)


@pytest.mark.parametrize("value", ["0.1", [0.1], (0.1,), {"w": 0.1}])
@pytest.mark.parametrize("kind", ["positive", "non_negative", "decay_rates"])
def test_a_hyperparameter_that_is_no_number_is_refused_at_once(kind, value):
    # in an optimizer's call the suite's annotation checks would raise first
    with pytest.raises(ValueError, match=r"learning_rate is .*: it must be a number"):
        ours.checks.check(**{kind: {"learning_rate": value}})
