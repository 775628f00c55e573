"""Boxes, decoding, suppression and average precision, held to cases worked by hand and loops over the rules."""

import functools
import math

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from jaxdl import data, models
from jaxdl.applications import detection
from jaxdl.models.yolov3 import ANCHORS, STRIDES
from tests.zoo import quick_jit

iou = quick_jit(detection.iou)
average_precision = quick_jit(detection.average_precision)
match = quick_jit(detection.match, static_argnames="iou_threshold")
decode = quick_jit(detection.decode_boxes, static_argnames="stride")
SQUARES = np.float32([[0, 0, 2, 2], [1, 1, 3, 3], [2, 0, 4, 2], [0, 0, 4, 4], [5, 5, 5, 9]])


def random_boxes(random, n, size=30):
    low = random.uniform(0, size, (n, 2))
    return np.concatenate([low, low + random.uniform(1, size, (n, 2))], -1).astype(np.float32)


def test_overlaps_by_hand():
    expected = [
        [1, 1 / 7, 0, 1 / 4, 0],
        [1 / 7, 1, 1 / 7, 1 / 4, 0],
        [0, 1 / 7, 1, 1 / 4, 0],
        [1 / 4, 1 / 4, 1 / 4, 1, 0],
        [0, 0, 0, 0, 0],  # a line has no area
    ]
    np.testing.assert_allclose(iou(SQUARES, SQUARES), expected, rtol=1e-6)
    slope = quick_jit(jax.grad(lambda a: detection.iou(a, SQUARES).sum()))(jnp.asarray(SQUARES))
    assert bool(jnp.isfinite(slope).all())
    np.testing.assert_array_equal(detection.to_centers(SQUARES[1:3]), [[2, 2, 2, 2], [3, 1, 2, 2]])
    np.testing.assert_array_equal(detection.to_corners(detection.to_centers(SQUARES)), SQUARES)


def test_outputs_are_decoded_as_by_hand():
    """At row 1, column 2 of the coarsest map, zeros are the anchor around (2.5, 1.5)·32."""
    maps = np.zeros((13, 13, 255), np.float32)
    maps[1, 2, 85:90] = [math.log(3), -math.log(3), math.log(2), 0, 7]  # the second anchor's
    found = decode(maps, np.float32(ANCHORS[0]), stride=32)
    place = 3 * (13 + 2)
    assert found.boxes.shape == (507, 4)
    assert found.classes.shape == (507, 80)
    np.testing.assert_allclose(found.boxes[place], [80 - 58, 48 - 45, 80 + 58, 48 + 45], rtol=1e-6)
    center, half = np.array([32 * 2.75, 32 * 1.25]), np.array([156, 99])
    np.testing.assert_allclose(found.boxes[place + 1], [*(center - half), *(center + half)], rtol=1e-5)
    assert found.objectness[place + 1] == 7
    assert found.objectness[place] == 0


