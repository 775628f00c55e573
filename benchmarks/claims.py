"""What the lectures and the Adam paper say of optimizers, measured on jaxdl's. Lecture rows E2 to E8, E13.

    python -m benchmarks.claims     # prints benchmarks/claims.md, in about half a minute

Each function measures one claim and returns rows of its table; `tests/test_claims.py` holds the same functions to
closed forms.
"""

import functools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import optimizers
from jaxdl.compare import max_ulps
from jaxdl.studies import descent_path, landscapes, largest_stable_rate

BETA = 0.9
FORMS = {
    "plain": (optimizers.sgd, 2.0, "2"),
    "momentum, heavy ball": (optimizers.momentum, 2 * (1 + BETA), "2(1 + β)"),
    "momentum, average": (
        partial(optimizers.momentum, momentum_form="ema"),
        2 * (1 + BETA) / (1 - BETA),
        "2(1 + β)/(1 − β)",
    ),
    "Nesterov": (optimizers.nesterov, 2 * (1 + BETA) / (1 + 2 * BETA), "2(1 + β)/(1 + 2β)"),
}
AVERAGE = FORMS["momentum, average"][0]


def stability():
    """Return the largest stable α·λ of each form: (form, closed form, its value, measured)."""
    return [(name, formula, limit, largest_stable_rate(build)) for name, (build, limit, formula) in FORMS.items()]


def oscillation(rate_times_curvature=1.98, steps=100, condition=25.0, start=(-10.0, 1.0)):
    """Return (form, crossings of the valley, motion across, shares of the start left across and along) on the bowl."""
    value = partial(landscapes.bowl_value, condition=condition)
    rows, start = [], np.asarray(start)
    for name, build in (("plain", optimizers.sgd), ("momentum, average", AVERAGE)):
        path = np.asarray(descent_path(value, build(rate_times_curvature / condition), start, steps))
        along, across = path.T
        crossings = int((across[1:] * across[:-1] < 0).sum())
        left = [float(np.abs(one[-10:]).max() / abs(one[0])) for one in (across, along)]
        rows.append((name, crossings, float(np.abs(np.diff(across)).sum()), *left))
    return rows


def fewest_steps(condition, share=1e-6, steps=5000, start=None):
    """Return (form, best of 60 rates, steps until the value is this share of the initial one) on a bowl.

    The default start has equal parts of its value along and across the valley.
    """
    rows = []
    for name, (_, limit, _) in FORMS.items():
        rates = np.geomspace(1e-3, 1, 60) * limit / condition
        at = np.asarray((-10.0, 10.0 / condition**0.5) if start is None else start, np.float32)
        counts = np.asarray(_steps_needed(name, condition, share, steps)(rates, at))
        rows.append((name, float(rates[counts.argmin()]), int(counts.min())))
    return rows


@functools.cache
def _steps_needed(form, condition, share, steps):
    """Return (rates, start) -> steps of each rate; `steps` + 1 where the share is not reached."""
    value, build = partial(landscapes.bowl_value, condition=condition), FORMS[form][0]

    def needed(rate, start):
        heights = value(descent_path(value, build(rate), start, steps))
        above = ~(heights <= share * heights[0])  # NaN is above
        return (above * jnp.arange(steps + 1)).max() + 1

    return jax.jit(jax.vmap(needed, (0, None)))


def rescaling(rate=0.05, steps=200):
    """Return the largest difference, in ulps at the path's scale, of heavy ball at (1 − β)α from the average at α."""
    value, start = landscapes.bowl_value, np.array([-10.0, 1.0])
    paths = [descent_path(value, tx, start, steps) for tx in (optimizers.momentum((1 - BETA) * rate), AVERAGE(rate))]
    return max_ulps(*paths)


ESCAPES = ("sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam")


def saddle_escape(rate=0.05, steps=2000, beside=1e-3):
    """Return (optimizer, steps from next to the ridge to 1e-3 from a minimum, distance from the ridge if on it)."""
    saddle, rows = landscapes.saddle, []
    for name in ESCAPES:
        build = getattr(optimizers, name)
        near = saddle.value(descent_path(saddle.value, build(rate), np.array([1.0, beside]), steps))
        on = descent_path(saddle.value, build(rate), np.array([1.0, 0.0]), steps)
        done = np.flatnonzero(np.asarray(near) <= saddle.minimum + 1e-3)
        rows.append((name, int(done[0]) if done.size else None, float(jnp.abs(on[:, 1]).max())))
    return rows


