"""Conventions against PyTorch's and Keras's own steps (golden vectors) and against hand-written formulas.

``tests/golden/make_golden.py`` made the vectors and records the versions. The lectures' and papers' forms are
checked against numpy loops written from the printed formulas.
"""

import importlib.util
import inspect
import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdl.optimizers as ours
from jaxdl.optimizers import conventions

GOLDEN = Path(__file__).parent / "golden"
_spec = importlib.util.spec_from_file_location("stream", GOLDEN / "stream.py")
stream = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(stream)
GRADS = stream.gradients()

# case -> (factory, keywords); the convention is the framework's name
CASES = {name: (getattr(ours, name), {}) for name in ("momentum", *conventions.TABLE)} | {
    "momentum_scheduled": (ours.momentum, {}),
    "rmsprop_momentum_scheduled": (ours.rmsprop, {"momentum": 0.9}),
    "rmsprop_centered": (ours.rmsprop, {"centered": True}),
}
RECORDS = {name: json.loads((GOLDEN / f"{name}.json").read_text()) for name in ("torch", "keras")}
PAIRS = [(framework, case) for framework, record in RECORDS.items() for case in record["runs"]]


def rate(scheduled):
    half = stream.STEPS // 2
    return (lambda count: jnp.where(count < half, 0.01, 0.001)) if scheduled else 0.01


def trajectory(tx, grads, start=stream.INITIAL):
    """Return the parameters after every step, shape (steps, ...), computed operation by operation.

    A compiled scan would contract products and sums to fused multiply-adds, which round differently.
    """
    params = jnp.broadcast_to(jnp.asarray(start), grads[0].shape)
    state, found = tx.init(params), []
    for g in jnp.asarray(grads):
        updates, state = tx.update(g, state, params)
        params = optax.apply_updates(params, updates)
        found.append(params)
    return np.stack(found)


def ulps(a, b):
    """Return |a − b| / spacing(max|b|) of each row."""
    spacing = np.spacing(np.abs(np.asarray(b, np.float32)).max(-1))
    return np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64)).max(-1) / spacing


def saved_steps(tx):
    """Run both streams at once, as these optimizers treat entries independently."""
    found = trajectory(tx, np.stack([GRADS["random"], GRADS["adverse"]], 1))[np.array(stream.SAVED) - 1]
    return {"random": found[:, 0], "adverse": found[:, 1]}


@pytest.mark.parametrize(("framework", "case"), PAIRS)
def test_equals_the_framework(framework, case):
    factory, options = CASES[case]
    if (framework, case) == ("keras", "nadam"):
        # Keras rounds these two to float32 before it takes 1 − b
        options = {"b1": np.float32(0.9), "b2": np.float32(0.999)}
    found = saved_steps(factory(rate(case.endswith("scheduled")), convention=framework, **options))
    for name, params in found.items():
        expected = np.array(RECORDS[framework]["runs"][case][name], np.float32)
        assert ulps(params, expected).max() <= 16, name


@pytest.mark.parametrize("framework", RECORDS)
def test_the_vectors_tell_conventions_apart(framework):
    """The default convention fails the comparison wherever the table differs, so the test above can fail."""
    for case in ("amsgrad", "nadam", "adamw"):
        factory, options = CASES[case]
        expected = np.array(RECORDS[framework]["runs"][case]["random"], np.float32)
        found = trajectory(factory(0.01, **options), GRADS["random"][:10])
        assert ulps(found[[0, 1, 2, 9]], expected[:4]).max() > 100, case


