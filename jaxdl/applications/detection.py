"""Object detection: boxes and their overlap, YOLOv3's outputs, non-maximum suppression, average precision.

    boxes, objectness, logits = detection.decode_boxes(maps, anchors, stride=32)
    kept = detection.non_max_suppression(boxes, scores, limit=20)
    found = detection.match(boxes[kept.index], scores[kept.index] * kept.valid, truth)

Boxes are corners (x₀, y₀, x₁, y₁) with x to the right and y downwards, in pixels, and a box without area stands for
padding. All functions have outputs of static shapes, and so run under jit and vmap. They take one image unless they say
otherwise. [Lecture row J]
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int, Num

from jaxdl import activations, numerics

__all__ = [
    "Detections",
    "Kept",
    "Targets",
    "average_precision",
    "box_targets",
    "decode_boxes",
    "iou",
    "match",
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
    x, y, width, height = jnp.moveaxis(_boxes(boxes), -1, 0)
    return jnp.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], -1)


def to_centers(boxes: Num[ArrayLike, "... 4"]) -> Float[Array, "... 4"]:
    """Return (x, y, width, height) of boxes given as corners, the first two of the center."""
    x0, y0, x1, y1 = jnp.moveaxis(_boxes(boxes), -1, 0)
    return jnp.stack([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0], -1)


def iou(a: Num[ArrayLike, "... n 4"], b: Num[ArrayLike, "... m 4"]) -> Float[Array, "... n m"]:
    """Intersection over union of each box of ``a`` with each of ``b``; 0 where the union has no area.

    Args:
        a, b: boxes by their corners. Corners in the wrong order make an area of 0.

    Reference: M. Everingham et al., The PASCAL Visual Object Classes Challenge, 2010,
    https://doi.org/10.1007/s11263-009-0275-4. [Lecture row J]
    """
    a, b = _boxes(a)[..., :, None, :], _boxes(b)[..., None, :, :]
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


def non_max_suppression(
    boxes: Num[ArrayLike, "n 4"],
    scores: Num[ArrayLike, " n"],
    *,
    limit: int,
    iou_threshold: float | int = 0.5,
    score_threshold: float | int = 0.0,
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
    7.2, https://doi.org/10.1109/TPAMI.2009.167. [Lecture row J]
    """
    if limit < 1:
        raise ValueError(f"limit={limit}: must be at least 1")
    _check_share("iou_threshold", iou_threshold)
    boxes, scores = _boxes(boxes), numerics.widen(scores)
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
    iou_threshold: float | int = 0.5,
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

    Reference: see `iou`. [Lecture row J]
    """
    _check_share("iou_threshold", iou_threshold, zero=False)
    boxes, truth, scores = _boxes(boxes), _boxes(truth), numerics.widen(scores)
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

    Reference: see `iou`. [Lecture row J]
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


def _boxes(boxes: ArrayLike) -> Array:
    numerics.refuse_complex(boxes=boxes)
    return numerics.widen(boxes)


def _area(low: Array, high: Array) -> Array:
    return jnp.prod(jnp.maximum(high - low, 0), -1)


def _check_stride(stride: int) -> None:
    if stride < 1:
        raise ValueError(f"stride={stride}: must be at least 1")


def _check_share(name: str, value: float | int, *, zero: bool = True) -> None:
    if not (0 <= value <= 1 and (zero or value)) or math.isnan(value):
        raise ValueError(f"{name}={value}: allowed are numbers from 0 to 1{'' if zero else ' but 0'}")
