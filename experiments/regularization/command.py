"""The experiment: its options, its cases and its claims."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from experiments.regularization import zoneout
from jaxdl import activations, data, demonstrations, initializers, layers, losses, optimizers, regularizers, runs
from jaxdl.demonstrations import claims

PENALTIES = ("L2", "L1 by gradient", "L1 by proximal step")
NOISES = ("DropConnect", "Shakeout", "Whiteout")
CASES = (*PENALTIES, *NOISES, ZONEOUT := "Zoneout")
LAMBDAS = (0.0, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1)
SHOWN = 3e-3  # λ at which zeros are counted: the largest at which L1 costs less than a point of accuracy
ROWS, TESTED = 1000, 3000  # training and test examples of Zoneout
RATES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9)  # of dropping or reversing; of Whiteout, σ


@dataclasses.dataclass(frozen=True)
class Config(demonstrations.DemonstrationOptions):
    """The options of a run."""

    EXPERIMENT: ClassVar[str] = "regularization"

    seeds: int = 10
    """Number of seeds, each of which draws the examples and the initial weights."""
    examples: int = 200
    """Training examples; as many are development examples, and all others are test examples."""
    hidden: int = 32
    """Hidden units."""
    steps: int = 800
    """Steps of gradient descent on all training examples."""
    learning_rate: float = 0.3
    """Rate of gradient descent, for all methods but Zoneout."""
    dataset: str = "mnist"
    """Images that the LSTM of Zoneout reads by rows: mnist, fashion_mnist, digits, a folder or archive, or
    package.module:function."""
    units: int = 32
    """Units of the LSTM."""
    lstm_steps: int = 500
    """Steps of Adam for the LSTM."""


def check(config: Config) -> None:
    """Raise ValueError for an option out of range."""
    demonstrations.check_at_least(config, examples=10, hidden=1, steps=1, units=1, lstm_steps=1)
    if config.examples > 800:
        raise ValueError(f"examples={config.examples} is not allowed: it must be at most 800")
    if not 0 < config.learning_rate < float("inf"):
        raise ValueError(f"learning_rate={config.learning_rate} is not allowed: it must be a positive number")


def load(config: Config) -> tuple[str, tuple[data.Dataset, Any]]:
    """Load scikit-learn's digits, and the images that are read by rows, as unit images with one channel."""
    digits, rows = data.load("digits"), runs.dataset(config.dataset, data_dir=config.data_dir)
    if len(rows.classes) > 10:
        raise ValueError(f"dataset={config.dataset}: {rows.name} has {len(rows.classes)} classes; must have at most 10")
    splits = data.split(rows, seed=0, dev_fraction=0)
    unit = lambda part: (part.images.mean(-1).astype(np.float32) / rows.scale, part.labels)
    return f"{digits.name}; {rows.name} by rows", (digits, (unit(splits.train), unit(splits.test)))


def strengths(case: str) -> tuple[float, ...]:
    """Return the grid of a case: λ of a penalty, or the amount of noise."""
    return LAMBDAS if case in PENALTIES else zoneout.RATES if case == ZONEOUT else RATES


def noisy(case: str, key: jax.Array, x: jax.Array, layer: Mapping[str, jax.Array], strength: jax.Array) -> jax.Array:
    """Return a dense layer in training, with the case's noise on its weights."""
    if case == "Whiteout":
        return layers.whiteout(key, x, layer["kernel"], layer["bias"], sigma=strength)
    kernel = layer["kernel"]
    if case == "DropConnect":
        kernel = layers.dropconnect(key, kernel, strength)
    if case == "Shakeout":
        kernel = layers.shakeout(key, kernel, strength, c=jnp.float32(0.1))
    return layers.dense(x, kernel, layer["bias"])


@functools.cache
def _trained(config: Config, case: str) -> Any:
    """Return (key, x, y) -> parameters for each strength of the grid, compiled once."""

    def train(strength, key, x, y):
        keys = jax.random.split(key, 3)
        make = lambda key, n, m: {"kernel": initializers.he_normal()(key, (n, m)), "bias": jnp.zeros(m)}
        params = {"fc1": make(keys[0], x.shape[1], config.hidden), "fc2": make(keys[1], config.hidden, 10)}

        def loss(params, key):
            one, two = jax.random.split(key)
            hidden = activations.relu(noisy(case, one, x, params["fc1"], strength))
            mean = losses.softmax_cross_entropy(noisy(case, two, hidden, params["fc2"], strength), y).mean()
            if case == "L2":
                return mean + regularizers.l2(params, strength, count=1)
            return mean + (regularizers.l1(params, strength, count=1) if case == "L1 by gradient" else 0)

        optimizer = optimizers.sgd(config.learning_rate)
        if case == "L1 by proximal step":
            shrink = optimizers.proximal_l1(config.learning_rate * strength, optimizers.mask_by_path(".*/kernel"))
            optimizer = optimizers.chain(optimizer, shrink)

        def step(carry, key):
            params, state = carry
            updates, state = optimizer.update(jax.grad(loss)(params, key), state, params)
            return (optimizers.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, optimizer.init(params)), jax.random.split(keys[2], config.steps))[0][0]

    grid = jnp.array(strengths(case))
    return jax.jit(lambda key, x, y: jax.vmap(train, (0, None, None, None))(grid, key, x, y))