def test_the_three_outputs_of_yolov3_are_10_647_boxes():
    shapes = models.yolov3(depths=(1,) * 5).out_shape((416, 416, 3))
    count = 0
    for shape, anchors, stride in zip(shapes, ANCHORS, STRIDES, strict=True):
        boxes = functools.partial(detection.decode_boxes, anchors=anchors, stride=stride)
        found = jax.eval_shape(boxes, jax.ShapeDtypeStruct((2, *shape), jnp.float32))
        assert found.classes.shape == (2, found.boxes.shape[1], 80)
        count += found.boxes.shape[1]
    assert count == 10_647 == 3 * (13**2 + 26**2 + 52**2)
    small = models.yolov3(3, depths=(1, 0, 1), width=1 / 32)  # maps are divided by 8, 4 and 2
    assert small.out_shape((16, 24, 3)) == ((2, 3, 24), (4, 6, 24), (8, 12, 24))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: models.yolov3(depths=(1,) * 5).out_shape((416, 400, 3)), "divisible by 32"),
        (lambda: models.yolov3(depths=(1, 1)), r"depths: got \(1, 1\), allowed are three stages or more"),
        (lambda: detection.decode_boxes(np.ones((1, 1, 14)), np.ones((3, 2)), stride=1), "maps: got 14 channels"),
        (lambda: detection.decode_boxes(np.ones((1, 1, 9)), np.ones((3, 2)), stride=1), "maps: got 9 channels"),
        (lambda: detection.decode_boxes(np.ones((1, 1, 15)), np.ones((3, 2)), stride=0), "stride=0: must be at least"),
        (lambda: detection.box_targets(SQUARES, np.ones((1, 2)), stride=1, grid=(0, 2)), r"grid=\(0, 2\)"),
        (lambda: detection.non_max_suppression(SQUARES, np.ones(5), limit=0), "limit=0: must be at least 1"),
        (lambda: detection.non_max_suppression(SQUARES, np.ones(5), limit=1, iou_threshold=1.1), r"threshold=1\.1"),
        (lambda: detection.non_max_suppression(SQUARES[:0], np.ones(0), limit=1), "boxes: got none"),
        (lambda: detection.match(SQUARES, np.ones(5), SQUARES, iou_threshold=0), "from 0 to 1 but 0"),
        (lambda: detection.match(SQUARES, np.ones(5), SQUARES[:0]), "truth: got no box"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: detection.iou(SQUARES[0], SQUARES), r"a: got the shape \(4,\), allowed is \(..., n, 4\)"),
        (lambda: detection.iou(SQUARES, SQUARES[:, :3]), r"b: got the shape \(5, 3\)"),
        (lambda: detection.non_max_suppression(SQUARES[0], np.ones(5), limit=1), r"boxes: got the shape \(4,\)"),
        (lambda: detection.match(SQUARES, np.ones(5), SQUARES[0]), r"truth: got the shape \(4,\)"),
        (lambda: detection.to_corners(SQUARES[:, :2]), r"boxes: got the shape \(5, 2\), allowed is \(..., 4\)"),
        (lambda: detection.to_centers(np.ones((5, 5))), r"boxes: got the shape \(5, 5\)"),
    ],
)
def test_boxes_of_another_shape_are_named(call, message, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as where the library is used
    with pytest.raises(ValueError, match=message):
        call()


def test_targets_decode_to_the_boxes():
    random = np.random.default_rng(0)
    anchors, grid = np.float32([[4, 6], [12, 10]]), (4, 5)
    size = random.uniform(3, 14, (6, 2))
    center = 8 * (np.array([[0, 0], [1, 2], [4, 3], [2, 2], [3, 1], [9, 9]]) + random.uniform(0.1, 0.9, (6, 2)))
    boxes = np.concatenate([center - size / 2, center + size / 2], -1).astype(np.float32)
    boxes[3, 2:] = boxes[3, :2]  # padding; the last lies outside of the grid
    targets = quick_jit(functools.partial(detection.box_targets, stride=8, grid=grid))(boxes, anchors)
    assert sorted(np.asarray(targets.index[targets.index >= 0])) == [0, 1, 2, 4]
    share = np.clip(targets.offsets[..., :2], 1e-6, 1 - 1e-6)
    maps = np.concatenate([np.log(share / (1 - share)), targets.offsets[..., 2:], np.zeros((*grid, 2, 1))], -1)
    decoded = decode(maps.reshape(*grid, 10), anchors, stride=8).boxes
    index = np.asarray(targets.index).ravel()
    np.testing.assert_allclose(decoded[index >= 0], boxes[index[index >= 0]], rtol=1e-4, atol=1e-3)
    for place in np.argwhere(np.asarray(targets.index) >= 0):
        width, height = size[int(targets.index[tuple(place)])]
        shared = np.minimum(anchors, [width, height]).prod(-1)
        assert place[2] == np.argmax(shared / (anchors.prod(-1) + width * height - shared))


def suppressed(boxes, scores, limit, threshold):
    """The rule as a loop."""
    overlaps, left, kept = np.asarray(iou(boxes, boxes)), list(np.argsort(-scores, kind="stable")), []
    while left and len(kept) < limit:
        kept.append(left.pop(0))
        left = [i for i in left if overlaps[kept[-1], i] <= threshold]
    return kept


def test_suppression_by_hand_and_by_a_loop():
    boxes = np.float32([[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10], [0, 6, 10, 16], [0, 0, 10, 10]])
    scores = np.float32([0.8, 0.9, 0.3, 0.7, 0.05])
    options = {"limit": 5, "iou_threshold": 0.5, "score_threshold": 0.1}
    found = quick_jit(functools.partial(detection.non_max_suppression, **options))(boxes, scores)
    np.testing.assert_array_equal(found.index, [1, 3, 2, 0, 0])  # of the first and the second, 9/11 are shared
    np.testing.assert_array_equal(found.valid, [True, True, True, False, False])
    random = np.random.default_rng(1)
    many, score = np.stack([random_boxes(random, 40) for _ in range(3)]), random.uniform(size=(3, 40))
    score[:, 20:] = score[:, :20]  # ties
    suppress = quick_jit(jax.vmap(lambda b, s: detection.non_max_suppression(b, s, limit=12, iou_threshold=0.3)))
    for i, (index, valid) in enumerate(zip(*suppress(many, np.float32(score)), strict=True)):
        assert list(np.asarray(index)[np.asarray(valid)]) == suppressed(many[i], np.float32(score[i]), 12, 0.3)


def test_average_precision_by_hand():
    """Three true boxes: the best detection is right, the next finds it again, then one more is found at IoU 2/3."""
    truth = np.float32([[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10], [0, 0, 0, 0]])
    boxes = np.float32([[1, 0, 11, 10], [0, 0, 10, 10], [22, 0, 32, 10], [60, 0, 70, 10], [44, 0, 54, 10]])
    scores = np.float32([0.7, 0.9, 0.6, 0.5, 0.4])
    right = match(boxes, scores, truth)
    np.testing.assert_array_equal(right, [False, True, True, False, False])  # the last shares 3/7
    assert average_precision(scores, right, 3) == pytest.approx((1 + 2 / 3) / 3)
    assert average_precision(scores, right, 3, valid=scores != 0.7) == pytest.approx(2 / 3)
    strict = match(boxes, scores, truth, iou_threshold=0.7)
    assert average_precision(scores, strict, 3) == pytest.approx(1 / 3)
    assert average_precision(scores[:0], right[:0], 3) == 0
    assert np.isnan(average_precision(scores, right, 0))


def test_average_precision_is_the_area_below_the_monotonic_curve():
    random = np.random.default_rng(2)
    scores, right = random.permutation(30) / 30, random.uniform(size=30) < 0.6
    hits = np.cumsum(right[np.argsort(-scores)])
    precision, recall = hits / np.arange(1, 31), hits / 25
    levels = [precision[recall >= r].max(initial=0) for r in (np.arange(25) + 1) / 25]
    found = average_precision(scores.astype(np.float32), right, 25)
    np.testing.assert_allclose(found, np.mean(levels), rtol=1e-5)


def test_the_mean_over_classes_suppresses_within_a_class_alone():
    """Class 0 has the case above without its repetition, 2/3; class 1 lies on it and is found; class 2 is nowhere."""
    truth = np.float32([[[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10], [0, 0, 10, 10]]])
    boxes = np.float32([[[1, 0, 11, 10], [0, 0, 10, 10], [22, 0, 32, 10], [60, 0, 70, 10], [44, 0, 54, 10]]])
    scores = np.float32([[0.7, 0.9, 0.6, 0.5, 0.4]])
    both = np.stack([scores, scores * (np.arange(5) == 1), 0 * scores], -1)
    precise = functools.partial(detection.mean_average_precision, limit=5)
    found = quick_jit(precise)(boxes, both, truth, np.array([[0, 0, 0, 1]]), suppress=0.5)
    np.testing.assert_allclose(found, (2 / 3 + 1) / 2, rtol=1e-6)


def test_the_loss_of_boxes_by_hand():
    """Zeros say 1/2 everywhere: ln 2 for each of four places, and for x, y and two classes of the object."""
    box = np.float32([[0, 0, 4, 2]])
    targets = detection.box_targets(box, ((2, 2),), stride=4, grid=(2, 2))
    np.testing.assert_allclose(targets.offsets[0, 0, 0], [0.5, 0.25, math.log(2), 0], atol=1e-6)
    loss = quick_jit(jax.value_and_grad(detection.box_loss))
    value, slope = loss(np.zeros((2, 2, 7), np.float32), targets, np.array([1]))
    np.testing.assert_allclose(value, 7 * math.log(2) + math.log(2) ** 2 / 2, rtol=1e-6)
    np.testing.assert_allclose(slope[0, 0], [0, 0.25, -math.log(2), 0, -0.5, 0.5, -0.5], atol=1e-6)
    np.testing.assert_allclose(slope[1, 1], [0, 0, 0, 0, 0.5, 0, 0], atol=1e-6)


def test_pasted_objects_are_in_their_boxes():
    objects = np.stack([np.full((4, 3), 0.5), np.pad(np.ones((2, 2)), ((0, 2), (1, 0)))])
    found = data.toy.pasted(objects, np.array([4, 7]), 30, seed=3, side=12, factors=(1, 2))
    assert {*np.unique(found.classes)} == {-1, 4, 7}
    for image, corners, classes in zip(*found, strict=True):
        seen = np.zeros((12, 12))
        for (x0, y0, x1, y1), kind in zip(corners.astype(int), classes, strict=True):
            inside = image[y0:y1, x0:x1, 0]
            seen[y0:y1, x0:x1] += 1
            assert (inside.size == 0) == (kind == -1)
            assert inside.size == 0 or inside.max() == (1 if kind == 7 else 0.5)
        assert seen.max() == 1
        assert image[seen == 0].max() <= 0.25
