"""Signals through depth and time: which initialisation keeps activations and gradients alive.

    python -m experiments.signals

The lectures say that gradients vanish or explode with depth, that each sigmoid multiplies them by at most 1/4, that the
variance of the weights cures it (1/n for tanh, 2/n for ReLU), that shortcuts help, and that information decays through
time. Measured are ‖∂L/∂z‖ and ‖∂L/∂W‖ per layer, the activations and their saturation, the gradient through time in an
RNN and an LSTM, and the lecture's own loop of 100 tanh layers. Two minutes on one core. By ‖∂L/∂W‖ alone, Glorot's ReLU
looks healthy.

(Lecture rows D5, F, A8.)
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import activations, analysis, demonstrations, initializers, losses, nn
from jaxdl.demonstrations import claims

ACTIVATIONS = {"sigmoid": activations.sigmoid, "tanh": activations.tanh, "ReLU": activations.relu}
RULES = {"N(0, .01²)": initializers.normal(0.01), "Glorot": initializers.glorot_normal()}
RULES["He"] = initializers.he_normal()
SHORTCUTS = ["residual ReLU, Glorot", "dense ReLU, Glorot"]
CELLS, LECTURE = {"RNN": nn.RNN, "LSTM": nn.LSTM}, "the lecture's 100 tanh layers"
CASES = [*(f"{name}, {rule}" for name in ACTIVATIONS for rule in RULES), *SHORTCUTS, *CELLS, LECTURE]
Z, W, TIME = (f"log10 of ∂L/∂{what}, first to last" for what in ("z", "W", "x"))


@dataclasses.dataclass(frozen=True)
class Config(demonstrations.DemonstrationOptions):
    """The options of a run."""

    EXPERIMENT: ClassVar[str] = "signals"

    seeds: int = 20
    """Number of seeds, each of which draws the weights, the inputs and the labels."""
    depth: int = 30
    """Layers of the nets."""
    width: int = 100
    """Units of each layer."""
    times: int = 50
    """Steps through time."""


def load(config: Config) -> tuple[str, Any]:
    """Return the name of the data, and the function that compiles the measurement of each kind of net once."""
    return "drawn inputs", functools.cache(functools.partial(_compiled, config))


def _network(config: Config, kind: str, activation: str, rule: str) -> nn.Layer:
    """Return a net without biases, whose layers are layer1/fc and layer1/act, ..., or lie below a shortcut."""

    def layer(width: int) -> nn.Layer:
        return nn.serial(fc=nn.Dense(width, bias=False, kernel_init=RULES[rule]), act=ACTIVATIONS[activation])

    wrap = {
        "plain": lambda: layer(config.width),
        "residual": lambda: nn.residual(layer(config.width)),
        "dense": lambda: nn.parallel("concat", old=nn.identity, new=layer(max(1, config.width // 8))),
    }[kind]
    return nn.serial(**{f"layer{i}": wrap() for i in range(1, config.depth + 1)}, head=nn.Dense(10))


def _compiled(config: Config, kind: str, activation: str) -> Any:
    """Return (params, x, labels) -> numbers and arrays of a net; the rule of its weights does not matter."""
    net, inside = _network(config, kind, activation, "He"), {"plain": "", "residual": "body/", "dense": "new/"}[kind]
    linear, active = ([f"layer{i}/{inside}{part}" for i in range(1, config.depth + 1)] for part in ("fc", "act"))

    @jax.jit
    def measured(params, x, labels):
        loss = lambda logits: losses.softmax_cross_entropy(logits, labels).mean()
        norms = analysis.gradient_norms(net, loss, params, {}, x, linear)
        (_, seen), _ = nn.tap(net, [*linear, *active]).apply(params, {}, x)
        saturated = analysis.saturation(ACTIVATIONS[activation], jnp.stack([seen[path] for path in linear]))
        dz, dW = (jnp.stack([*found.values()]) for found in norms)
        return {"saturated": saturated, "dz": dz, "dW": dW, "std": jnp.stack([seen[path].std() for path in active])}

    return measured


def through_time(config: Config, cell: str, key: jax.Array) -> np.ndarray:
    """Return ‖∂L/∂x_t‖ of each step t, where L is a random combination of the units after the last step."""
    layer, keys = CELLS[cell](config.width, output="last"), jax.random.split(key, 3)
    x, v = jax.random.normal(keys[0], (16, config.times, 10)), jax.random.normal(keys[1], (16, config.width))
    variables = layer.init(keys[2], (config.times, 10))
    grads = jax.grad(lambda x: jnp.vdot(layer.apply(*variables, x)[0], v))(x)
    return np.asarray(jnp.sqrt(jnp.sum(grads**2, (0, 2))))


def run(config: Config, compiled: Any, case: str, seed: int) -> Mapping[str, Any]:
    """Measure one net of the seed."""
    if case == LECTURE:
        activation = lecture_loop(jax.random.key(seed))
        return {"std": float(activation.std(ddof=1)), "mean": float(activation.mean())}
    if case in CELLS:
        norms = through_time(config, case, jax.random.key(seed))
        return {TIME: _ratio(norms), "dx": norms}
    name, rule = case.split(", ", 1)
    kind, activation = name.split(" ") if " " in name else ("plain", name)
    keys = jax.random.split(jax.random.key(seed), 3)
    batch = jax.random.normal(keys[0], (100, config.width)), jax.random.randint(keys[1], (100,), 0, 10)
    params, _ = _network(config, kind, activation, rule).init(keys[2], (config.width,))
    found = {name: np.asarray(value) for name, value in compiled(kind, activation)(params, *batch).items()}
    ratio = _ratio(found["dz"])
    return {Z: ratio, W: _ratio(found["dW"]), "per layer": 10 ** (ratio / (config.depth - 1)), **found}


def lecture_loop(key: jax.Array, depth: int = 100, width: int = 512) -> np.ndarray:
    """Return x after `depth` times x ← tanh(A x), A of N(0, 1/width), from a normal x: the lecture's loop."""
    first, *keys = jax.random.split(key, depth + 1)

    def step(x, key):
        return jnp.tanh(jax.random.normal(key, (width, width)) @ x / width**0.5), None

    return np.asarray(jax.lax.scan(step, jax.random.normal(first, (width,)), jnp.stack(keys))[0], np.float64)