# torch.optim's (lr=.01, weight_decay=.1) of PyTorch 2.15.0 on the "random" stream after steps 2 and 30
TORCH_PENALTY = {
    "sgd": [
        [-1.0002674, -0.71890122, -0.43154994, -0.15512834, 0.14049216, 0.44718754, 0.71233171, 0.99395818],
        [-0.97104204, -0.81824762, -0.48369569, -0.17067076, 0.13596845, 0.44857132, 0.74258018, 0.88368922],
    ],
    "momentum": [
        [-1.0047379, -0.71791399, -0.43789342, -0.16960704, 0.14157096, 0.44800904, 0.69657594, 0.98525125],
        [-0.81875604, -1.3203923, -0.63669741, -0.24797398, 0.069505431, 0.60492182, 0.91980594, 0.2389801],
    ],
    "nesterov": [
        [-1.004523, -0.72216856, -0.4399277, -0.17917575, 0.13933252, 0.46467987, 0.69642282, 0.98070091],
        [-0.81060553, -1.3572474, -0.66992646, -0.2638444, 0.069712169, 0.60070163, 0.92476845, 0.20916268],
    ],
    "adagrad": [
        [-1.0031233, -0.71410686, -0.4335683, -0.15055251, 0.14337659, 0.44855815, 0.71092546, 0.99351549],
        [-0.98770475, -0.73621726, -0.438234, -0.1499632, 0.14187098, 0.45385817, 0.71930611, 0.97049522],
    ],
    "rmsprop": [
        [-1.0303684, -0.71256745, -0.47752854, -0.2191841, 0.14777173, 0.62843847, 0.6810832, 0.93607187],
        [-0.87990552, -0.93589956, -0.53124261, -0.21143484, 0.13230115, 0.66284347, 0.76670337, 0.70487624],
    ],
    "adamax": [
        [-1.0097514, -0.70864069, -0.44026873, -0.15635096, 0.14918335, 0.44407895, 0.70422226, 0.9872368],
        [-0.97954512, -0.74190867, -0.44045526, -0.1582431, 0.14451301, 0.47126263, 0.72144055, 0.94004452],
    ],
    "nadam": [
        [-1.0038339, -0.71386564, -0.43445128, -0.1516256, 0.14371452, 0.44960433, 0.71019018, 0.99252081],
        [-0.96139902, -0.79463989, -0.46760005, -0.16163482, 0.13750112, 0.46087965, 0.73646849, 0.91155535],
    ],
    "radam": [
        [-1.0048465, -0.71567577, -0.43681642, -0.16455641, 0.142748, 0.43923414, 0.69667226, 0.98765492],
        [-0.99065983, -0.7261923, -0.4303619, -0.16199413, 0.12904316, 0.45969388, 0.70170212, 0.97622925],
    ],
    "amsgrad": [
        [-1.0097451, -0.71033305, -0.44064796, -0.15766141, 0.14793247, 0.44634795, 0.70421869, 0.98634464],
        [-0.95919645, -0.78753072, -0.45149541, -0.16564375, 0.13698137, 0.4944039, 0.73337138, 0.90201378],
    ],
    "adam": [
        [-1.0097451, -0.71033305, -0.44064796, -0.15766141, 0.14793247, 0.44634795, 0.70421869, 0.98634464],
        [-0.9591918, -0.78753072, -0.45149595, -0.16564372, 0.13698024, 0.49440598, 0.73337144, 0.90201378],
    ],
}


@pytest.mark.parametrize("name", TORCH_PENALTY)
def test_weight_decay_is_pytorch_s_penalty_under_its_convention(name):
    factory, expected = getattr(ours, name), np.array(TORCH_PENALTY[name], np.float32)
    found = trajectory(factory(0.01, weight_decay=0.1, convention="torch"), GRADS["random"][:30])
    assert ulps(found[[1, 29]], expected).max() <= 16
    without = trajectory(factory(0.01, convention="torch"), GRADS["random"][:30])
    assert ulps(without[[1, 29]], expected).max() > 100


def loop(update, grads, steps=30):
    """Loop over ``update(w, g, memory, t) -> (w, memory)`` in float64 numpy, with t from 1."""
    w, memory, found = stream.INITIAL.astype(np.float64), None, []
    for t, g in enumerate(grads[:steps].astype(np.float64), start=1):
        w, memory = update(w, g, memory, t)
        found.append(w)
    return np.stack(found)


def _ema_momentum(w, g, v, t):
    v = 0.9 * (0.0 if v is None else v) + 0.1 * g
    return w - 0.01 * v, v


def _heavy_ball(w, g, v, t):
    v = 0.9 * (0.0 if v is None else v) + g
    return w - 0.01 * v, v


def _velocity(w, g, v, t):
    v = 0.9 * (0.0 if v is None else v) - 0.01 * g
    return w + v, v


