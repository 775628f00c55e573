"""The experiment: its options, its cases and its claims."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from experiments.depth import nets
from experiments.depth.nets import NETS, PLAIN, RESIDUAL, named
from jaxdl import data, demonstrations, runs
from jaxdl.demonstrations import claims

PAPER = {20: 8.75, 32: 7.51, 44: 7.17, 56: 6.97, 110: 6.43}  # layers of a residual net: % wrong on test images
RECORDS, TUNING = 8, 2  # parts of a run, and of those at all rates
JUDGING, PROBING = 1000, 2000  # images that judge while training, and from which probes learn


@dataclasses.dataclass(frozen=True)
class Config(demonstrations.DemonstrationOptions):
    """The options of a run."""

    EXPERIMENT: ClassVar[str] = "depth"

    seeds: int = 3
    """Number of seeds, each of which draws the training images, parameters and batches."""
    dataset: str = "cifar10"
    """cifar10, a folder or archive of images of 32×32, or package.module:function."""
    depths: tuple[int, int] = (20, 32)
    """Two numbers of layers, 6n + 2 each, the smaller one first."""
    width: float = 0.25
    """Multiplier of every number of channels; 1 is the paper's."""
    images: int = 20_000
    """Training images."""
    test_images: int = 2000
    """Test images, at most; the same for all seeds."""
    batch: int = 32
    """Images of a batch."""
    steps: int = 320
    """Steps, a multiple of 8."""
    rates: tuple[float, ...] = (0.03, 0.1, 0.3)
    """Learning rates, of which every net takes its best."""


def check(config: Config) -> None:
    """Raise ValueError for an option out of range."""
    demonstrations.check_at_least(config, images=1, test_images=1, batch=1, steps=RECORDS)
    shallow, deep = config.depths
    if not 8 <= shallow < deep or {shallow % 6, deep % 6} != {2}:
        raise ValueError(f"depths={config.depths} is not allowed: it must be two of 8, 14, 20, ..., the smaller first")
    if config.steps % RECORDS:
        raise ValueError(f"steps={config.steps} is not allowed: it must be a multiple of {RECORDS}")
    for name in ("width", "rates"):
        values = np.atleast_1d(getattr(config, name))
        if not values.size or not (values > 0).all():
            raise ValueError(f"{name}={getattr(config, name)} is not allowed: it must be above 0")


def load(config: Config) -> tuple[data.Dataset, Any]:
    """Load the images in parts for training, development and test, and what turns them into inputs."""
    dataset = runs.dataset(config.dataset, data_dir=config.data_dir)
    splits = data.split(dataset, seed=0, dev_fraction=0.1)
    if len(splits.train.labels) < config.images:
        raise ValueError(f"images={config.images} is not allowed: {dataset.name} has {len(splits.train.labels)}")
    if dataset.images.shape[1:3] != (32, 32):
        raise ValueError(f"dataset={config.dataset!r} has images of shape {dataset.images.shape[1:]}; needed are 32×32")
    # archives hold images class by class, and batch norm's statistics of a few images must be those of all classes
    orders = [np.random.default_rng(0).permutation(len(part.labels)) for part in splits]
    rows = [order[:limit] for order, limit in zip(orders, (None, JUDGING, config.test_images), strict=True)]
    parts = [(np.asarray(part.images[chosen]), part.labels[chosen]) for part, chosen in zip(splits, rows, strict=True)]
    seen = functools.partial(data.normalize, stats=data.fit_normalization(parts[0][0], dataset.scale))
    return dataset, (parts, seen, len(dataset.classes))


