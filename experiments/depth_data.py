"""Error against depth and against the number of examples, for networks of as many parameters.

    python -m experiments.depth_data
    python -m experiments.depth_data --full          # 54,000 examples, depths 1 to 6: hours

The lectures say that depth pays and that deep learning is hungry for data: more examples keep lowering the error, where
older methods level off. MLPs of one to six hidden layers, whose widths give them as many parameters, learn handwritten
digits by Adam at the better of two rates, beside softmax regression. The slope is that of the logarithm of the error
over that of the number of examples. A minute on one core.

(Lecture row A6.)
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import data, demonstrations, losses, models, optimizers, runs
from jaxdl.demonstrations import claims

RATES, BATCH, DEV = (1e-3, 4e-3), 64, 1000


@dataclasses.dataclass(frozen=True)
class Config(demonstrations.DemonstrationOptions):
    """The options of a run."""

    EXPERIMENT: ClassVar[str] = "depth_data"

    dataset: str = "mnist"
    """digits, mnist, fashion_mnist, a folder or archive of images, or package.module:function."""
    depths: tuple[int, ...] = (0, 1, 2, 4)
    """Numbers of hidden layers, increasing; 0 is softmax regression."""
    sizes: tuple[int, ...] = (100, 1000, 10_000)
    """Numbers of training examples, increasing."""
    parameters: int = 20_000
    """Parameters of the networks, about."""
    steps: int = 1000
    """Steps of Adam, on 64 examples each."""


def check(config: Config) -> None:
    """Raise ValueError for an option out of range."""
    demonstrations.check_at_least(config, parameters=100, steps=1)
    for name, least, many in (("depths", 0, 3), ("sizes", 1, 2)):
        values = getattr(config, name)
        if len(values) < many or values[0] < least or list(values) != sorted({*values}):
            raise ValueError(
                f"{name}={values} is not allowed: it must be {many} or more increasing numbers from {least} on"
            )
    if config.depths[0] != 0:
        raise ValueError(f"depths={config.depths} is not allowed: it must begin with 0, softmax regression")


def load(config: Config) -> tuple[data.Dataset, Any]:
    """Load the data.

    Raises:
        ValueError: if there are fewer training examples than the largest size.
    """
    dataset = runs.dataset(config.dataset, data_dir=config.data_dir)
    splits = data.split(dataset, seed=0, dev_fraction=0.1)
    parts = [(one.images.astype(np.float32) / dataset.scale, one.labels) for one in splits]
    if config.sizes[-1] > len(parts[0][1]):
        raise ValueError(f"sizes={config.sizes}: {dataset.name} has {len(parts[0][1])} training examples")
    return dataset, (parts, len(dataset.classes))


def layers(depth: int) -> str:
    """Return a depth in words."""
    return f"{depth} hidden layer{'s' if depth != 1 else ''}"


def named(depth: int, size: int) -> str:
    """Return the name of a case."""
    return f"{layers(depth)}, n = {size}"


def width_of(depth: int, inputs: int, classes: int, parameters: int) -> int:
    """Return the width w of each hidden layer: (d − 1) w² + (inputs + d + classes) w + classes = parameters."""
    square, linear, rest = depth - 1, inputs + depth + classes, classes - parameters
    root = -rest / linear if not square else (-linear + (linear**2 - 4 * square * rest) ** 0.5) / (2 * square)
    return max(1, round(root))


@functools.partial(jax.jit, static_argnames=("classes", "widths"))
def trained(classes: int, widths: tuple[int, ...], key: Any, images: Any, labels: Any, rows: Any, x: Any) -> jax.Array:
    """Return the classes that a net sees in x after training at each of the rates."""
    layer = models.mlp(classes, widths=widths)

    def train(rate: Any) -> jax.Array:
        optimizer, (params, _) = optimizers.adam(rate), layer.init(key, images.shape[1:])

        def step(carry: Any, rows: Any) -> Any:
            params, state = carry
            loss = lambda p: losses.softmax_cross_entropy(layer.apply(p, {}, images[rows])[0], labels[rows]).mean()
            updates, state = optimizer.update(jax.grad(loss)(params), state, params)
            return (optimizers.apply_updates(params, updates), state), None

        params = jax.lax.scan(step, (params, optimizer.init(params)), rows)[0][0]
        return jnp.argmax(layer.apply(params, {}, x)[0], -1)

    return jax.vmap(train)(jnp.array(RATES))


def run(config: Config, loaded: Any, case: str, seed: int) -> Mapping[str, Any]:
    """Train a depth on n examples, and judge it at its better rate."""
    (parts, classes), (depth, size) = loaded, (int(word) for word in case.split() if word.isdigit())
    random = np.random.default_rng(seed)
    chosen = random.permutation(len(parts[0][1]))[: config.sizes[-1]]
    images, labels = parts[0][0][chosen], parts[0][1][chosen]  # all, so that every n is one program
    width = width_of(depth, images[0].size, classes, config.parameters) if depth else 0
    rows = random.integers(size, size=(config.steps, BATCH))
    x, y = (np.concatenate([dev[:DEV], test]) for dev, test in zip(*parts[1:], strict=True))
    seen = trained(classes, (width,) * depth, jax.random.key(seed), images, labels, rows, x)
    wrong, split = 100 * (np.asarray(seen) != y), len(parts[1][1][:DEV])
    best = int(np.argmin(wrong[:, :split].mean(1)))
    return {"error": float(wrong[best, split:].mean()), "rate": RATES[best], "width": width}


def judge(config: Config, outcomes: demonstrations.Outcomes) -> list[claims.Claim]:
    """Hold the lectures' sentences to the errors."""
    errors = {
        depth: np.array([outcomes.numbers(named(depth, n), "error") for n in config.sizes]) for depth in config.depths
    }
    flat, first, *deeper = config.depths
    slope = lambda depth, start=0: np.polyfit(np.log(config.sizes[start:]), np.log(errors[depth][start:]), 1)[0]
    of = lambda depth, place: (layers(depth), errors[depth][place])
    last = deeper[-1]
    return [
        *(claims.compare(f"depth pays: {layers(depth)} against {first}, n = {n:,}", "A6", of(depth, place),
                         of(first, place), claimed="less", unit="% wrong")
          for depth in deeper for place, n in enumerate(config.sizes)),
        claims.within("the error falls as a power of the number of examples: its exponent", "A6",
                      (layers(last), slope(last)), high=-0.2, unit="1"),
        claims.compare(f"softmax regression levels off: exponents from n = {config.sizes[-2]:,} on", "A6",
                       ("softmax regression", slope(flat, -2)), (layers(last), slope(last, -2)),
                       claimed="more", unit="1"),
        claims.compare("the deepest gains more of more examples than the shallowest", "A6",
                       (layers(last), slope(last)), (layers(first), slope(first)),
                       claimed="less", unit="1"),
    ]  # fmt: skip