def _second_moment(root, decay=None):
    def update(w, g, r, t):
        r = 0.0 if r is None else r
        r = r + g * g if decay is None else decay * r + (1 - decay) * g * g
        return w - 0.01 * g / root(r), r

    return update


def _adam(root, corrected=True):
    def update(w, g, memory, t):
        m, v = (0.0, 0.0) if memory is None else memory
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        c1, c2 = (1 - 0.9**t, 1 - 0.999**t) if corrected else (1.0, 1.0)
        return w - 0.01 * (m / c1) / root(v / c2), (m, v)

    return update


def _adamax_paper(w, g, memory, t):
    m, u = (0.0, 0.0) if memory is None else memory
    m, u = 0.9 * m + 0.1 * g, np.maximum(0.999 * u, np.abs(g))
    return w - 0.01 / (1 - 0.9**t) * m / u, (m, u)


def _adamw_paper(w, g, memory, t):
    stepped, memory = _adam(lambda v: np.sqrt(v) + 1e-8)(w, g, memory, t)
    return stepped - 0.002 * w, memory


def _amsgrad_paper(w, g, memory, t):
    m, v, top = (0.0, 0.0, 0.0) if memory is None else memory
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
    top = np.maximum(top, v)
    return w - 0.01 * m / (np.sqrt(top) + 1e-8), (m, v, top)


def _adadelta_paper(w, g, memory, t):
    v, x = (0.0, 0.0) if memory is None else memory
    v = 0.95 * v + 0.05 * g * g
    step = np.sqrt(x + 1e-6) / np.sqrt(v + 1e-6) * g
    return w - step, (v, 0.95 * x + 0.05 * step * step)


def _lars_paper(w, g, v, t):
    local = 0.001 * np.linalg.norm(w) / (np.linalg.norm(g) + 5e-4 * np.linalg.norm(w))
    v = 0.9 * (0.0 if v is None else v) + 0.01 * local * (g + 5e-4 * w)
    return w - v, v


def _adan_paper(w, g, memory, t):
    """In the authors' betas, which are 1 − those of the paper; their code also corrects the bias."""
    m, v, n, before = (0.0, 0.0, 0.0, g) if memory is None else memory
    m, v = 0.98 * m + 0.02 * g, 0.92 * v + 0.08 * (g - before)
    n = 0.99 * n + 0.01 * (g + 0.92 * (g - before)) ** 2
    step = 0.01 / (np.sqrt(n / (1 - 0.99**t)) + 1e-8) * (m / (1 - 0.98**t) + 0.92 * v / (1 - 0.92**t))
    return (w - step) / (1 + 0.01 * 0.5), (m, v, n, g)


def _adabelief_paper(w, g, memory, t):
    m, s = (0.0, 0.0) if memory is None else memory
    m = 0.9 * m + 0.1 * g
    s = 0.999 * s + 0.001 * (g - m) ** 2 + 1e-8
    return w - 0.01 * m / (1 - 0.9**t) / (np.sqrt(s / (1 - 0.999**t)) + 1e-8), (m, s)


def _yogi_paper(w, g, memory, t):
    m, v = (0.0, 0.25) if memory is None else memory
    m, v = 0.9 * m + 0.1 * g, v - 0.001 * np.sign(v - g * g) * g * g
    return w - 0.01 * m / (np.sqrt(v) + 1e-3), (m, v)


def _signum(w, g, m, t):
    m = 0.9 * (0.0 if m is None else m) + 0.1 * g
    return w - 0.01 * np.sign(m), m


def _rprop_paper(w, g, memory, t):
    """With the step back where the sign changed."""
    size, last, before = (np.full(8, 0.01), np.zeros(8), np.zeros(8)) if memory is None else memory
    w, last = w.copy(), last.copy()
    for i in range(8):
        if before[i] * g[i] > 0:
            size[i] = min(1.2 * size[i], 50.0)
        if before[i] * g[i] < 0:
            size[i] = max(0.5 * size[i], 1e-6)
            w[i] -= last[i]
            g[i] = last[i] = 0.0
        else:
            last[i] = -size[i] * np.sign(g[i])
            w[i] += last[i]
    return w, (size, last, g)