def run(config: Config, loaded: Any, case: str, seed: int) -> Mapping[str, Any]:
    """Train the net of a case at its best rate, and probe its blocks before and after."""
    (pool, dev, test), seen, classes = loaded
    program = nets.program(case, nets.NetSize(config.width, config.steps, config.batch, classes), seen)
    random = np.random.default_rng(seed)
    chosen = random.permutation(len(pool[1]))[: config.images]
    images, labels = (jnp.asarray(part[chosen]) for part in pool)
    train = np.asarray(images[:PROBING]), np.asarray(labels[:PROBING])
    rows = random.integers(config.images, size=(RECORDS, config.steps // RECORDS, config.batch))
    keys = jax.random.split(jax.random.key(seed), (RECORDS, config.steps // RECORDS))
    start = program.init(jax.random.key(seed), images.shape[1:])

    def error(carry: Any, part: Any) -> float:
        found = nets.chunked(functools.partial(program.classify, *carry[:2]), part[0])
        return 100 * float(np.mean(found != part[1]))

    def further(carry: Any, rate: float, places: range) -> list[Any]:
        """Return what the parts of the training leave, one after the other."""
        left = [carry]
        for place in places:
            left.append(program.part(left[-1], rate, images, labels, rows[place], keys[place]))
        return left[1:]

    begun = {rate: further(start, rate, range(TUNING)) for rate in config.rates}
    rate = min(begun, key=lambda rate: error(begun[rate][-1], dev))
    carries = [*begun[rate], *further(begun[rate][-1], rate, range(TUNING, RECORDS))]
    carry, curve = carries[-1], [error(one, [part[:JUDGING] for part in train]) for one in carries]
    found = {
        "rate": rate,
        "curve": curve,
        "train error": curve[-1],
        "train error at half time": curve[RECORDS // 2 - 1],
    }
    found["test error"] = error(carry, test)
    for when, which in (("untrained", start), ("trained", carry)):
        errors = [*nets.probes(program, which, (train, dev, test), classes).values()]
        found |= {when: errors, f"{when}, first block": errors[2], f"{when}, last block": errors[-1]}
    return found


def judge(config: Config, outcomes: demonstrations.Outcomes) -> list[claims.Claim]:
    """Hold the lectures' sentences to the errors."""
    wrong, half, after = "% wrong", "train error at half time", f"after {config.steps:,} steps"
    (shallow, deep), of = config.depths, lambda net, depth, what: outcomes.numbers(named(net, depth), what)
    gap = lambda what: of(PLAIN, deep, what) - of(PLAIN, shallow, what)

    def depths(text: str, net: str, what: str, claimed: str) -> claims.Claim:
        sides = [(f"{depth} layers", of(net, depth, what)) for depth in (deep, shallow)]
        return claims.compare(text, "I", *sides, claimed=claimed, unit=wrong)

    def kinds(text: str, what: str, claimed: str = "less") -> claims.Claim:
        sides = [(net, of(net, deep, what)) for net in (RESIDUAL, PLAIN)]
        return claims.compare(text, "I", *sides, claimed=claimed, unit=wrong)

    def layers(text: str, net: str, when: str) -> claims.Claim:
        sides = [(where, of(net, deep, f"{when}, {where}")) for where in ("last block", "first block")]
        return claims.compare(text, "I", *sides, claimed="more", unit=wrong)

    found = [
        depths(f"plain nets get worse with depth: training error {after}", PLAIN, "train error", "more"),
        claims.compare("and not only because they learn later: the gap is wider at the end than at half time", "I",
                       ("gap at the end", gap("train error")), ("at half time", gap(half)), claimed="more",
                       unit="percentage points"),
        depths(f"they generalise worse, too: test error {after}", PLAIN, "test error", "more"),
        depths(f"residual nets get better with depth: training error {after}", RESIDUAL, "train error", "less"),
        depths(f"and test error {after}", RESIDUAL, "test error", "less"),
        kinds(f"{deep} layers train better with shortcuts: training error {after}", "train error"),
        kinds(f"and test error {after}", "test error"),
        layers(f"{deep} untrained plain layers lose what a linear probe reads of the label", PLAIN, "untrained"),
        kinds("shortcuts keep it: probe after the last untrained block", "untrained, last block"),
        layers(f"and {deep} trained plain layers lose it", PLAIN, "trained"),
        layers(f"and {deep} trained residual layers lose it", RESIDUAL, "trained"),
    ]  # fmt: skip
    held = [(named(RESIDUAL, depth), PAPER[depth]) for depth in config.depths if config.full and depth in PAPER]
    said = "its test error is the paper's (here JPEG files of CIFAR-10 and 45,000 images)"
    return found + [
        claims.consistent(f"{case}: {said}", "I", ("test error", outcomes.numbers(case, "test error")), printed=printed,
                          unit=wrong) for case, printed in held
    ]  # fmt: skip


def draw(config: Config, outcomes: demonstrations.Outcomes) -> Sequence[demonstrations.Drawing]:
    """Draw the errors against steps, and the errors of the probes against depth."""
    from experiments.depth import figures  # matplotlib is slow to import, and --help need not wait

    return figures.draw(config, outcomes)


FULL = {"width": 1.0, "images": 45_000, "test_images": 10_000, "batch": 128, "steps": 64_000, "rates": (0.1,)}
cases = lambda config: [named(net, depth) for net in NETS for depth in config.depths]
DEMONSTRATION = demonstrations.Demonstration(Config, load, cases, run, judge, draw, check, FULL)