def draw(config: Config, outcomes: demonstrations.Outcomes) -> Sequence[demonstrations.Drawing]:
    """Draw the errors against the number of examples, and against the depth."""
    from matplotlib.figure import Figure

    from jaxdl import plots

    figure = Figure(figsize=(8.4, 3.4), layout="constrained")
    by_size, by_depth = figure.subplots(1, 2, sharey=True)
    mean = lambda depth, n: outcomes.numbers(named(depth, n), "error").mean()
    for place, depth in enumerate(config.depths):
        color = plots.COLORS[place % len(plots.COLORS)]
        by_size.plot(config.sizes, [mean(depth, n) for n in config.sizes], "o-", color=color, label=f"{depth} hidden")
    for place, n in enumerate(config.sizes):
        color = plots.COLORS[place % len(plots.COLORS)]
        by_depth.plot(config.depths, [mean(depth, n) for depth in config.depths], "s-", color=color, label=f"n = {n:,}")
    by_size.set(xscale="log", yscale="log", xlabel="training examples", ylabel="test error (%)")
    by_depth.set(yscale="log", xlabel="hidden layers", xticks=config.depths)
    for axes in (by_size, by_depth):
        axes.legend(frameon=False, fontsize=8)
    about = f"Test errors of nets of about {config.parameters:,} parameters, {config.dataset}, means over the seeds."
    return [demonstrations.Drawing("errors", figure, about)]


FULL = {"depths": (0, 1, 2, 3, 4, 5, 6), "sizes": (100, 300, 1000, 3000, 10_000, 30_000, 54_000)}
FULL |= {"parameters": 200_000, "steps": 10_000}
DEMONSTRATION = demonstrations.Demonstration(
    Config,
    load,
    lambda config: [named(d, n) for d in config.depths for n in config.sizes],
    run,
    judge,
    draw,
    check,
    FULL,
)
main, write = demonstrations.commands(DEMONSTRATION, __doc__)

if __name__ == "__main__":
    demonstrations.run_main(main)