def _adafactor_paper(w, g, v, t):
    b = 1 - t**-0.8
    v = b * (0.0 if v is None else v) + (1 - b) * (g * g + 1e-30)
    u = g / np.sqrt(v)
    u = u / max(1.0, np.sqrt(np.mean(u * u)))
    return w - min(1e-2, t**-0.5) * max(1e-3, np.sqrt(np.mean(w * w))) * u, v


PRINTED = {
    "lecture_p momentum": (ours.momentum(0.01, convention="lecture_p"), _ema_momentum),
    "lecture_s momentum": (ours.momentum(0.01, convention="lecture_s"), _heavy_ball),
    "lecture_e momentum": (ours.momentum(0.01, convention="lecture_e"), _velocity),
    "lecture_s adagrad": (
        ours.adagrad(0.01, convention="lecture_s"),
        _second_moment(lambda r: np.sqrt(r) + 1e-7),
    ),
    "lecture_e adagrad": (
        ours.adagrad(0.01, eps=1e-3, convention="lecture_e"),
        _second_moment(lambda r: np.sqrt(r + 1e-3)),
    ),
    "lecture_p rmsprop": (
        ours.rmsprop(0.01, convention="lecture_p"),
        _second_moment(lambda r: np.sqrt(r) + 1e-8, 0.9),
    ),
    "lecture_s rmsprop": (
        ours.rmsprop(0.01, convention="lecture_s"),
        _second_moment(lambda r: np.sqrt(r) + 1e-7, 0.9),
    ),
    "lecture_e rmsprop": (
        ours.rmsprop(0.01, 0.8, 1e-3, convention="lecture_e"),
        _second_moment(lambda r: np.sqrt(r + 1e-3), 0.8),
    ),
    "paper rmsprop": (
        ours.rmsprop(0.01, eps=1e-3, convention="paper"),
        _second_moment(lambda r: np.sqrt(r) + 1e-3, 0.9),
    ),
    "torch adam penalty": (
        ours.adam(0.01, weight_decay=0.1, convention="torch"),
        lambda w, g, memory, t: _adam(lambda v: np.sqrt(v) + 1e-8)(w, g + 0.1 * w, memory, t),
    ),
    "paper adam": (ours.adam(0.01, convention="paper"), _adam(lambda v: np.sqrt(v) + 1e-8)),
    "lecture_p adam": (ours.adam(0.01, convention="lecture_p"), _adam(lambda v: np.sqrt(v + 1e-8))),
    "lecture_s adam": (ours.adam(0.01, convention="lecture_s"), _adam(lambda v: np.sqrt(v) + 1e-7)),
    "lecture_s almost adam": (
        ours.adam(0.01, convention="lecture_s", bias_correction=False),
        _adam(lambda v: np.sqrt(v) + 1e-7, corrected=False),
    ),
    "lecture_e adam": (
        ours.adam(0.01, eps_root=1e-3, convention="lecture_e"),
        _adam(lambda v: np.sqrt(v + 1e-3)),
    ),
    "paper adamax": (ours.adamax(0.01, convention="paper"), _adamax_paper),
    "paper adamw": (ours.adamw(0.01, weight_decay=0.002, convention="paper"), _adamw_paper),
    "paper amsgrad": (ours.amsgrad(0.01, eps=1e-8, convention="paper"), _amsgrad_paper),
    "paper adadelta": (ours.adadelta(convention="paper"), _adadelta_paper),
    "paper adan": (ours.adan(0.01, weight_decay=0.5, convention="paper"), _adan_paper),
    "paper adabelief": (ours.adabelief(0.01, convention="paper"), _adabelief_paper),
    "paper yogi": (ours.yogi(0.01, initial_accumulator_value=0.25, convention="paper"), _yogi_paper),
    "paper sign_sgd": (ours.sign_sgd(0.01, momentum=0.9, convention="paper"), _signum),
    "paper rprop": (ours.rprop(0.01, convention="paper"), _rprop_paper),
    "paper adafactor": (ours.adafactor(convention="paper"), _adafactor_paper),
    "paper lars": (ours.lars(0.01, convention="paper"), _lars_paper),
}


@pytest.mark.parametrize("name", PRINTED)
def test_equals_the_printed_formula(name):
    tx, update = PRINTED[name]
    found = trajectory(tx, GRADS["random"][:30])
    np.testing.assert_allclose(found, loop(update, GRADS["random"]), rtol=2e-5, atol=2e-6)


