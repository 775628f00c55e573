"""Normalised inputs: the condition number of the Hessian, and the steps that descent and Adam need.

    python -m experiments.input_normalization

The lectures say that inputs of one scale and mean 0 make the loss round, so that descent needs fewer steps, and that
test data are normalised by the statistics of the training data. A linear model of diabetes, a logistic one of breast
cancer and an MLP of digits see raw inputs, inputs scaled to [0, 1], and standardised ones. Descent and Adam look at all
training examples in each step, at every rate of a grid, until the loss is at a target. The condition number is that of
the exact Hessian at the start. A minute on one core.

(Lecture row G6.)
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import numpy as np

from jaxdl import activations, analysis, classical, demonstrations, losses, optimizers
from jaxdl.demonstrations import claims
from jaxdl.layers import dense

TARGETS = {"diabetes": 1.01, "breast cancer": 0.07, "digits": 0.1}  # training losses; of diabetes, over the least one
FIRST = lambda loss: lambda z, y: loss(z[:, 0], y)
LOSSES = {"diabetes": FIRST(losses.half_squared_error), "breast cancer": FIRST(losses.sigmoid_binary_cross_entropy)}
LOSSES |= {"digits": losses.softmax_cross_entropy}
RAW, UNIT, STANDARD = SCALES = ("raw", "in [0, 1]", "standardised")
METHODS = ("descent", "Adam")
DESCENT = tuple(10 ** (k / 4 - 0.5) for k in range(9))  # rates times the mean square length of the inputs
ADAM = (1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0)
HIDDEN, FEW = 16, 30  # hidden units for digits; test examples that are normalised together


@dataclasses.dataclass(frozen=True)
class Config(demonstrations.DemonstrationOptions):
    """The options of a run."""

    EXPERIMENT: ClassVar[str] = "input_normalization"

    tables: tuple[str, ...] = tuple(TARGETS)
    """Data sets, some of diabetes, breast cancer and digits."""
    steps: int = 1000
    """Largest number of steps; a loss that is not at the target then counts as never there."""


def check(config: Config) -> None:
    """Raise ValueError for an option out of range."""
    demonstrations.check_at_least(config, steps=1)
    if not config.tables or not {*config.tables} <= {*TARGETS}:
        raise ValueError(f"tables={config.tables} is not allowed: it must be some of {', '.join(TARGETS)}")


def load(config: Config) -> tuple[str, dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Load scikit-learn's tables as inputs and targets."""
    from sklearn import datasets  # it takes seconds to import, which --help need not wait for

    del config
    table = lambda load, **options: load(return_X_y=True, **options)
    x, y = table(datasets.load_diabetes, scaled=False)
    found = {"diabetes": (x, (y - y.mean()) / y.std()), "breast cancer": table(datasets.load_breast_cancer)}
    found["digits"] = table(datasets.load_digits)
    whole = {name: (x.astype("f4"), y.astype("i4" if name == "digits" else "f4")) for name, (x, y) in found.items()}
    return "scikit-learn's diabetes, breast cancer and digits", whole


