"""Problems on text, of matrix factorization and of a differential equation, against loops, splits and differences."""

import importlib.metadata
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl import nn, studies
from jaxdl.studies import fitting, language, sweep

KEY = jax.random.key(0)


def trained(problem, rate, steps):
    """Return the values of a run of Adam."""
    runs = sweep.Sweep(sweep.place(problem), optax.adam, width=1)
    (trace,) = runs.run([sweep.Member(rate, 0)], steps)
    return [point.value for point in trace.points]


# ---------------------------------------------------------------- text


def paragraphs(text):
    return {one for one in bytes(text).decode("ascii").split("\n\n") if one}


def test_no_paragraph_of_the_licences_is_in_two_parts():
    texts = {name: paragraphs(text) for name, text in language.licences().items()}
    assert not texts["train"] & texts["test"]
    assert not texts["train"] & texts["validation"]
    assert not texts["validation"] & texts["test"]
    assert any("BSD" in one for one in texts["train"])
    sizes = {name: len(text) for name, text in language.licences().items()}
    assert sizes["train"] > 6 * sizes["test"] > 60_000
    assert max(int(text.max()) for text in language.licences().values()) < language.SYMBOLS


def test_a_package_without_its_licence_is_named(monkeypatch):
    bare = types.SimpleNamespace(files=[importlib.metadata.PackagePath("jaxlib/licenses.py")], version="1")
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: bare)
    with pytest.raises(ValueError, match=r"^jaxlib 1 came without a licence file"):
        language.licences.__wrapped__()


def small(texts):
    layer = nn.serial(embed=nn.Embedding(128, 8), lstm=nn.LSTM(16), logits=nn.Dense(128))
    return layer, studies.text_problem("small", layer, texts, batch_size=16, epochs=1)


@pytest.mark.slow
@pytest.mark.trains
def test_a_step_s_loss_is_the_mean_over_the_characters_of_its_windows():
    texts = {name: text[:3000] for name, text in language.licences().items()}
    layer, problem = small(texts)
    params, state = problem.init(KEY)
    starts = problem.batches(0, 0)[1]
    assert starts.shape == (16,)
    assert problem.steps == (3000 - 65) // 16 // 16
    loss, _ = jax.jit(problem.loss)(params, state, starts, problem.data, KEY)
    each, apply = [], jax.jit(layer.apply)
    for start in 16 * starts[:3].astype(int):
        window = texts["train"][start : start + 65].astype(int)
        logits = np.asarray(apply(params, state, window[None, :-1])[0][0], np.float64)
        logits -= logits.max(-1, keepdims=True)
        each += [np.log(np.exp(row).sum()) - row[code] for row, code in zip(logits, window[1:], strict=True)]
    alone, _ = jax.jit(problem.loss)(params, state, starts[:3], problem.data, KEY)
    np.testing.assert_allclose(alone, np.mean(each), rtol=1e-5)
    assert float(loss) == pytest.approx(np.log(128), abs=0.5)
    judged = problem.data["judged"]
    np.testing.assert_array_equal(judged[:, :-1].ravel(), texts["test"][: judged[:, :-1].size])
    assert problem.tuning().data["judged"].shape == judged.shape
    np.testing.assert_array_equal(problem.tuning().data["judged"][0], texts["validation"][:65])
    values = trained(problem, 0.03, 11)
    assert values[-1] < values[0] - 0.5
    with pytest.raises(ValueError, match=r"texts\['test'\] has 64 characters; needed are more than 64"):
        small(texts | {"test": texts["test"][:64]})


@pytest.mark.parametrize(("make", "parameters"), [(studies.char_transformer, 112_384), (studies.char_lstm, 103_040)])
def test_the_networks_on_text_have_their_sizes_and_targets(make, parameters):
    problem = make()
    params, _ = jax.eval_shape(problem.init, KEY)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == parameters
    assert problem.target < np.log(128)
    loss, _ = jax.eval_shape(problem.loss, params, {}, problem.batches(0, 0)[0], problem.data, KEY)
    assert (loss.shape, loss.dtype) == ((), jnp.float32)


# ---------------------------------------------------------------- matrix factorization