def by_rows(config: Config, parts: Any, seed: int) -> Mapping[str, Any]:
    """Train the LSTM at all rates on a thousand images, choose one on a thousand others, and judge all on the test."""
    (images, labels), test = parts
    order = np.random.default_rng(seed).permutation(len(labels))
    count = min(ROWS, len(order) // 2)
    train, dev = order[:count], order[count : 2 * count]
    held = [np.concatenate([old[dev], new[:TESTED]]) for old, new in zip(parts[0], test, strict=True)]
    wrong = zoneout.wrong(config.units, config.lstm_steps, (images[train], labels[train]), held, seed)
    return errors(ZONEOUT, wrong[:, :count], wrong[:, count:])


def errors(case: str, dev: np.ndarray, test: np.ndarray) -> dict[str, Any]:
    """Return the test errors at strengths of note, from whether each example is wrong, one row per strength."""
    best, shown = int(np.argmin(dev.mean(1))), test.mean(1)
    return {"best strength": strengths(case)[best], "error without": float(shown[0]), "errors": shown,
            "error at the best": float(shown[best]), "error at the largest": float(shown[-1])}  # fmt: skip


def run(config: Config, loaded: Any, case: str, seed: int) -> Mapping[str, Any]:
    """Train at all strengths, choose one on the development examples, and judge all on the test examples."""
    dataset, rows = loaded
    if case == ZONEOUT:
        return by_rows(config, rows, seed)
    x = dataset.images.reshape(len(dataset.images), -1).astype(np.float32) / dataset.scale
    order, n = np.random.default_rng(seed).permutation(len(x)), config.examples
    train, dev, test = order[:n], order[n : 2 * n], order[2 * n :]
    every = _trained(config, case)(jax.random.key(seed), x[train], dataset.labels[train])
    hidden = activations.relu(jnp.einsum("nd,sdh->snh", x, every["fc1"]["kernel"]) + every["fc1"]["bias"][:, None])
    logits = jnp.einsum("snh,shk->snk", hidden, every["fc2"]["kernel"]) + every["fc2"]["bias"][:, None]
    wrong = 100 * np.asarray(jnp.argmax(logits, -1) != dataset.labels[None])
    kernels = np.concatenate([np.asarray(every[name]["kernel"]).reshape(len(wrong), -1) for name in every], 1)
    zeros, best = 100 * np.mean(kernels == 0, 1), int(np.argmin(wrong[:, dev].mean(1)))
    return errors(case, wrong[:, dev], wrong[:, test]) | {
        "zeros at the best": float(zeros[best]),
        "root mean square at the best": float(np.sqrt(np.mean(kernels[best] ** 2))),
        "zeros": zeros,
        "weights": kernels[LAMBDAS.index(SHOWN) if case in PENALTIES else best],
    }


def judge(config: Config, outcomes: demonstrations.Outcomes) -> list[claims.Claim]:
    """Hold the lectures' sentences to the errors and the weights."""
    del config
    of = lambda case, what: (f"{what} ({case})", outcomes.numbers(case, what))
    at_shown = lambda case, what: outcomes.arrays(case, what)[:, LAMBDAS.index(SHOWN)]
    of_zeros = lambda case: ("zeros", at_shown(case, "zeros"))
    gradient, proximal = PENALTIES[1:]
    error, zeros, points, shown = "% wrong", "% of weights", "percentage points", f"λ = {SHOWN:g}"
    cost = lambda other: ("difference", at_shown(proximal, "errors") - other)
    return [
        *(claims.compare(f"{case} lowers the test error", "G1" if case in PENALTIES else "G4",
                         of(case, "error at the best"), of(case, "error without"), claimed="less", unit=error)
          for case in CASES),
        *(claims.compare(f"too much {case} raises it", "G1", of(case, "error at the largest"),
                         of(case, "error at the best"), claimed="more", unit=error) for case in PENALTIES),
        claims.within(f"L1 makes weights exactly zero ({shown}): by its proximal step", "C6", of_zeros(proximal),
                      low=10, unit=zeros),
        claims.within("by its gradient, too", "C6", of_zeros(gradient), low=10, unit=zeros),
        claims.within("L2 makes none zero", "C6", of_zeros("L2"), high=0.1, unit=zeros),
        claims.within(f"its zeros cost no accuracy ({shown}): as good as L1 by gradient, within half a point", "C6",
                      cost(at_shown(gradient, "errors")), low=-0.5, high=0.5, unit=points),
        claims.within(f"and as good as no penalty ({shown}), within half a point", "C6",
                      cost(outcomes.numbers(proximal, "error without")), low=-0.5, high=0.5, unit=points),
    ]  # fmt: skip


def draw(config: Config, outcomes: demonstrations.Outcomes) -> Sequence[demonstrations.Drawing]:
    """Draw the error against the strength, and the histogram of the weights."""
    from experiments.regularization import figures  # matplotlib is slow to import, and --help need not wait

    return figures.draw(config, outcomes)


DEMONSTRATION = demonstrations.Demonstration(
    Config, load, lambda config: CASES, run, judge, draw, check, {"units": 100, "lstm_steps": 10_000}
)