def step_sizes(optimizer, at, gradient=1.0):
    """Return the sizes of the updates with the given numbers under a constant gradient."""

    def step(state, _):
        updates, state = optimizer.update(jnp.float32(gradient), state, jnp.float32(0.0))
        return state, jnp.abs(updates)

    _, sizes = jax.lax.scan(step, optimizer.init(jnp.float32(0.0)), None, length=max(at))
    return [float(sizes[t - 1]) for t in at]


EARLY = (1, 2, 5, 10, 20)
LATE = (1, 10, 100, 1000, 10_000)


def almost_adam():
    """Return (form, step sizes over α at EARLY, value after 20 steps on Rosenbrock from (−1.2, 1) at α = .05)."""
    rosenbrock, rows = landscapes.rosenbrock, []
    for name, corrected in (("full", True), ("almost", False)):
        tx = optimizers.adam(0.05, bias_correction=corrected)
        end = descent_path(rosenbrock.value, tx, np.array(rosenbrock.start), 20)[-1]
        sizes = step_sizes(optimizers.adam(1.0, bias_correction=corrected), EARLY)
        rows.append((name, sizes, float(rosenbrock.value(end))))
    return rows


def effective_rates():
    """Return (optimizer, step sizes over α at LATE) under a constant gradient of 1."""
    return [(name, step_sizes(getattr(optimizers, name)(1.0), LATE)) for name in ("adagrad", "rmsprop")]


def table(header, rows):
    lines = [header, ["---"] * len(header), *([str(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def page():
    parts = ["# What the lectures and the Adam paper say of optimizers, measured", "`python -m benchmarks.claims`"]
    parts += ["## Momentum allows a larger rate (row E13)", "Largest stable α·λ on a bowl of curvature λ, β = .9:"]
    rows = [(n, f, f"{limit:.4g}", f"{found:.4g}") for n, f, limit, found in stability()]
    parts.append(table(["form", "closed form", "value", "measured by bisection"], rows))
    parts += ["## Momentum damps oscillation on the elongated bowl (row E13)",
              "½(x² + 25y²) from (−10, 1), α·25 = 1.98, just below plain descent's limit; 100 steps. The average form "
              "has the same rate here as plain descent."]  # fmt: skip
    rows = [(n, c, f"{m:.3g}", f"{a:.2g}", f"{b:.2g}") for n, c, m, a, b in oscillation()]
    header = ["form", "crossings of the valley", "motion across", "left of y₀", "left of x₀"]
    parts.append(table(header, rows))
    rows = [(n, "diverged" if not a < 1 else f"{a:.2g}") for n, _, _, a, _ in oscillation(2.2)]
    parts += ["At α·25 = 2.2, above that limit:", table(["form", "left of y₀"], rows)]
    parts.append(
        "Whether that makes it faster depends on the condition number κ. Steps to a millionth of the first value, "
        "each form at the best of 60 rates, β = .9:"
    )
    found = {k: fewest_steps(float(k)) for k in (25, 1000)}
    rows = [(n, *(f"{found[k][i][2]} (α = {found[k][i][1]:.3g})" for k in found)) for i, n in enumerate(FORMS)]
    parts.append(table(["form", *(f"κ = {k}" for k in found)], rows))
    parts += ["## Momentum equals its average form after rescaling (row E2)",
              f"Heavy ball at (1 − β)α against the average at α, 200 steps on the bowl: paths differ by at most "
              f"{rescaling():.1f} ulps of float32 at their scale."]  # fmt: skip
    parts += ["## Escape from a saddle (rows E6, E8)",
              "½x² + ¼y⁴ − ½y², α = .05. At y = .001, beside the ridge, all leave; on it, none does."]  # fmt: skip
    rows = [(n, steps or "never", f"{d:.2g}") for n, steps, d in saddle_escape()]
    parts.append(
        table(["optimizer", "steps to within 1e-3 of the minimum", "distance from the ridge if begun on it"], rows)
    )
    parts += ["## Full Adam against \"almost\" Adam, without bias correction (row E6)",
              "Step over α under a constant gradient, b1 = .9, b2 = .999; and Rosenbrock's value (24.2 at the start) "
              "after 20 steps at α = .05."]  # fmt: skip
    rows = [(n, *(f"{s:.3g}" for s in sizes), f"{end:.4g}") for n, sizes, end in almost_adam()]
    parts.append(table(["Adam", *(f"step {t}" for t in EARLY), "Rosenbrock after 20"], rows))
    parts += ["## AdaGrad's rate decays to zero, RMSProp's does not (rows E4, E5)",
              "Step over α under a constant gradient of 1:"]  # fmt: skip
    rows = [(n, *(f"{s:.3g}" for s in sizes)) for n, sizes in effective_rates()]
    parts.append(table(["optimizer", *(f"step {t:,}" for t in LATE)], rows))
    return "\n\n".join(parts)


if __name__ == "__main__":
    print(page())