def test_nesterov_s_published_form_is_the_rewritten_one_at_the_looked_ahead_point():
    """On a quadratic, V = βV − αg(W + βV), W = W + V; the rewritten form holds W + βV as its parameters."""
    curvature = np.linspace(1.0, 20.0, 8)
    w, v, published = stream.INITIAL.astype(np.float64), np.zeros(8), []
    for _ in range(30):
        v = 0.9 * v - 0.01 * curvature * (w + 0.9 * v)
        w = w + v
        published.append(w)

    def ours_by_form(tx, point):
        w, state, found = jnp.asarray(stream.INITIAL), tx.init(jnp.asarray(stream.INITIAL)), []
        for _ in range(30):
            g = jnp.asarray(curvature, jnp.float32) * point(w, state)
            updates, state = tx.update(g, state, w)
            w = optax.apply_updates(w, updates)
            found.append((w, ours.gradient_point(state, w)))
        return found

    ahead = ours_by_form(ours.nesterov(0.01, convention="lecture_e"), lambda w, state: ours.gradient_point(state, w))
    np.testing.assert_allclose([w for w, _ in ahead], published, rtol=1e-4, atol=1e-5)
    rewritten = ours_by_form(ours.nesterov(0.01, convention="keras"), lambda w, state: w)
    np.testing.assert_allclose([w for w, _ in rewritten], [p for _, p in ahead], rtol=1e-4, atol=1e-5)


def test_the_nesterov_loop_that_ENEE4584_prints_is_plain_momentum_rotated():
    """The loop W = W + V, g at W, V = βV − αg visits the points and gradients of momentum."""
    curvature = np.linspace(1.0, 20.0, 8)
    w, v, printed = stream.INITIAL.astype(np.float64), np.zeros(8), []
    for _ in range(30):
        w = w + v
        v = 0.9 * v - 0.01 * curvature * w
        printed.append(w)
    w, v, plain = stream.INITIAL.astype(np.float64), np.zeros(8), []
    for _ in range(30):
        plain.append(w)
        v = 0.9 * v - 0.01 * curvature * w
        w = w + v
    np.testing.assert_allclose(printed, plain, rtol=1e-12)


def test_momentum_forms_are_one_algorithm_only_under_the_stated_maps():
    """EMA at α/(1−β) is always heavy ball; velocity is heavy ball only while α is constant."""
    grads = GRADS["random"][:40]

    def schedule(count):
        return jnp.where(count < 20, 0.01, 0.001)

    heavy, ema, velocity = (
        trajectory(ours.momentum(schedule, momentum_form=form), grads)
        if form != "ema"
        else trajectory(ours.momentum(lambda count: schedule(count) / (1 - 0.9), momentum_form=form), grads)
        for form in ("heavy_ball", "ema", "velocity")
    )
    assert ulps(ema, heavy).max() <= 16
    assert ulps(velocity[:20], heavy[:20]).max() <= 16
    assert ulps(velocity[25:], heavy[25:]).min() > 1000


def test_adam_s_epsilons_map_into_each_other_only_step_by_step():
    """Keras's eps on the raw root is optax's eps·√(1−b2ᵗ): equal at the step it is mapped for, then different."""
    grads = np.full((20, 8), 1e-6, np.float32)
    hat = trajectory(ours.adam(0.01, eps=1e-7, eps_hat=True), grads)
    mapped = trajectory(ours.adam(0.01, eps=1e-7 / np.sqrt(1 - 0.999)), grads)
    np.testing.assert_allclose(mapped[0], hat[0], rtol=1e-4)
    assert np.abs(mapped[10] - hat[10]).max() > 1e-3


RELATIONS = conventions.RELATIONS


@pytest.mark.parametrize("relation", RELATIONS, ids=[f"{r.optimizer}: {r.rule[:40]}" for r in RELATIONS])
def test_relations_hold(relation):
    grads = relation.gradient_scale * GRADS["random"][:25]
    factory = getattr(ours, relation.optimizer)
    left, right = (
        trajectory(factory(**{"learning_rate": 0.01, **options}), grads) for options in (relation.left, relation.right)
    )
    if relation.equal:
        assert ulps(left, right).max() <= 16
    else:
        assert ulps(left, right).max() > 100


