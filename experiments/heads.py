"""One backbone, several heads: which digits are there, which pixels are theirs, and where each of them is.

    python -m experiments.heads

Up to three of scikit-learn's digits, in three sizes, are pasted on a canvas, so that masks and boxes are known exactly.
A small trunk of stride 4 gets a dense head, a head of transposed convolutions and a head of YOLOv3's kind, together or
one each in a net of its own. Measured are the average precision of presence, the overlap of masks and boxes' mean
average precision. Losses weigh 5 : 5 : 1, untuned, and that of boxes leads: what others lose is at these weights.
Verdicts are on some eight passes of such canvases, not on natural images. Some ten minutes on two cores.

(Lecture rows J, I.)
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import activations, data, demonstrations, losses, metrics, nn, optimizers, schedules
from jaxdl.applications import detection
from jaxdl.demonstrations import claims

JOINT = "one trunk"
CASES = (JOINT, *(HEADS := ("class", "mask", "boxes")))
CLASS, MASK, BOXES = HEADS
SIDE, STRIDE, ANCHORS = 32, 4, ((6, 8), (11, 15))  # of the canvas, of the trunk, (width, height) of boxes
SCALES = (5.0, 5.0, 1.0)  # of the heads' losses, not tuned: that of boxes leads; Adam sees no scale of a single one
OVERLAPS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclasses.dataclass(frozen=True)
class Config(demonstrations.DemonstrationOptions):
    """The options of a run."""

    EXPERIMENT: ClassVar[str] = "heads"

    seeds: int = 3
    """Number of seeds, each of which draws canvases, parameters and batches."""
    canvases: int = 10_000
    """Training canvases; a tenth as many, of other digits, are for the test."""
    steps: int = 2400
    """Training steps of 32 canvases each."""
    width: int = 16
    """Channels after the first convolution; later ones have two and three times as many."""


def check(config: Config) -> None:
    """Raise ValueError for an option out of range."""
    demonstrations.check_at_least(config, canvases=320, steps=1, width=1)


def load(_: Config) -> tuple[data.Dataset, data.Dataset]:
    """Load scikit-learn's digits."""
    return (dataset := data.load("digits")), dataset


def network(config: Config) -> nn.Layer:
    """Return a trunk of stride 4 with all heads, whose outputs are a tuple."""
    w, relu = config.width, activations.relu
    trunk = nn.serial(a=nn.Conv(w, 3, stride=2), relu1=relu, b=nn.Conv(2 * w, 3, stride=2), relu2=relu,
                      c=nn.Conv(3 * w, 3), relu3=relu, d=nn.Conv(3 * w, 3), relu4=relu)  # fmt: skip
    up = nn.serial(up1=nn.ConvTranspose(w, 2, stride=2), relu=relu, up2=nn.ConvTranspose(1, 2, stride=2))
    flat = nn.serial(pool=nn.MaxPool(2), flatten=nn.flatten, fc=nn.Dense(10))
    heads = {CLASS: flat, MASK: up, BOXES: nn.Conv(len(ANCHORS) * 15, 1)}
    return nn.serial(trunk=trunk, heads=nn.parallel(tuple, **heads))


