"""Ensembles: members that average or vote, bagging, and averages of the weights of one run.

    python -m experiments.ensemble

The lectures say that several models, averaged or by majority vote, err less than one; that members may see resampled
data (bagging); and that an average of the weights over the last steps may replace the ensemble. Groups of five MLPs
learn handwritten digits by Adam from different weights and in different orders, on the same examples, on resampled
ones, and under a rate that decays. Each run also tracks Polyak's average of its weights. A minute on one core.

(Lecture rows G8, E12.)
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import data, demonstrations, losses, metrics, models, optimizers, runs, schedules
from jaxdl.demonstrations import claims

SAME, BAGGING, DECAY = CASES = ("same data", "bagging", "decaying rate")
RATE, BATCH, POLYAK = 2e-3, 64, 0.995


@dataclasses.dataclass(frozen=True)
class Config(demonstrations.DemonstrationOptions):
    """The options of a run."""

    EXPERIMENT: ClassVar[str] = "ensemble"

    dataset: str = "mnist"
    """digits, mnist, fashion_mnist, a folder or archive of images, or package.module:function."""
    examples: int = 3000
    """Training examples, drawn anew by each seed."""
    members: int = 5
    """Members of a group."""
    width: int = 32
    """Hidden units of a member."""
    steps: int = 800
    """Steps of Adam."""


check = functools.partial(demonstrations.check_at_least, examples=1, members=2, width=1, steps=1)


def load(config: Config) -> tuple[data.Dataset, Any]:
    """Load the data.

    Raises:
        ValueError: if there are fewer training examples than asked for.
    """
    dataset = runs.dataset(config.dataset, data_dir=config.data_dir)
    splits = data.split(dataset, seed=0, dev_fraction=0.1)
    parts = [(part.images.astype(np.float32) / dataset.scale, part.labels) for part in (splits.train, splits.test)]
    if config.examples > len(parts[0][1]):
        raise ValueError(f"examples={config.examples}: {dataset.name} has {len(parts[0][1])} training examples")
    return dataset, (*parts, len(dataset.classes))


@functools.partial(jax.jit, static_argnames=("width", "classes", "decay"))
def trained(width: int, classes: int, decay: bool, keys: Any, images: Any, labels: Any, rows: Any, test: Any) -> Any:
    """Return logits of the test images, (members, 2, images, classes), by the last weights and by their average."""
    layer = models.mlp(classes, widths=(width,))

    def train(key: Any, rows: Any) -> Any:
        rate = schedules.cosine(RATE, len(rows)) if decay else RATE
        optimizer = optimizers.chain(optimizers.adam(rate), optimizers.polyak_average(POLYAK))
        params, _ = layer.init(key, images.shape[1:])

        def step(carry: Any, rows: Any) -> Any:
            params, state = carry
            loss = lambda p: losses.softmax_cross_entropy(layer.apply(p, {}, images[rows])[0], labels[rows]).mean()
            updates, state = optimizer.update(jax.grad(loss)(params), state, params)
            return (optimizers.apply_updates(params, updates), state), None

        params, state = jax.lax.scan(step, (params, optimizer.init(params)), rows)[0]
        return jnp.stack([layer.apply(p, {}, test)[0] for p in (params, optimizers.averaged_params(state, params))])

    return jax.vmap(train)(keys, rows)


def run(config: Config, loaded: Any, case: str, seed: int) -> Mapping[str, Any]:
    """Train a group, and judge its members one by one and together."""
    (images, labels), (x, y), classes = loaded
    random, n = np.random.default_rng(seed), config.examples
    chosen = random.permutation(len(labels))[:n]
    seen = [random.integers(n, size=n) if case == BAGGING else np.arange(n) for _ in range(config.members)]
    rows = np.stack([one[random.integers(n, size=(config.steps, BATCH))] for one in seen])
    keys = jax.random.split(jax.random.key(seed), config.members)
    logits = trained(config.width, classes, case == DECAY, keys, images[chosen], labels[chosen], rows, x)
    raw, averaged = jnp.moveaxis(logits, 0, -2)
    wrong = lambda logits: 100 * (1 - float(metrics.ratio(metrics.accuracy(logits, y))))
    single = lambda logits: float(np.mean([wrong(logits[:, i]) for i in range(config.members)]))
    together = [[wrong(combine(raw[:, : k + 1])) for k in range(config.members)]
                for combine in (metrics.average_members, metrics.majority_vote)]  # fmt: skip
    return {"single": single(raw), "average": together[0][-1], "vote": together[1][-1],
            "averaged weights": single(averaged), "by members": np.array(together)}  # fmt: skip


def judge(config: Config, outcomes: demonstrations.Outcomes) -> list[claims.Claim]:
    """Hold the lectures' sentences to the errors."""
    of = lambda case, what: (f"{what}, {case}", outcomes.numbers(case, what))
    wrong, count = "% wrong", config.members
    return [
        *(claims.compare(f"{count} members that {what} err less than one ({case})", "G8", of(case, key),
                         of(case, "single"), claimed="less", unit=wrong)
          for case in (SAME, BAGGING) for what, key in (("average", "average"), ("vote", "vote"))),
        claims.compare("the average of probabilities errs less than the vote", "G8", of(SAME, "average"),
                       of(SAME, "vote"), claimed="less", unit=wrong),
        claims.compare("a member of a bag errs more than one that sees all examples", "G8", of(BAGGING, "single"),
                       of(SAME, "single"), claimed="more", unit=wrong),
        claims.compare("yet bagging makes the better ensemble", "G8", of(BAGGING, "average"), of(SAME, "average"),
                       claimed="less", unit=wrong),
        *(claims.compare(f"averaged weights of one run err less than its last ones ({name})", "E12",
                         of(case, "averaged weights"), of(case, "single"), claimed="less", unit=wrong)
          for case, name in ((SAME, "constant rate"), (DECAY, DECAY))),
        claims.compare("averaged weights of one run err as little as the ensemble, or less", "E12",
                       of(SAME, "averaged weights"), of(SAME, "average"), claimed="less", unit=wrong),
    ]  # fmt: skip


def draw(config: Config, outcomes: demonstrations.Outcomes) -> Sequence[demonstrations.Drawing]:
    """Draw the error against the number of members."""
    from matplotlib.figure import Figure

    from jaxdl import plots

    figure, members = Figure(figsize=(7.2, 3.4), layout="constrained"), np.arange(1, config.members + 1)
    for place, (axes, case) in enumerate(zip(figure.subplots(1, 2, sharey=True), (SAME, BAGGING), strict=True)):
        for what, style in (("average", "o-"), ("vote", "s--")):
            curve = outcomes.arrays(case, "by members")[:, int(what == "vote")].mean(0)
            axes.plot(members, curve, style, color=plots.COLORS[int(what == "vote")], label=what)
        axes.axhline(outcomes.numbers(case, "averaged weights").mean(), color=plots.COLORS[2], linestyle=":",
                     label="one run's averaged weights")  # fmt: skip
        axes.set(xlabel="members", title=case, xticks=members)
        if not place:
            axes.set_ylabel("test error (%)")
            axes.legend(frameon=False)
    about = f"Test error against the number of members, {config.dataset}, means over the groups."
    return [demonstrations.Drawing("members", figure, about)]


DEMONSTRATION = demonstrations.Demonstration(Config, load, lambda config: CASES, run, judge, draw, check)
main, write = demonstrations.commands(DEMONSTRATION, __doc__)

if __name__ == "__main__":
    demonstrations.run_main(main)
