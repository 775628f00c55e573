"""Tables: a network with one real output, one with one logit, and the linear models that they have to beat.

    python -m experiments.tabular

The lectures (P) train the same networks on tables as on images: prices of houses, spam, "will I pass this class?". Here
they are the progress of diabetes, a real number, breast cancer, one logit, and the class of three students by lectures
and hours, (4, 5), (2, 1) and (5, 8), of whom the second fails. Data, training and metrics are those of images; the loss
chooses the metrics. MLPs stop early and have the better of two rates on development examples. A minute on one core.

(Lecture rows A1, A2, C1, C2, G2.)
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import activations, classical, data, demonstrations, losses, nn, optimizers, training
from jaxdl.demonstrations import claims

DIABETES, CANCER, STUDENTS = TABLES = ("diabetes", "breast cancer", "students")
RATES, BATCH, PATIENCE = (1e-3, 1e-2), 32, 8


@dataclasses.dataclass(frozen=True)
class Config(demonstrations.DemonstrationOptions):
    """The options of a run."""

    EXPERIMENT: ClassVar[str] = "tabular"

    width: int = 32
    """Units of each of the two hidden layers."""
    epochs: int = 40
    """Largest number of passes over the training examples."""


check = functools.partial(demonstrations.check_at_least, width=1, epochs=1)


def load(config: Config) -> tuple[str, dict[str, data.Dataset]]:
    """Load the tables, with targets of variance 1."""
    from sklearn import datasets  # it takes seconds to import, which --help need not wait for

    del config
    table: Any = datasets.load_diabetes()
    y = (table.target - table.target.mean()) / table.target.std()
    tables = {DIABETES: data.from_arrays(table.data.astype(np.float32), y.astype(np.float32), name=DIABETES)}
    table = datasets.load_breast_cancer()
    tables[CANCER] = data.from_arrays(table.data.astype(np.float32), table.target.astype(np.int32), name=CANCER)
    return "scikit-learn's diabetes and breast cancer, three students", tables


def network(config: Config, *, linear: bool = False) -> nn.Layer:
    """Return an MLP, or a linear model, with one output."""
    hidden = {} if linear else {"fc1": nn.Dense(config.width), "act1": activations.relu,
                                "fc2": nn.Dense(config.width), "act2": activations.relu}  # fmt: skip
    return nn.serial(**hidden, out=nn.Dense(1), one=nn.function(lambda x: x[..., 0]))


@functools.cache
def steps(config: Config, loss: Any, rate: float, linear: bool) -> Any:
    """Return network, optimizer and compiled steps."""
    layer, optimizer = network(config, linear=linear), optimizers.adam(rate)
    train = jax.jit(training.train_step(layer, optimizer, loss=loss))
    return layer, optimizer, train, jax.jit(training.eval_step(layer, loss=loss))


def fitted(config: Config, loss: Any, parts: data.Splits, rate: float, seed: int, *, linear: bool = False) -> Any:
    """Train with early stopping, and return the development loss and the metrics of the test part."""
    layer, optimizer, train, evaluate = steps(config, loss, rate, linear)
    judged = lambda state, part: training.evaluate(
        evaluate, training.eval_variables(state), data.eval_batches(part, 256)
    )
    stopping, kept = training.EarlyStopping(PATIENCE), {}

    def on_epoch(epoch: int, state: Any) -> bool:
        nonlocal stopping
        stopping, improved = stopping.update(judged(state, parts.dev)[0]["loss"], epoch)
        if improved:
            kept.update(judged(state, parts.test)[0])
        return stopping.stop

    keys = jax.random.split(jax.random.key(seed))
    batches = lambda epoch: data.batches(parts.train, BATCH, seed=seed, epoch=epoch)
    state = training.create(keys[0], layer, optimizer, parts.train.images.shape[1:])
    training.fit(train, state, batches, key=keys[1], epochs=range(config.epochs), on_epoch=on_epoch)
    return stopping.best, kept


def run(config: Config, tables: Any, case: str, seed: int) -> Mapping[str, Any]:
    """Fit a table's closed form, its linear model by training, and its MLP."""
    if case == STUDENTS:
        return {"right": students(config, seed)}
    parts = data.split(tables[case], seed=seed, dev_fraction=0.25)
    mean, std = parts.train.images.mean(0), parts.train.images.std(0)
    parts = data.Splits(*(part._replace(images=(part.images - mean) / std) for part in parts))
    loss = losses.half_squared_error if case == DIABETES else losses.sigmoid_binary_cross_entropy
    x, y = parts.test
    constant = float(np.mean((y - parts.train.labels.mean()) ** 2) ** 0.5)  # what the mean errs by
    if case == DIABETES:
        fit = classical.linear_regression(*parts.train)
        closed = float(np.mean((x @ np.asarray(fit.coefficients) + float(fit.intercept) - y) ** 2) ** 0.5)
        error = lambda found: float(found["squared_error"]) ** 0.5
    else:
        fit = classical.logistic_regression(*parts.train)
        closed = 100 * float(np.mean((x @ np.asarray(fit.coefficients) + float(fit.intercept) > 0) != y))
        error = lambda found: 100 * (1 - float(found["accuracy"]))
    nets = [fitted(config, loss, parts, rate, seed) for rate in RATES]
    trained = fitted(config, loss, parts, RATES[-1], seed, linear=True)[1]
    best = int(np.argmin([dev for dev, _ in nets]))
    return {"closed form": closed, "linear": error(trained), "MLP": error(nets[best][1]), "rate": RATES[best],
            "mean": constant}  # fmt: skip