@jax.jit
def targets(examples: Mapping[str, Any]) -> tuple[jax.Array, jax.Array, detection.Targets]:
    """Return the target of each head: the classes that are there, the mask, and the places of boxes."""
    assign = lambda xy: detection.box_targets(xy, ANCHORS, stride=STRIDE, grid=(side := SIDE // STRIDE, side))
    presence = jax.nn.one_hot(examples["classes"], 10).max(1)
    return presence, jnp.float32(examples["images"] > 0.25), jax.vmap(assign)(examples["corners"])


@functools.cache
def _compiled(config: Config) -> tuple[Any, Any, Any]:
    """Return initialisation, training, (key, params, weights of the heads' losses, examples) -> params, and apply."""
    layer, optimizer = network(config), optimizers.adam(schedules.cosine(3e-3, config.steps))

    def mean_loss(params, weights, batch):
        (*said, maps), (*wanted, places) = layer.apply(params, {}, batch["images"])[0], targets(batch)
        parts = [losses.sigmoid_binary_cross_entropy(*pair).mean() for pair in zip(said, wanted, strict=True)]
        boxes = jax.vmap(detection.box_loss)(maps, places, batch["classes"]).mean()
        return jnp.dot(weights, jnp.stack([*parts, boxes]))

    def train(key, params, weights, examples):
        def step(carry, key):
            params, state = carry
            rows = jax.random.randint(key, (32,), 0, len(examples["images"]))
            grads = jax.grad(mean_loss)(params, weights, jax.tree.map(lambda x: x[rows], examples))
            updates, state = optimizer.update(grads, state, params)
            return (optimizers.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, optimizer.init(params)), jax.random.split(key, config.steps))[0][0]

    quick = {"xla_backend_optimization_level": 0}  # at other levels the initial values take 25 s to compile
    init = jax.jit(lambda key: layer.init(key, (SIDE, SIDE, 1))[0], compiler_options=quick)
    return init, jax.jit(train), jax.jit(layer.apply)


def run(config: Config, dataset: data.Dataset, case: str, seed: int) -> Mapping[str, Any]:
    """Train with the losses of the case's heads, and judge the heads on canvases of other digits."""
    order = np.random.default_rng(seed).permutation(len(dataset.labels))
    digits = np.asarray(dataset.images, np.float32)[..., 0] / dataset.scale
    parts = (order[:1300], config.canvases), (order[1300:], config.canvases // 10)
    train, test = (data.toy.pasted(digits[rows], dataset.labels[rows], count, seed=2 * seed + k, side=SIDE)._asdict()
                   for k, (rows, count) in enumerate(parts))  # fmt: skip
    weights = np.array([s * (case in (JOINT, head)) for s, head in zip(SCALES, HEADS, strict=True)], np.float32)
    (init, training, apply), key = _compiled(config), jax.random.key(seed)
    presence, mask, maps = apply(training(key, init(key), weights, train), {}, test["images"])[0]
    found, (there, true, _) = dict[str, Any](), targets(test)
    if case in (JOINT, CLASS):
        found[CLASS] = 100 * float(metrics.average_precision(presence.ravel(), there.ravel()))
    if case in (JOINT, MASK):
        found |= {MASK: overlap(mask > 0, true > 0), "blocks": best_of_blocks(np.asarray(true) > 0)}
    if case in (JOINT, BOXES):
        seen, scores = decoded(maps)
        curve = [average(seen.boxes, scores, test, least, 0.45) for least in OVERLAPS]
        found |= {BOXES: curve[2], "not suppressed": average(seen.boxes, scores, test, 0.5, 1.0), "curve": curve}
    return found | ({"images": test["images"][:6], "masks": mask[:6], "maps": maps[:6]} if case == JOINT else {})


def overlap(found: Any, truth: Any) -> float:
    """Return the intersection over union of masks in per cent, over all images."""
    return 100 * float((found & truth).sum() / (found | truth).sum())


def decoded(maps: Any) -> tuple[detection.Detections, jax.Array]:
    """Return boxes and their scores for each class, from the outputs of the head of boxes."""
    seen = detection.decode_boxes(maps, ANCHORS, stride=STRIDE)
    return seen, activations.sigmoid(seen.objectness)[..., None] * activations.softmax(seen.classes)


@jax.jit
def average(boxes: Any, scores: Any, test: Mapping[str, Any], least: Any, suppress: Any) -> jax.Array:
    """Return the mean average precision of boxes in per cent; see `detection.mean_average_precision`."""
    options = {"iou_threshold": least, "suppress": suppress, "limit": 8, "score_threshold": 0.02}
    return 100 * detection.mean_average_precision(boxes, scores, test["corners"], test["classes"], **options)


def best_of_blocks(mask: np.ndarray) -> float:
    """Return the overlap with the best mask that is constant on the blocks of pixels that the trunk sees as one."""
    shares = mask.reshape(-1, SIDE // STRIDE, STRIDE, SIDE // STRIDE, STRIDE).mean((2, 4))
    of = lambda least: np.kron(shares > least, np.ones((1, STRIDE, STRIDE), bool))[..., None]
    return max(overlap(of(least), mask) for least in (0.2, 0.3, 0.4, 0.5))


def judge(config: Config, outcomes: demonstrations.Outcomes) -> list[claims.Claim]:
    """Hold the lectures' sentences to the numbers."""
    of = outcomes.numbers
    return [
        *(claims.within(f"on one trunk the {head} head loses at most 2 points against a network of its own", "J",
                        ("difference", of(JOINT, head) - of(head, head)), low=-2, unit="points") for head in HEADS),
        claims.compare("transposed convolutions give back the resolution that strides took: masks are better than the "
                       "best of 4×4 blocks", "J", ("head", of(JOINT, MASK)), ("blocks", of(JOINT, "blocks")),
                       claimed="more", unit="% IoU"),
        claims.compare("boxes need non-maximum suppression", "J, I", ("with", of(JOINT, BOXES)),
                       ("without", of(JOINT, "not suppressed")), claimed="more", unit="% mAP at IoU .5"),
    ]  # fmt: skip


def draw(config: Config, outcomes: demonstrations.Outcomes) -> Sequence[demonstrations.Drawing]:
    """Draw what all heads say on six canvases, and the precision of boxes against the overlap asked for."""
    from matplotlib.figure import Figure

    from jaxdl import plots

    images, masks, maps = (outcomes.arrays(JOINT, name)[0] for name in ("images", "masks", "maps"))
    seen, scores = decoded(maps)
    keep = functools.partial(detection.non_max_suppression, limit=6, score_threshold=0.1)
    kept = jax.vmap(keep)(seen.boxes, scores.max(-1))
    figure = Figure(figsize=(9.6, 3.6), layout="constrained")
    for i, (above, below) in enumerate(figure.subplots(2, 6).T):
        for number in np.asarray(kept.index[i])[np.asarray(kept.valid[i])]:
            x0, y0, x1, y1 = np.asarray(seen.boxes[i, number])
            above.plot(np.array([x0, x1, x1, x0, x0]) - 0.5, np.array([y0, y0, y1, y1, y0]) - 0.5, color="#ff7f0e")
            above.text(x0, y0 - 1 if y0 > 4 else y1 + 4, str(scores[i, number].argmax()), color="#ff7f0e", fontsize=10)
        for axes, shown, title in ((above, images, "boxes, classes"), (below, activations.sigmoid(masks), "mask")):
            axes.imshow(shown[i, ..., 0], cmap="gray", vmin=0, vmax=1)
            axes.set(xticks=[], yticks=[], title=title)
    curves = {case: (np.array(OVERLAPS[:-1]), outcomes.arrays(case, "curve").mean(0)[:-1]) for case in (JOINT, BOXES)}
    lines = plots.curves(curves, xlabel="least IoU of a box that counts as found", ylabel="mean average precision (%)")
    return [
        demonstrations.Drawing("canvases", figure, "Canvases of scikit-learn's digits with the boxes and classes that "
                               "one head finds (scores over .1), and the mask of another head on the same trunk."),
        demonstrations.Drawing("precision", lines, "Mean average precision of boxes against the least IoU with the "
                               "true box, means over the seeds; “boxes” is a network of that head alone."),
    ]  # fmt: skip


DEMONSTRATION = demonstrations.Demonstration(Config, load, lambda config: CASES, run, judge, draw, check)
main, write = demonstrations.commands(DEMONSTRATION, __doc__)

if __name__ == "__main__":
    demonstrations.run_main(main)
