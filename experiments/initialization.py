"""Initial weights: moments of every rule, a constant start, He against Glorot in a deep net, unsupervised pre-training.

    python -m experiments.initialization

The lectures give each rule's variance, say that equal weights stay equal, that ReLU needs twice the variance of tanh,
and that ReLU makes unsupervised pre-training needless. Each rule is drawn and its moments are compared with the closed
form. MLPs of digits then start from one constant, from several rules at 30 layers, and at six layers from random
weights or from autoencoders trained layer by layer on the same images. Each has its best of six rates. Two minutes.

(Lecture row F.)
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from jaxdl import activations, data, demonstrations, initializers, losses, optimizers
from jaxdl.demonstrations import claims
from jaxdl.layers import dense

KINDS = {"sigmoid": activations.sigmoid, "ReLU": activations.relu}
RULES = {"lecun": 1.0, "glorot": 1.0, "he": 2.0}  # variance times n of a square kernel
SHAPES = {"normal": 0.0, "uniform": -1.2}  # with their excess kurtosis
MOMENTS, CONSTANT, RANDOM = "moments", "two layers, constant", "two layers, He"
GLOROT, SMALL = "Glorot", "N(0, .01²)"
STARTS = {"He": initializers.he_normal(), GLOROT: initializers.glorot_normal(), SMALL: initializers.normal(0.01)}
STARTS |= {"constant": initializers.constant(0.1)}
RATES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
BATCH, EVERY, TRAIN, SIDE = 64, 20, 1000, 512  # SIDE: of the kernels whose moments are measured


@dataclasses.dataclass(frozen=True)
class Config(demonstrations.DemonstrationOptions):
    """The options of a run."""

    EXPERIMENT: ClassVar[str] = "initialization"

    depth: int = 30
    """Hidden layers of the deep nets."""
    layers: int = 6
    """Hidden layers of the nets that are pre-trained."""
    width: int = 32
    """Units of each hidden layer."""
    steps: int = 600
    """Steps of momentum, and of Adam on each autoencoder; a multiple of 20."""


def check(config: Config) -> None:
    """Raise ValueError for an option out of range."""
    demonstrations.check_at_least(config, depth=2, layers=2, width=1, steps=EVERY)
    if config.steps % EVERY:
        raise ValueError(f"steps={config.steps} is not allowed: it must be a multiple of {EVERY}")


def nets(config: Config) -> dict[str, tuple[int, str, str, bool]]:
    """Return hidden layers, start, activation, and whether it is pre-trained, of each net by its case."""
    found = {CONSTANT: (2, "constant", "ReLU", False), RANDOM: (2, "He", "ReLU", False)}
    found |= {f"{config.depth} layers, {name}": (config.depth, name, "ReLU", False) for name in ("He", GLOROT, SMALL)}
    for kind, start in (("sigmoid", GLOROT), ("ReLU", "He")):
        for how in ("random", "pre-trained"):
            found[f"{kind}, {how}"] = config.layers, start, kind, how == "pre-trained"
    return found


def stepping(optimizer: Any, loss: Any) -> Any:
    """Return the step of a scan over batches, whose carry is parameters and the optimizer's state."""

    def step(carry: Any, batch: Any) -> Any:
        updates, state = optimizer.update(jax.grad(loss)(carry[0], batch), carry[1], carry[0])
        return (optimizers.apply_updates(carry[0], updates), state), None

    return step


@jax.jit
def trained(kind: Any, params: Any, train: Any, dev: Any, test: Any, rows: Any) -> Any:
    """Return development errors during training, the test error, and the first kernel at each of the rates."""
    wrong = lambda params, x, y: 100 * jnp.mean(jnp.argmax(logits(kind, params, x), -1) != y)
    loss = lambda p, rows: losses.softmax_cross_entropy(logits(kind, p, train[0][rows]), train[1][rows]).mean()

    def at(rate: Any) -> Any:
        optimizer = optimizers.momentum(rate, 0.9)

        def stretch(carry: Any, rows: Any) -> Any:
            carry, _ = jax.lax.scan(stepping(optimizer, loss), carry, rows)
            return carry, wrong(carry[0], *dev)

        (last, _), errors = jax.lax.scan(stretch, (params, optimizer.init(params)), rows)
        return errors, wrong(last, *test), last["first"]["kernel"]

    return jax.vmap(at)(jnp.array(RATES))


def active(kind: Any, z: jax.Array) -> jax.Array:
    """Return the activation of a kind by its place, so that all kinds are one program."""
    return jax.lax.switch(kind, list(KINDS.values()), z)


def logits(kind: Any, params: Any, x: Any) -> jax.Array:
    """Return the outputs of a net, whose hidden layers after the first are stacked."""
    layer = lambda h, weights: (active(kind, dense(h, **weights)), None)
    first = active(kind, dense(x, **params["first"]))
    return dense(jax.lax.scan(layer, first, params["hidden"])[0], **params["last"])


@jax.jit
def autoencoded(kind: Any, layer: Any, back: Any, x: Any, rows: Any) -> tuple[Any, jax.Array]:
    """Return a layer that Adam trained so that a linear layer restores its inputs, and its outputs."""
    optimizer = optimizers.adam(3e-3)
    code = lambda layer, x: active(kind, dense(x, **layer))
    loss = lambda params, rows: jnp.mean((dense(code(params[0], x[rows]), **params[1]) - x[rows]) ** 2)
    start = (layer, back), optimizer.init((layer, back))
    (layer, _), _ = jax.lax.scan(stepping(optimizer, loss), start, rows.reshape(-1, BATCH))[0]
    return layer, code(layer, x)