def fitted(scale: str, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the shift and the divisor of each feature that these examples give."""
    if scale == RAW:
        return np.zeros(x.shape[1], np.float32), np.ones(x.shape[1], np.float32)
    low, width = (x.min(0), np.ptp(x, 0)) if scale == UNIT else (x.mean(0), x.std(0))
    return low, np.where(width > 0, width, 1).astype(np.float32)


def outputs(params: Any, x: Any) -> jax.Array:
    """Return the outputs of a linear model, or of a net if it has a hidden layer."""
    return dense(activations.tanh(dense(x, **params["hidden"])) if "hidden" in params else x, **params["last"])


def loss(name: str, params: Any, x: Any, y: Any) -> jax.Array:
    """Return the mean loss of a data set's model."""
    return LOSSES[name](outputs(params, x), y).mean()


@functools.partial(jax.jit, static_argnames=("name", "method", "steps"))
def trained(name: str, method: str, rates: Any, params: Any, x: Any, y: Any, *, steps: int) -> tuple[Any, jax.Array]:
    """Return parameters and losses before each step, at each of the rates."""

    def at(rate: Any) -> Any:
        optimizer = optimizers.adam(rate) if method == "Adam" else optimizers.sgd(rate)

        def step(carry: Any, _: Any) -> Any:
            value, grads = jax.value_and_grad(loss, argnums=1)(name, carry[0], x, y)
            updates, state = optimizer.update(grads, carry[1], carry[0])
            return (optimizers.apply_updates(carry[0], updates), state), value

        (last, _), values = jax.lax.scan(step, (params, optimizer.init(params)), None, length=steps)
        return last, values

    return jax.vmap(at)(rates)


@functools.partial(jax.jit, static_argnames="name")
def condition(name: str, params: Any, x: Any, y: Any) -> jax.Array:
    """Return κ of a data set's loss."""
    return analysis.condition_number(lambda params: loss(name, params, x, y), params)


def run(config: Config, tables: Any, case: str, seed: int) -> Mapping[str, Any]:
    """Measure κ and the steps of both methods on the training examples: 400 digits, or four fifths of a table."""
    name, scale = case.split(", ", 1)
    random, (x, y) = np.random.default_rng(seed), tables[name]
    order = random.permutation(len(x))
    train, test = np.split(order, [400 if name == "digits" else 4 * len(x) // 5])
    shift, width = fitted(scale, x[train])
    seen = (x[train] - shift) / width
    normal = lambda n, m: {"kernel": np.float32(random.normal(scale=n**-0.5, size=(n, m))), "bias": np.zeros(m, "f4")}
    zero = {"kernel": np.zeros((x.shape[1], 1), np.float32), "bias": np.zeros(1, np.float32)}
    digits = name == "digits"
    params = {"hidden": normal(64, HIDDEN), "last": normal(HIDDEN, 10)} if digits else {"last": zero}
    found = {}
    if not digits:  # in float64, as float32 does not tell these Hessians from singular ones
        with jax.enable_x64(True):
            exact = jax.tree.map(np.float64, (params, (x[train].astype(np.float64) - shift) / width, y[train]))
            found["log10 κ"] = float(np.log10(condition(name, *exact)))
    grids = {"descent": np.array(DESCENT, "f4") / (1 + np.square(seen).sum(1).mean()), "Adam": np.array(ADAM, "f4")}
    target = TARGETS[name]
    if name == "diabetes":
        target *= float(classical.linear_regression(seen, y[train]).cost)
    for method, rates in grids.items():
        every, values = trained(name, method, rates, params, seen, y[train], steps=config.steps)
        there = np.asarray(values) <= target
        arrived = np.where(there.any(1), there.argmax(1), np.inf)
        best = int(np.argmin(arrived))
        found |= {f"steps of {method}": float(arrived[best]), f"rate of {method}": float(rates[best]),
                  f"curve of {method}": np.asarray(values)[best]}  # fmt: skip
    if digits:
        net, rest = jax.tree.map(lambda leaf: leaf[best], every), test[: len(test) // FEW * FEW]
        wrong = lambda x, y: 100 * float(np.mean(np.argmax(outputs(net, x), -1) != y))
        own = [(x[part] - one) / two for part in rest.reshape(-1, FEW) for one, two in [fitted(scale, x[part])]]
        found |= {
            "error": wrong((x[rest] - shift) / width, y[rest]),
            "error of own": wrong(np.concatenate(own), y[rest]),
        }
    return found


def judge(config: Config, outcomes: demonstrations.Outcomes) -> list[claims.Claim]:
    """Hold the lectures' sentences to the numbers."""
    of = lambda name, scale, what: (scale, outcomes.numbers(f"{name}, {scale}", what))
    return [
        *(claims.compare(f"standardised inputs lower the condition number: {name}, against {scale}", "G6",
                         of(name, STANDARD, "log10 κ"), of(name, scale, "log10 κ"), claimed="less", unit="log10 κ")
          for name in config.tables if name != "digits" for scale in (RAW, UNIT)),
        *(claims.compare(f"{method} needs fewer steps on standardised inputs: {name}, against {scale}", "G6",
                         of(name, STANDARD, f"steps of {method}"), of(name, scale, f"steps of {method}"),
                         claimed="less", unit="steps")
          for method in METHODS for name in config.tables for scale in (RAW, UNIT)),
        *(_of_digits(config, of) if "digits" in config.tables else ()),
    ]  # fmt: skip


def _of_digits(config: Config, of: Any) -> list[claims.Claim]:
    """Hold to the numbers how much Adam gains, and the statistics of the test part."""
    steps = lambda scale, method: np.minimum(of("digits", scale, f"steps of {method}")[1], config.steps)
    gain = lambda method: (method, np.log10(steps(RAW, method) / np.maximum(steps(STANDARD, method), 1)))
    own, training = (of("digits", STANDARD, key)[1] for key in ("error of own", "error"))
    return [
        claims.compare(f"Adam gains less by them than descent (digits, against raw, {config.steps:,} steps at most)",
                       "G6", gain("Adam"), gain("descent"), claimed="less", unit="log10 of the ratio of steps"),
        claims.compare(f"{FEW} test examples normalised by their own statistics are read worse (digits)", "G6",
                       ("own", own), ("of the training part", training), claimed="more", unit="% wrong"),
    ]  # fmt: skip


def draw(config: Config, outcomes: demonstrations.Outcomes) -> Sequence[demonstrations.Drawing]:
    """Draw the losses at the best rates."""
    from jaxdl import plots

    steps = np.arange(1, config.steps + 1)
    curve = lambda case, method: (steps, np.median(outcomes.arrays(case, f"curve of {method}"), 0))
    groups = [{f"{name}, {scale}, {method}": curve(f"{name}, {scale}", method) for scale in SCALES}
              for method in METHODS for name in config.tables]  # fmt: skip
    figure = plots.panels(groups, xlabel="step", ylabel="training loss", logx=True, logy=True)
    return [demonstrations.Drawing("losses", figure, "Training losses at the best rates, medians over the seeds.")]


DEMONSTRATION = demonstrations.Demonstration(
    Config, load, lambda config: [f"{name}, {scale}" for name in config.tables for scale in SCALES], run,
    judge, draw, check,
)  # fmt: skip
main, write = demonstrations.commands(DEMONSTRATION, __doc__)

if __name__ == "__main__":
    demonstrations.run_main(main)