def _ratio(norms: np.ndarray) -> float:
    """Return log10 of the first over the last norm; −∞ if it underflows."""
    with np.errstate(divide="ignore"):
        return float(np.log10(norms[0].astype(np.float64)) - np.log10(norms[-1].astype(np.float64)))


def judge(config: Config, outcomes: demonstrations.Outcomes) -> list[claims.Claim]:
    """Hold the lectures' sentences to the numbers."""
    of, decades = outcomes.numbers, "decades"
    z = lambda case: (case, of(case, Z))
    return [
        claims.within(f"each of {config.depth} sigmoid layers leaves at most 1/4 of the gradient (Glorot)", "D5, B",
                      ("factor per layer", of("sigmoid, Glorot", "per layer")), high=0.25, unit="per layer"),
        claims.compare("Glorot's rule lets gradients of a deep ReLU net vanish, He's does not", "F",
                       z("ReLU, Glorot"), z("ReLU, He"), claimed="less", unit=decades),
        claims.within("with He's rule ∂L/∂z of a ReLU net stays within a factor of 10", "F", z("ReLU, He"), low=-1,
                      high=1, unit=decades),
        claims.within("∂L/∂W alone shows it: with Glorot's rule it falls by a factor of 10 or more", "D5",
                      ("ReLU, Glorot", of("ReLU, Glorot", W)), high=-1, unit=decades),
        claims.within("variance 1/n keeps gradients of a tanh net within a factor of 10", "F", z("tanh, Glorot"),
                      low=-1, high=1, unit=decades),
        claims.compare("weights of N(0, .01²) lose more of the gradient than Glorot's (tanh)", "F",
                       z("tanh, N(0, .01²)"), z("tanh, Glorot"), claimed="less", unit=decades),
        claims.within("a residual net keeps ∂L/∂z within a factor of 10, without normalisation", "D5",
                      z(SHORTCUTS[0]), low=-1, high=1, unit=decades),
        claims.compare("shortcuts bring the gradient to the first layer: residual against plain (ReLU, Glorot)", "D5",
                       z(SHORTCUTS[0]), z("ReLU, Glorot"), claimed="more", unit=decades),
        claims.compare("dense connections do, too", "D5", z(SHORTCUTS[1]), z("ReLU, Glorot"), claimed="more",
                       unit=decades),
        claims.compare(f"information decays through time: an RNN's gradient over {config.times} steps", "A8",
                       ("RNN, first step", of("RNN", TIME)), ("last step", np.zeros(len(outcomes.seeds))),
                       claimed="less", unit=decades),
        claims.compare("an LSTM keeps more of it", "A8", ("LSTM", of("LSTM", TIME)), ("RNN", of("RNN", TIME)),
                       claimed="more", unit=decades),
        claims.consistent("100 tanh layers with variance 1/n: the printed standard deviation", "F",
                          ("std", of(LECTURE, "std")), printed=0.0613, unit="1"),
    ]  # fmt: skip


def draw(config: Config, outcomes: demonstrations.Outcomes) -> Sequence[demonstrations.Drawing]:
    """Draw the norms of both gradients per layer, and the activations."""
    del config
    from jaxdl import plots

    def panels(array: str, what: str) -> Any:
        groups = []
        for name in ACTIVATIONS:
            found = {f"{name}, {rule}": _mean(outcomes.arrays(f"{name}, {rule}", array)) for rule in RULES}
            groups.append({case: (1 + np.arange(len(y)), y) for case, y in found.items()})
        return plots.panels(groups, xlabel="layer", ylabel=what, logy=True)

    means = "Plain nets, geometric means over the seeds."
    return [
        demonstrations.Drawing("outputs", panels("dz", "‖∂L/∂z‖"), "Gradient at the output of each layer. With "
                               f"Glorot's rule a ReLU net's vanishes towards the input. {means}"),
        demonstrations.Drawing("weights", panels("dW", "‖∂L/∂W‖"), "Gradient at the weights of each layer of the same "
                               f"nets. It is the product of a vanishing ∂L/∂z and vanishing activations, and looks "
                               f"healthy where ReLU meets Glorot's rule. {means}"),
        demonstrations.Drawing("activations", panels("std", "standard deviation"), f"Activations per layer. {means}"),
    ]  # fmt: skip


def _mean(values: np.ndarray) -> np.ndarray:
    """Return the geometric mean over the seeds; NaN where a value underflows to 0."""
    with np.errstate(divide="ignore"):
        mean = np.exp(np.log(values.astype(np.float64)).mean(0))
    return np.where(mean > 0, mean, np.nan)


check = functools.partial(demonstrations.check_at_least, depth=2, width=1, times=2)
DEMONSTRATION = demonstrations.Demonstration(
    Config, load, lambda config: CASES, run, judge, draw, check, {"depth": 100, "width": 512}
)
main, write = demonstrations.commands(DEMONSTRATION, __doc__)

if __name__ == "__main__":
    demonstrations.run_main(main)