def run(config: Config, dataset: data.Dataset, case: str, seed: int) -> Mapping[str, Any]:
    """Draw every rule, or train one net."""
    if case == MOMENTS:
        return moments(seed)
    (depth, start, name, pretrained), random = nets(config)[case], np.random.default_rng(seed)
    kind, keys = list(KINDS).index(name), iter(jax.random.split(jax.random.key(seed), depth + 1))
    layer = lambda n, m: {"kernel": STARTS[start](next(keys), (n, m)), "bias": jnp.zeros(m)}
    hidden = [layer(config.width if place else 64, config.width) for place in range(depth)]
    order = random.permutation(len(dataset.images))
    x = dataset.images.reshape(-1, 64)[order].astype(np.float32) / dataset.scale
    y, rows = dataset.labels[order], random.integers(TRAIN, size=(config.steps // EVERY, EVERY, BATCH))
    inputs = x[:TRAIN]
    for place in range(depth if pretrained else 0):
        back = {"kernel": hidden[place]["kernel"].T, "bias": jnp.zeros(inputs.shape[1])}
        hidden[place], inputs = autoencoded(kind, hidden[place], back, inputs, rows)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *hidden[1:])
    params = {"first": hidden[0], "hidden": stacked, "last": layer(config.width, 10)}
    parts = [*zip(np.split(x, [TRAIN, 1300]), np.split(y, [TRAIN, 1300]), strict=True)]
    errors, test, kernels = (np.asarray(one) for one in trained(kind, params, *parts, rows))
    best = int(np.argmin(errors[:, -1]))
    unlike = int((np.abs(kernels[best] - kernels[best][:, :1]).max(0) > 1e-4).sum())
    return {"error": float(test[best]), "rate": RATES[best], "errors": errors[best], "units unlike the first": unlike}


def moments(seed: int) -> dict[str, float]:
    """Return the largest deviations of the moments from those of each rule's distribution, over all rules."""
    far = []
    for place, (name, shape) in enumerate(itertools.product(RULES, SHAPES)):
        rule, key = getattr(initializers, f"{name}_{shape}")(), jax.random.fold_in(jax.random.key(seed), place)
        w = np.asarray(rule(key, (SIDE, SIDE)), np.float64).ravel()
        far.append((100 * abs(w.var() * SIDE / RULES[name] - 1), abs(stats.kurtosis(w) - SHAPES[shape])))
    return dict(zip(("variance", "kurtosis"), map(float, np.max(far, axis=0)), strict=True))


def judge(config: Config, outcomes: demonstrations.Outcomes) -> list[claims.Claim]:
    """Hold the lectures' sentences to the numbers."""
    of = lambda case, what="error": (case, outcomes.numbers(case, what))
    wrong, deep = "% wrong", lambda start: of(f"{config.depth} layers, {start}")
    moment = lambda name: ("largest deviation", outcomes.numbers(MOMENTS, name))
    return [
        claims.within("every rule has the variance of its formula", "F", moment("variance"), high=1.5, unit="%"),
        claims.within("and the kurtosis of its distribution", "F", moment("kurtosis"), high=0.05, unit="1"),
        claims.within("units that start equal stay equal", "F", of(CONSTANT, "units unlike the first"), high=0,
                      unit="units"),
        claims.compare("so a constant start learns worse", "F", of(CONSTANT), of(RANDOM), claimed="more", unit=wrong),
        claims.compare(f"He's variance trains {config.depth} layers of ReLU better than Glorot's", "F", deep("He"),
                       deep(GLOROT), claimed="less", unit=wrong),
        claims.within(f"Glorot's stalls there, at any rate (He et al., 2015): {config.depth} layers", "F",
                      deep(GLOROT), low=50, unit=wrong),
        claims.compare("weights of N(0, .01²) train worse than Glorot's", "F", deep(SMALL), deep(GLOROT),
                       claimed="more", unit=wrong),
        claims.compare(f"unsupervised pre-training helps {config.layers} layers of sigmoids", "F",
                       of("sigmoid, pre-trained"), of("sigmoid, random"), claimed="less", unit=wrong),
        claims.within("ReLU eliminates the need of it: without it at most one point is lost", "F",
                      ("lost", of("ReLU, random")[1] - of("ReLU, pre-trained")[1]), high=1, unit="percentage points"),
    ]  # fmt: skip


def draw(config: Config, outcomes: demonstrations.Outcomes) -> Sequence[demonstrations.Drawing]:
    """Draw the development errors of the nets."""
    from jaxdl import plots

    steps = EVERY * np.arange(1, config.steps // EVERY + 1)
    groups = [[CONSTANT, RANDOM], [case for case in outcomes.cases if case.startswith(str(config.depth))]]
    groups += [[f"{kind}, {how}" for how in ("random", "pre-trained")] for kind in KINDS]
    curves = [{case: (steps, outcomes.arrays(case, "errors").mean(0)) for case in group} for group in groups]
    figure = plots.panels(curves, xlabel="step", ylabel="development error (%)")
    about = f"Errors at the best rate of each start, digits, means over the seeds. The last: {config.layers} layers."
    return [demonstrations.Drawing("errors", figure, about)]


DEMONSTRATION = demonstrations.Demonstration(
    Config, lambda config: (digits := data.load("digits"), digits), lambda config: [MOMENTS, *nets(config)], run,
    judge, draw, check)  # fmt: skip
main, write = demonstrations.commands(DEMONSTRATION, __doc__)

if __name__ == "__main__":
    demonstrations.run_main(main)
