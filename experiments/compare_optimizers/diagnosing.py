"""`--diagnose`: curvature, noise of the gradient and updates of each layer along the final run of the first seed.

The run is made again, as it is a function of point and seed, so a study that is finished can be diagnosed, too. All
numbers but the updates are of the first `BATCHES` batches, the same for all optimizers and steps, at the parameters
where the optimizer asks for the gradient.
"""

from collections.abc import Callable
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np

from experiments.compare_optimizers.records import Diagnostic
from jaxdl import analysis, optimizers, studies
from jaxdl.runs import names
from jaxdl.studies import sweep
from jaxdl.studies.problems import Problem, evaluation_steps, steps_between

POINTS: Final = 16
"""Most steps of a run that are diagnosed, the first and the last among them."""
BATCHES: Final = 8
RATIO: Final = "update_ratio"
STEADY: Final = ("sgd", "momentum", "nesterov")  # whose updates are linear in the gradients


def rows(
    placed: sweep.Placed,
    label: str,
    build: sweep.Build,
    member: sweep.Member,
    steps: int,
    *,
    stop: Callable[[], bool] = lambda: False,
) -> list[Diagnostic]:
    """Run one member and return what was measured along its run.

    Args:
        placed: the problem.
        label: the optimizer's.
        build: the optimizer, from a rate or settings.
        member: the run.
        steps: its length.
        stop: see `sweep.Sweep.run`.
    """
    problem, found = placed.problem, []
    places = [0, *evaluation_steps(problem, steps)]
    chosen = {places[round(i)] for i in np.linspace(0, len(places) - 1, POINTS)}
    batches, measure = steps_between(problem, member.seed, 0, BATCHES), jax.jit(measured(problem))

    def watch(step: int, carry: sweep.Carry) -> None:
        alone = carry if placed.method == "loop" else jax.tree.map(lambda leaf: leaf[0], carry)
        if step not in chosen or not alone.alive:
            return
        point = optimizers.gradient_point(alone.opt_state, alone.params)
        numbers = {**jax.device_get(measure(point, alone.state, batches, placed.data))}
        layers = analysis.watched_layers(jax.device_get(alone.opt_state)) if step else {}
        numbers |= {f"{RATIO} of {name}" if name else RATIO: one.update_ratio for name, one in layers.items()}
        found.extend(Diagnostic(problem.name, label, step, name, float(value)) for name, value in numbers.items())

    runs = sweep.Sweep(placed, lambda rate: analysis.watched(build(rate)), width=placed.devices)
    runs.run([member], steps, stop=stop, watch=watch)
    if names.parse_optimizer(label).short in STEADY and not member.settings:
        stable = studies.largest_stable_rate(build, high=1e6) / member.learning_rate
        found.append(Diagnostic(problem.name, label, 0, "stable_eigenvalue", stable))
    return found


def measured(problem: Problem) -> Callable[..., dict[str, jax.Array]]:
    """Return the function (params, state, batches, data) → numbers."""
    key = jax.random.key(0)

    def measure(params: Any, state: Any, batches: Any, data: Any) -> dict[str, jax.Array]:
        def loss(params: Any, batch: Any) -> jax.Array:
            return problem.loss(params, state, batch, data, key)[0]

        def whole(params: Any) -> jax.Array:
            return jax.lax.map(lambda batch: loss(params, batch), batches).mean()

        gradients = jax.lax.map(lambda batch: jax.grad(loss)(params, batch), batches)
        noise = analysis.gradient_noise(gradients, batch_size=problem.batch_size)
        return {
            "largest_eigenvalue": analysis.largest_eigenvalue(key, whole, params),
            "sharpness": analysis.sharpness(whole, params),
            "gradient_variance": noise.variance,
            "gradient_norm_squared": noise.norm_squared,
            "noise_scale": jnp.asarray(noise.scale),
        }

    return measure