def students(config: Config, seed: int) -> float:
    """Return how many of the three students an MLP classifies rightly after 200 steps on them, in %."""
    x, y = np.array([[4, 5], [2, 1], [5, 8]], np.float32), np.array([1, 0, 1], np.int32)
    layer, optimizer, train, _ = steps(config, losses.sigmoid_binary_cross_entropy, RATES[-1], False)
    state = training.create(jax.random.key(seed), layer, optimizer, (2,))
    (batch,) = data.batches(data.Examples(x, y), 3, seed=seed, epoch=0)
    for _ in range(200):
        state, _ = train(state, batch, jax.random.key(0))
    outputs, _ = layer.apply(*training.eval_variables(state), jnp.asarray(x))
    return 100 * float(np.mean((np.asarray(outputs) > 0) == y))


def judge(config: Config, outcomes: demonstrations.Outcomes) -> list[claims.Claim]:
    """Hold the lectures' sentences to the errors."""
    del config
    of = lambda case, what: (what, outcomes.numbers(case, what))
    units = {DIABETES: "rms error / std", CANCER: "% wrong"}
    gap = outcomes.numbers(DIABETES, "linear") / outcomes.numbers(DIABETES, "closed form") - 1
    return [
        claims.within("an MLP learns the lecture's three students", "C2", of(STUDENTS, "right"), low=100,
                      unit="% right"),
        claims.within("a linear model trained like a network has the error of the closed form (diabetes)", "A1, C1",
                      ("difference", 100 * gap), low=-3, high=3, unit="%"),
        *(claims.compare(f"an MLP errs less than the linear model ({case})", "A4", of(case, "MLP"),
                         of(case, "closed form"), claimed="less", unit=unit) for case, unit in units.items()),
        claims.compare("an MLP explains more of diabetes than its mean does", "A4", of(DIABETES, "MLP"),
                       ("the mean", outcomes.numbers(DIABETES, "mean")), claimed="less", unit=units[DIABETES]),
    ]  # fmt: skip


def draw(config: Config, outcomes: demonstrations.Outcomes) -> Sequence[demonstrations.Drawing]:
    """Draw the errors of all seeds."""
    del config
    from matplotlib.figure import Figure

    from jaxdl import plots

    figure, kinds = Figure(figsize=(7.2, 3.2), layout="constrained"), ("closed form", "linear", "MLP")
    for axes, case, label in zip(figure.subplots(1, 2), TABLES, ("rms error / std", "test error (%)"), strict=False):
        values = np.array([outcomes.numbers(case, kind) for kind in kinds])
        axes.plot(kinds, values, color="#bbbbbb", linewidth=0.8)
        axes.plot(kinds, values.mean(1), "o", color=plots.COLORS[0])
        axes.set(title=case, ylabel=label)
    about = "Test errors of a linear model in closed form, by training, and of an MLP: each seed (grey) and the mean."
    return [demonstrations.Drawing("errors", figure, about)]


DEMONSTRATION = demonstrations.Demonstration(Config, load, lambda config: TABLES, run, judge, draw, check)
main, write = demonstrations.commands(DEMONSTRATION, __doc__)

if __name__ == "__main__":
    demonstrations.run_main(main)