def test_matrix_factorization_leaves_out_a_tenth_of_the_entries_and_is_the_squared_error():
    problem = studies.matrix_factorization(rank=3)
    parts = [problem.data["known"], problem.data["judged"], problem.tuning().data["judged"]]
    cells = [{*map(tuple, one.tolist())} for one in parts]
    assert [len(one) for one in cells] == [92_008, 11_500, 11_500]
    assert len(set.union(*cells)) == 1797 * 64
    params, state = problem.init(KEY)
    batch, matrix = problem.batches(0, 0)[0], problem.data["matrix"]
    rows, columns, offset = (np.asarray(params[name], np.float64) for name in ("rows", "columns", "offset"))
    errors = [(matrix[i, j] - offset[j] - rows[i] @ columns[j]) ** 2 for i, j in problem.data["known"][batch]]
    np.testing.assert_allclose(problem.loss(params, state, batch, problem.data, KEY)[0], np.mean(errors), rtol=1e-5)
    held = [(matrix[i, j] - offset[j] - rows[i] @ columns[j]) ** 2 for i, j in problem.data["judged"]]
    np.testing.assert_allclose(problem.evaluate(params, state, problem.data)["value"], np.mean(held), rtol=1e-5)
    with pytest.raises(ValueError, match="rank=0"):
        studies.matrix_factorization(rank=0)


@pytest.mark.trains
def test_factors_complete_the_digits_better_than_the_mean_of_each_pixel():
    problem = studies.matrix_factorization()
    matrix, (i, j) = problem.data["matrix"], problem.data["judged"].T
    known = np.full(matrix.shape, np.nan)
    known[tuple(problem.data["known"].T)] = matrix[tuple(problem.data["known"].T)]
    of_means = np.mean((matrix - np.nanmean(known, 0))[i, j] ** 2)
    assert trained(problem, 0.01, problem.steps)[-1] <= problem.target < 0.6 * of_means


# ---------------------------------------------------------------- heat equation


def test_the_exact_solution_solves_the_heat_equation():
    x, t = (np.random.default_rng(seed).uniform(0.1, 0.9, 50) for seed in (0, 1))
    with jax.enable_x64(True):
        u = lambda x, t: np.asarray(fitting.heat_exact(jnp.asarray(x), jnp.asarray(t)))
        h = 1e-4
        slope = (u(x, t + h) - u(x, t - h)) / (2 * h)
        curvature = (u(x + h, t) - 2 * u(x, t) + u(x - h, t)) / h**2
        np.testing.assert_allclose(slope, fitting.DIFFUSIVITY * curvature, atol=1e-5)
        np.testing.assert_allclose(u(np.array([0.0, 1.0]), 0.3), 0, atol=1e-12)
        np.testing.assert_allclose(u(x, 0.0), np.sin(np.pi * x) + 0.5 * np.sin(3 * np.pi * x), rtol=1e-12)


@pytest.mark.slow
@pytest.mark.trains
def test_a_pinn_s_loss_is_that_of_finite_differences_and_its_points_are_uniform():
    problem = studies.heat_pinn()
    params, state = problem.init(KEY)
    points = problem.batches(3, 2)
    batch = jax.tree.map(lambda leaf: leaf[0], points)
    wide = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)

    def u(x, t):
        hidden = np.stack([x, t], -1)
        for i in (1, 2, 3):
            hidden = np.tanh(hidden @ wide[f"fc{i}"]["kernel"] + wide[f"fc{i}"]["bias"])
        return (hidden @ wide["logits"]["kernel"] + wide["logits"]["bias"])[:, 0]

    (x, t), h = np.asarray(batch["inside"], np.float64).T, 1e-4
    curvature = (u(x + h, t) - 2 * u(x, t) + u(x - h, t)) / h**2
    residual = (u(x, t + h) - u(x, t - h)) / (2 * h) - 0.1 * curvature
    x, t = (np.asarray(batch[name], np.float64) for name in ("x", "t"))
    start = u(x, 0 * x) - np.sin(np.pi * x) - 0.5 * np.sin(3 * np.pi * x)
    ends = np.concatenate([u(0 * t, t), u(0 * t + 1, t)])
    wanted = np.mean(residual**2) + np.mean(start**2) + np.mean(ends**2)
    found, _ = jax.jit(problem.loss)(params, state, batch, problem.data, KEY)
    np.testing.assert_allclose(found, wanted, rtol=1e-4)
    for leaf in points.values():
        assert 0 <= leaf.min() < 0.01 < 0.99 < leaf.max() < 1
        assert leaf.mean() == pytest.approx(0.5, abs=0.02)
    np.testing.assert_array_equal(points["x"], problem.batches(3, 2)["x"])
    assert (points["x"] != problem.batches(3, 3)["x"]).all()
    shifted = problem.tuning().data["points"] - problem.data["points"]
    np.testing.assert_allclose(shifted, 1 / 64, atol=1e-6)
    values = trained(problem, 0.01, 200)
    assert values[-1] < 0.3 < 1 < values[0]
