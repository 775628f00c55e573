"""Object detection: boxes and their overlap, YOLOv3's outputs, non-maximum suppression, average precision.

    boxes, objectness, logits = detection.decode_boxes(maps, anchors, stride=32)
    kept = detection.non_max_suppression(boxes, scores, limit=20)
    found = detection.match(boxes[kept.index], scores[kept.index] * kept.valid, truth)

Boxes are corners (x₀, y₀, x₁, y₁) with x to the right and y downwards, in pixels, and a box without area stands for
padding; one box is (1, 4), and other shapes raise ValueError. Outputs have static shapes. Functions take one image
unless they say otherwise. [Lecture row J]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int, Num

from jaxdl import activations, losses, numerics

__all__ = [
    "Detections",
    "Kept",
    "Targets",
    "average_precision",
    "box_loss",
    "box_targets",
    "decode_boxes",
    "iou",
    "match",
    "mean_average_precision",
    "non_max_suppression",
    "to_centers",
    "to_corners",
]

Anchors = Num[ArrayLike, "a 2"] | Sequence[tuple[float | int, float | int]]


class Detections(NamedTuple):
    """What YOLOv3 says at each of n = h·w·anchors places, row by row, the anchors of a place together."""

    boxes: Float[Array, "... n 4"]  # corners in pixels
    objectness: Float[Array, "... n"]  # logit of there being an object
    classes: Float[Array, "... n classes"]  # logits


class Kept(NamedTuple):
    """The boxes that non-maximum suppression keeps, in falling order of score."""

    index: Int[Array, " limit"]  # numbers of the boxes; 0 where there are no more
    valid: Bool[Array, " limit"]


class Targets(NamedTuple):
    """What YOLOv3 is to say at each place and anchor."""

    offsets: Float[Array, "h w a 4"]  # σ(t_x), σ(t_y), t_w, t_h; 0 where no object is assigned
    index: Int[Array, "h w a"]  # number of the assigned object, −1 for none


def to_corners(boxes: Num[ArrayLike, "... 4"]) -> Float[Array, "... 4"]:
    """Return (x₀, y₀, x₁, y₁) of boxes given as (x, y, width, height), the first two of the center."""
    x, y, width, height = jnp.moveaxis(_boxes(boxes=boxes), -1, 0)
    return jnp.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], -1)


def to_centers(boxes: Num[ArrayLike, "... 4"]) -> Float[Array, "... 4"]:
    """Return (x, y, width, height) of boxes given as corners, the first two of the center."""
    x0, y0, x1, y1 = jnp.moveaxis(_boxes(boxes=boxes), -1, 0)
    return jnp.stack([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0], -1)


def iou(a: Num[ArrayLike, "... n 4"], b: Num[ArrayLike, "... m 4"]) -> Float[Array, "... n m"]:
    """Intersection over union of each box of ``a`` with each of ``b``; 0 where the union has no area.

    Args:
        a, b: boxes by their corners. Corners in the wrong order make an area of 0.

    Reference: M. Everingham et al., The PASCAL Visual Object Classes Challenge, 2010,
    https://doi.org/10.1007/s11263-009-0275-4.

    Examples:
        Halves of a unit square, and of the square beside it:

        >>> detection.iou(jnp.array([[0.0, 0.0, 2.0, 1.0]]), jnp.array([[0.0, 0.0, 1.0, 1.0], [1.0, 0.0, 3.0, 1.0]]))
        Array([[0.5       , 0.33333334]], dtype=float32)

    [Lecture row J]
    """
    a, b = _boxes(2, a=a)[..., :, None, :], _boxes(2, b=b)[..., None, :, :]
    low, high = jnp.maximum(a[..., :2], b[..., :2]), jnp.minimum(a[..., 2:], b[..., 2:])
    shared = _area(low, high)
    union = _area(a[..., :2], a[..., 2:]) + _area(b[..., :2], b[..., 2:]) - shared
    return jnp.where(union > 0, shared / jnp.where(union > 0, union, 1), 0)


def decode_boxes(maps: Float[ArrayLike, "... h w o"], anchors: Anchors, *, stride: int) -> Detections:
    """Decode an output of YOLOv3: x = s (σ(t_x) + column), y = s (σ(t_y) + row), width = p_w eᵗ, height = p_h eᵗ.

    Args:
        maps: o = a (5 + classes) numbers per place: t_x, t_y, t_w, t_h, objectness and class logits of each anchor.
        anchors: width and height of each anchor in pixels, p_w and p_h.
        stride: s, pixels from one place to the next.

    Raises:
        ValueError: if the last axis of ``maps`` is not a multiple of the number of anchors with at least 5 numbers for
            each, or ``stride`` is below 1.

    Reference: J. Redmon, A. Farhadi, YOLOv3: An Incremental Improvement, 2018, https://arxiv.org/abs/1804.02767.

    Examples:
        All numbers 0: a box of the anchor's size in the middle of the place:

        >>> found = detection.decode_boxes(jnp.zeros((1, 1, 6)), [(10.0, 20.0)], stride=32)
        >>> found.boxes  # 16 ± 5, 16 ± 10
        Array([[11.,  6., 21., 26.]], dtype=float32)

    [Lecture row J]
    """
    maps, sizes = numerics.widen(maps), numerics.widen(jnp.asarray(anchors))
    *lead, height, width, channels = maps.shape
    each, rest = divmod(channels, len(sizes))
    if rest or each < 5:
        raise ValueError(f"maps: got {channels} channels, allowed for {len(sizes)} anchors are {len(sizes)} (5 + k)")
    _check_stride(stride)
    said = maps.reshape(*lead, height, width, len(sizes), each)
    corner = jnp.stack(jnp.meshgrid(jnp.arange(width), jnp.arange(height)), -1)[:, :, None]
    center = stride * (activations.sigmoid(said[..., :2]) + corner.reshape(*(1,) * len(lead), *corner.shape))
    size = sizes.reshape(*(1,) * (len(lead) + 2), *sizes.shape) * jnp.exp(said[..., 2:4])
    flat = lambda x: x.reshape(*lead, height * width * len(sizes), *x.shape[len(lead) + 3 :])
    return Detections(to_corners(flat(jnp.concatenate([center, size], -1))), flat(said[..., 4]), flat(said[..., 5:]))


def box_targets(boxes: Num[ArrayLike, "k 4"], anchors: Anchors, *, stride: int, grid: tuple[int, int]) -> Targets:
    """Assign each object to the place of its center and the anchor of its shape, as YOLOv3 is trained.

    The anchor is that of the largest `iou` with the box when their centers coincide. Of objects with one place and
    anchor, the last is assigned.

    Args:
        boxes: corners of the objects in pixels; those without area, or with a center outside of the grid, are not
            assigned.
        anchors, stride: as in `decode_boxes`.
        grid: height and width of the map.

    Raises:
        ValueError: if ``stride`` or a length of ``grid`` is below 1.

    Reference: section 2.1 of the paper of `decode_boxes`. [Lecture row J]
    """
    _check_stride(stride)
    if min(grid) < 1:
        raise ValueError(f"grid={grid}: allowed are lengths from 1 on")
    centers, sizes = to_centers(boxes), numerics.widen(jnp.asarray(anchors))
    at_origin = lambda size: to_corners(jnp.concatenate([jnp.zeros_like(size), size], -1))
    best = jnp.argmax(iou(at_origin(centers[:, 2:]), at_origin(sizes)), -1)
    places = centers[:, :2] / stride
    column, row = jnp.moveaxis(jnp.floor(places).astype(jnp.int32), -1, 0)
    there = (centers[:, 2:] > 0).all(-1) & (row >= 0) & (column >= 0)
    row = jnp.where(there & (column < grid[1]), row, grid[0])  # outside, so that it is dropped
    scale = jnp.log(jnp.where(centers[:, 2:] > 0, centers[:, 2:], 1) / sizes[best])
    offsets = jnp.concatenate([places - jnp.floor(places), scale], -1)
    index = jnp.full((*grid, len(sizes)), -1, jnp.int32)
    index = index.at[row, column, best].max(jnp.arange(len(centers), dtype=jnp.int32), mode="drop")
    return Targets(jnp.concatenate([offsets, jnp.zeros((1, 4), offsets.dtype)])[index], index)  # −1: the row of zeros


def box_loss(maps: Float[ArrayLike, "h w o"], targets: Targets, classes: Int[ArrayLike, " k"]) -> Float[Array, ""]:
    """Return YOLOv3's loss of an image: Σ over places of BCE(objectness), and of the rest where an object is assigned.

    The rest is the binary cross entropy of σ(t_x) and σ(t_y) with their targets, ½ the squared error of t_w and t_h,
    and the cross entropy of the class. The paper leaves the weights of these parts open; here they are 1, and classes
    exclude one another. It also ignores the objectness of boxes that overlap an object by half without being assigned
    to it, which is not done here.

    Args:
        maps: an output, as in `decode_boxes`.
        targets: from `box_targets`.
        classes: class numbers of the objects.

    Reference: section 2 of the paper of `decode_boxes`. [Lecture row J]
    """
    maps = numerics.widen(maps)
    said, there = maps.reshape(*targets.index.shape, -1), targets.index >= 0
    shift = losses.sigmoid_binary_cross_entropy(said[..., :2], targets.offsets[..., :2]).sum(-1)
    size = losses.half_squared_error(said[..., 2:4], targets.offsets[..., 2:]).sum(-1)
    kind = losses.softmax_cross_entropy(said[..., 5:], jnp.maximum(jnp.asarray(classes)[targets.index], 0))
    objectness = losses.sigmoid_binary_cross_entropy(said[..., 4], there.astype(maps.dtype))
    return objectness.sum() + jnp.where(there, shift + size + kind, 0).sum()


def non_max_suppression(
    boxes: Num[ArrayLike, "n 4"],
    scores: Num[ArrayLike, " n"],
    *,
    limit: int,
    iou_threshold: ArrayLike = 0.5,
    score_threshold: ArrayLike = 0.0,
) -> Kept:
    """Keep the box of the highest score, drop those that overlap it, and repeat with the rest.

    Equal scores are taken in order of the boxes. Map it with `jax.vmap` over images, and over classes where boxes of
    different classes may overlap.

    Args:
        boxes: corners.
        scores: one per box.
        limit: most boxes to keep, the static length of the result.
        iou_threshold: boxes of a larger `iou` with a kept one are dropped.
        score_threshold: only boxes of higher scores are kept.

    Raises:
        ValueError: if there are no boxes, ``limit`` is below 1 or ``iou_threshold`` is not in [0, 1].

    Reference: P. Felzenszwalb et al., Object Detection with Discriminatively Trained Part-Based Models, 2010, section
    7.2, https://doi.org/10.1109/TPAMI.2009.167.

    Examples:
        >>> boxes = jnp.array([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 1.9], [5.0, 5.0, 6.0, 6.0]])
        >>> kept = detection.non_max_suppression(boxes, jnp.array([0.8, 0.9, 0.3]), limit=3)
        >>> kept.index[kept.valid]
        Array([1, 2], dtype=int32)

    [Lecture row J]
    """
    if limit < 1:
        raise ValueError(f"limit={limit}: must be at least 1")
    _check_share("iou_threshold", iou_threshold)
    boxes, scores = _boxes(2, boxes=boxes), numerics.widen(scores)
    if not len(boxes):
        raise ValueError("boxes: got none, allowed is at least one; boxes without area are padding")
    overlapping = iou(boxes, boxes) > iou_threshold

    def keep(open_, _):
        best = jnp.argmax(jnp.where(open_, scores, -jnp.inf))
        valid = open_[best]
        left = open_ & ~overlapping[best] & (jnp.arange(len(scores)) != best)
        return left, Kept(jnp.where(valid, best, 0).astype(jnp.int32), valid)

    return jax.lax.scan(keep, scores > score_threshold, None, length=limit)[1]


def match(
    boxes: Num[ArrayLike, "n 4"],
    scores: Num[ArrayLike, " n"],
    truth: Num[ArrayLike, "k 4"],
    *,
    iou_threshold: ArrayLike = 0.5,
) -> Bool[Array, " n"]:
    """Return which detections of an image are right: in falling order of score, each true box is found once.

    A detection is right if its `iou` with the true box that it overlaps most is at least the threshold and no earlier
    one has found that box, as in PASCAL VOC.

    Args:
        boxes, scores: of the detections, of one class.
        truth: corners of the true boxes of that class; those without area are padding.
        iou_threshold: see above.

    Raises:
        ValueError: if there is no true box, not even padding, or ``iou_threshold`` is not in (0, 1].

    Reference: see `iou`.

    Examples:
        >>> boxes, truth = jnp.array([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 2.0]]), jnp.array([[0.0, 0.0, 2.0, 2.0]])
        >>> detection.match(boxes, jnp.array([0.5, 0.9]), truth)  # a box is found once, by the highest score
        Array([False,  True], dtype=bool)

    [Lecture row J]
    """
    _check_share("iou_threshold", iou_threshold, zero=False)
    boxes, truth, scores = _boxes(2, boxes=boxes), _boxes(2, truth=truth), numerics.widen(scores)
    if not len(truth):
        raise ValueError("truth: got no box, allowed is at least one; boxes without area are padding")
    overlaps = iou(boxes, truth)
    nearest = jnp.argmax(overlaps, -1)
    enough = overlaps.max(-1) >= iou_threshold

    def take(found, i):
        right = enough[i] & ~found[nearest[i]]
        return found.at[nearest[i]].set(found[nearest[i]] | right), right

    order = jnp.argsort(-scores, stable=True)
    _, right = jax.lax.scan(take, jnp.zeros(len(truth), bool), order)
    return jnp.zeros(len(boxes), bool).at[order].set(right)


def average_precision(
    scores: Num[ArrayLike, " n"], right: Bool[ArrayLike, " n"], positives: ArrayLike, valid: ArrayLike | None = None
) -> Float[Array, ""]:
    """Average precision of detections of all images: ∫ max_{r′ ≥ r} precision(r′) dr over recall.

    Precision is that of the detections up to one of them in falling order of score, made monotonic, and its area is
    exact, as in PASCAL VOC from 2010 on. What is never found lowers it. It differs from
    `metrics.average_precision`, which takes examples of which all are listed, by both.

    Args:
        scores: of all detections.
        right: whether each is right, from `match`.
        positives: number of true boxes.
        valid: which detections count, a bool for each; all by default.

    Returns:
        A number from 0 to 1; NaN without true boxes.

    Reference: see `iou`.

    Examples:
        Of two true boxes one is found, by the better of two detections; the recall stops at ½:

        >>> detection.average_precision(jnp.array([0.9, 0.5]), jnp.array([True, False]), 2)
        Array(0.5, dtype=float32)

    [Lecture row J]
    """
    scores, right = numerics.widen(scores), jnp.asarray(right)
    counted = jnp.ones(scores.shape, bool) if valid is None else jnp.asarray(valid)
    order = jnp.argsort(jnp.where(counted, -scores, jnp.inf), stable=True)
    hits, seen = jnp.cumsum((right & counted)[order]), jnp.cumsum(counted[order])
    precision = hits / jnp.maximum(seen, 1)
    highest = jax.lax.cummax(precision[::-1])[::-1] if len(scores) else precision
    gained = jnp.where((right & counted)[order], highest, 0).sum()
    positives = jnp.asarray(positives)
    return jnp.where(positives > 0, gained / jnp.maximum(positives, 1), jnp.nan)


def mean_average_precision(
    boxes: Num[ArrayLike, "i n 4"],
    scores: Num[ArrayLike, "i n c"],
    truth: Num[ArrayLike, "i k 4"],
    classes: Int[ArrayLike, "i k"],
    *,
    limit: int,
    iou_threshold: ArrayLike = 0.5,
    suppress: ArrayLike = 0.5,
    score_threshold: ArrayLike = 0.0,
) -> Float[Array, ""]:
    """Return the mean over classes of the average precision of images' boxes, after suppression class by class.

    Args:
        boxes: corners of each image's boxes.
        scores: of each box for each class.
        truth: corners of the true boxes of each image, those without area being padding.
        classes: of the true boxes; any number where there is padding.
        limit: most boxes to keep per image and class.
        iou_threshold: as in `match`.
        suppress: ``iou_threshold`` of `non_max_suppression`; 1 suppresses nothing.
        score_threshold: as in `non_max_suppression`.

    Returns:
        A number from 0 to 1, the mean over the classes of which there are true boxes.

    Raises:
        ValueError: as in `non_max_suppression` and `match`.

    Reference: see `iou`. [Lecture row J]
    """
    boxes, truth, scores = _boxes(2, boxes=boxes), _boxes(2, truth=truth), numerics.widen(scores)
    options = {"limit": limit, "iou_threshold": suppress, "score_threshold": score_threshold}

    def one(boxes, scores, truth, classes, number):  # of an image and a class
        kept = non_max_suppression(boxes, scores, **options)
        own = jnp.where((classes == number)[:, None], truth, 0)
        score = scores[kept.index]
        right = match(boxes[kept.index], jnp.where(kept.valid, score, -jnp.inf), own, iou_threshold=iou_threshold)
        return score, right, _area(own[:, :2], own[:, 2:]) > 0, kept.valid

    numbers = jnp.arange(scores.shape[-1])
    of_class = lambda number, score: jax.vmap(one, (0, 0, 0, 0, None))(boxes, score, truth, classes, number)
    score, right, true, valid = jax.vmap(of_class, (0, -1))(numbers, scores)
    flat = lambda x: x.reshape(len(numbers), -1)
    return jnp.nanmean(jax.vmap(average_precision)(flat(score), flat(right), flat(true).sum(-1), flat(valid)))


def _boxes(least: int = 1, /, **named: ArrayLike) -> Array:
    numerics.refuse_complex(**named)
    ((name, boxes),) = ((name, numerics.widen(boxes)) for name, boxes in named.items())
    if boxes.ndim < least or boxes.shape[-1] != 4:
        raise ValueError(f"{name}: got the shape {boxes.shape}, allowed is (..., {'n, ' * (least > 1)}4)")
    return boxes


def _area(low: Array, high: Array) -> Array:
    return jnp.prod(jnp.maximum(high - low, 0), -1)


def _check_stride(stride: int) -> None:
    if stride < 1:
        raise ValueError(f"stride={stride}: must be at least 1")


def _check_share(name: str, value: ArrayLike, *, zero: bool = True) -> None:
    if isinstance(value, int | float) and not (0 <= value <= 1 and (zero or value)):
        raise ValueError(f"{name}={value}: allowed are numbers from 0 to 1{'' if zero else ' but 0'}")