class TestTable:
    """The table is complete, every factory reads it, and explicit arguments win."""

    @pytest.mark.parametrize("name", conventions.TABLE)
    def test_rows_have_the_same_arguments_and_the_factory_takes_them(self, name):
        rows = conventions.TABLE[name]
        assert len({frozenset(row) for row in rows.values()}) == 1
        parameters = inspect.signature(getattr(ours, name)).parameters
        entries = conventions.forms(name)
        arguments = [key for key in rows["optax"] if key not in entries] + ["form"] * bool(entries)
        assert all(parameters[key].default is None for key in arguments)
        assert not set(entries) & set(parameters)
        assert ("form" in parameters) == bool(entries)

    @pytest.mark.parametrize("name", conventions.TABLE)
    def test_every_pair_is_an_optimizer_or_an_error(self, name):
        factory = getattr(ours, name)
        for convention in conventions.CONVENTIONS:
            if convention not in conventions.TABLE[name]:
                with pytest.raises(ValueError, match=f"does not define {name}"):
                    factory(0.1, convention=convention)
                continue
            row = conventions.TABLE[name][convention]
            missing = {k: 0.5 for k, v in row.items() if v is conventions.REQUIRED}
            factory(0.1, convention=convention, **missing)
            if missing:
                with pytest.raises(ValueError, match=f"{next(iter(missing))} is None"):
                    factory(0.1, convention=convention)

    @pytest.mark.parametrize("framework", RECORDS)
    def test_every_row_of_a_framework_has_its_golden_vectors(self, framework):
        rows = {name for name, row in conventions.TABLE.items() if framework in row}
        assert rows <= set(RECORDS[framework]["runs"]), "a case of tests/golden/make_golden.py is missing"

    def test_explicit_wins(self):
        values = conventions.resolve("adam", "keras", eps=1e-3, eps_hat=None)
        assert values == {"eps": 1e-3, "eps_hat": True, "exact_correction": False, "moment_form": "increment"}
        given = conventions.resolve("adam", "torch", {"moment_form": "increment", "exact_correction": None})
        assert given == {"exact_correction": True, "moment_form": "increment"}
        with pytest.raises(ValueError, match="optimizer is 'adamm'"):
            conventions.defined("adamm")

    @pytest.mark.parametrize("name", [name for name in conventions.TABLE if conventions.forms(name)])
    def test_every_entry_of_form_is_taken_and_a_mistake_is_named(self, name):
        factory = getattr(ours, name)
        for entry in conventions.FORMS:
            if entry not in conventions.forms(name):
                with pytest.raises(ValueError, match=rf"form has the entry '{entry}': for {name} it may hold '"):
                    factory(0.1, form={entry: conventions.FORMS[entry][0]})
                continue
            for value in conventions.FORMS[entry]:
                factory(0.1, form={entry: value})
            allowed = ", ".join(map(repr, conventions.FORMS[entry]))
            for value in ("other", 1, np.True_):
                with pytest.raises(ValueError, match=rf"form\['{entry}'\] is .*: it must be one of {allowed}"):
                    factory(0.1, form={entry: value})

    def test_a_form_that_is_no_mapping_is_named(self):
        resolve = inspect.unwrap(conventions.resolve)  # the suite's annotation checks would raise first
        with pytest.raises(ValueError, match="form is 'mixed': it must be a mapping; for rmsprop it may hold"):
            resolve("rmsprop", "optax", "mixed")
        with pytest.raises(ValueError, match="for sgd it may hold nothing"):
            conventions.resolve("sgd", "optax", {"moment_form": "mixed"})

    def test_the_page_shows_every_row(self):
        page = conventions.page()
        for name, rows in conventions.TABLE.items():
            section = page.split(f"## {name}\n")[1].split("## ")[0]
            assert all(convention in section for convention in rows)
            entries = {key: f'form["{key}"]' for key in conventions.forms(name)}
            assert all(f"| {entries.get(key, key)} |" in section for key in rows["optax"])
            assert conventions.EQUATIONS[name] in section
            assert all(r.rule in section for r in RELATIONS if r.optimizer == name)
        assert "| weight_decay | 0.0001 | 0.01 | 0.004 | required |" in page
