"""Augmentation against numpy and scipy, and its laws under jit, vmap and loops."""

import colorsys
from functools import partial

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps
from scipy import ndimage

from jaxdl.data import augmentation as aug
from jaxdl.data import coloring, transforms
from jaxdl.data.augmentation import policies

KEY = jax.random.key(3)
IMAGE = np.random.default_rng(0).random((9, 12, 3)).astype(np.float32)
SQUARE = np.random.default_rng(1).random((7, 7, 2)).astype(np.float32)

RANDOM = {
    "rotate": aug.rotate,
    "scale": aug.scale,
    "translate": aug.translate,
    "flip": aug.flip,
    "alternating_flip": partial(aug.alternating_flip, epoch=1),
    "crop": partial(aug.crop, padding=2),
    "crop_reflect": partial(aug.crop, padding=2, mode="reflect"),
    "noise": aug.noise,
    "drop_pixels": aug.drop_pixels,
    "cutout": partial(aug.cutout, size=4),
    "brightness": aug.brightness,
    "contrast": aug.contrast,
    "saturation": aug.saturation,
    "hue": aug.hue,
    "rand_augment": aug.rand_augment,
    "random_resized_crop": aug.random_resized_crop,
    "vertical_flip": aug.vertical_flip,
}


@pytest.mark.parametrize("fill", [0.0, 0.7])
def test_warp_is_scipys_affine_transform(fill):
    matrix = np.array([[0.9, 0.3], [-0.2, 1.1]])
    center = (np.array(IMAGE.shape[:2]) - 1) / 2
    expected = np.stack(
        [
            ndimage.affine_transform(
                IMAGE[..., c], matrix, center - matrix @ center, order=1, mode="grid-constant", cval=fill
            )
            for c in range(3)
        ],
        axis=-1,
    )
    np.testing.assert_allclose(transforms.warped(IMAGE, matrix, fill=fill), expected, atol=2e-5)


def test_rotation_by_right_angles_is_rot90():
    for turns in range(4):
        result = transforms.rotated(SQUARE, 90.0 * turns)
        np.testing.assert_allclose(result, np.rot90(SQUARE, turns), atol=1e-5)


def test_rotation_is_scipys_rotate():
    expected = ndimage.rotate(IMAGE, 25.0, reshape=False, order=1, mode="grid-constant")
    np.testing.assert_allclose(transforms.rotated(IMAGE, 25.0), expected, atol=2e-5)


def test_scaling_by_two_keeps_the_centre_and_spreads_its_neighbours():
    impulse = np.zeros((7, 7, 1), np.float32)
    impulse[3, 3] = 1
    # hat of half-width 2 in each direction: bilinear interpolation of one pixel seen twice as large
    hat = np.array([0, 0, 0.5, 1, 0.5, 0, 0])
    np.testing.assert_allclose(transforms.scaled(impulse, 2.0)[..., 0], np.outer(hat, hat), atol=1e-6)


@pytest.mark.parametrize(("down", "right"), [(0, 0), (2, -3), (-1, 4), (20, 0)])
def test_shift_is_scipys(down, right):
    expected = ndimage.shift(IMAGE, (down, right, 0), order=0, mode="constant", cval=0.25)
    np.testing.assert_array_equal(transforms.shifted(IMAGE, down, right, fill=0.25), expected)


def test_erased_square_is_cut_off_at_the_border():
    for row, column in [(0, 0), (4, 5), (8, 11)]:
        expected = IMAGE.copy()
        top, left = row - 2, column - 2
        expected[max(top, 0) : top + 5, max(left, 0) : left + 5] = 0.5
        np.testing.assert_array_equal(transforms.erased(IMAGE, row, column, size=5, fill=0.5), expected)


@pytest.mark.parametrize("factor", [0.0, 0.5, 1.0, 1.6])
def test_saturation_is_that_of_hsv(factor):
    result = np.asarray(coloring.saturated(IMAGE, factor))
    for pixel, changed in zip(IMAGE.reshape(-1, 3), result.reshape(-1, 3), strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*map(float, pixel))
        expected = colorsys.hsv_to_rgb(hue, min(1.0, factor * saturation), value)
        np.testing.assert_allclose(changed, expected, atol=2e-6)
    np.testing.assert_array_equal(coloring.saturated(np.zeros((2, 2, 3), np.float32), factor), 0)


def test_flip_and_contrast_of_a_worked_image():
    image = np.array([[[0.0], [0.2]], [[0.4], [1.0]]], np.float32)
    np.testing.assert_array_equal(transforms.flipped(image)[..., 0], np.float32([[0.2, 0.0], [1.0, 0.4]]))
    # mean 0.4: distances −0.4, −0.2, 0, 0.6 halved
    np.testing.assert_allclose(coloring.contrasted(image, 0.5)[..., 0], [[0.2, 0.3], [0.4, 0.7]], rtol=1e-6)


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
def test_crop_gives_windows_of_numpys_pad_and_all_of_them(mode):
    image = SQUARE[:3, :4]
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)), mode=mode)
    windows = {padded[y : y + 3, x : x + 4].tobytes() for y in range(3) for x in range(3)}
    keys = jax.random.split(KEY, 200)
    crops = jax.vmap(lambda key: aug.crop(key, jnp.asarray(image), padding=1, mode=mode))(keys)
    assert {np.asarray(crop).tobytes() for crop in crops} == windows


def test_translate_reaches_all_shifts_evenly():
    image = np.zeros((5, 5, 1), np.float32)
    image[2, 2] = 1
    keys = jax.random.split(KEY, 2500)
    total = jax.vmap(lambda key: aug.translate(key, jnp.asarray(image), max_shift=2))(keys).sum(axis=0)
    # 25 cells expect 100 each: χ² with 24 degrees of freedom exceeds 51.2 once in a thousand
    assert ((np.asarray(total) - 100) ** 2 / 100).sum() < 51.2


def test_alternating_flip_shows_both_sides_in_two_epochs():
    keys = jax.random.split(KEY, 50)

    def flipped(epoch):
        views = jax.vmap(lambda key: aug.alternating_flip(key, jnp.asarray(IMAGE), epoch=epoch))(keys)
        return np.asarray(views[:, 0, 0, 0]) == IMAGE[0, -1, 0]

    first = flipped(0)
    assert 0 < first.sum() < 50
    np.testing.assert_array_equal(flipped(1), ~first)
    np.testing.assert_array_equal(flipped(2), first)


def test_amounts_have_the_documented_distributions():
    flat = jnp.full((50, 40, 2), 0.5)
    noisy = np.asarray(aug.noise(KEY, flat, stddev=0.1)) - 0.5
    # five standard errors of a mean of 4000 values, and of their standard deviation
    assert abs(noisy.mean()) < 5 * 0.1 / 4000**0.5
    assert abs(noisy.std() - 0.1) < 5 * 0.1 / 8000**0.5
    dropped = np.asarray(aug.drop_pixels(KEY, flat, rate=0.3, fill=9.0)) == 9
    np.testing.assert_array_equal(dropped[..., 0], dropped[..., 1])
    assert abs(dropped.mean() - 0.3) < 5 * (0.3 * 0.7 / 2000) ** 0.5
    keys = jax.random.split(KEY, 4000)
    added = np.asarray(jax.vmap(lambda key: aug.brightness(key, flat[:1, :1], max_change=0.2))(keys)) - 0.5
    assert -0.2 <= added.min() < -0.19
    assert 0.19 < added.max() <= 0.2 + 1e-6
    flips = np.asarray(jax.vmap(lambda key: aug.flip(key, jnp.asarray(IMAGE), rate=0.25))(keys))
    share = (flips[:, 0, 0, 0] == IMAGE[0, -1, 0]).mean()
    assert abs(share - 0.25) < 5 * (0.25 * 0.75 / 4000) ** 0.5


def test_cutout_changes_a_square_of_the_right_size():
    image = jnp.ones((30, 30, 1))
    for key in jax.random.split(KEY, 5):
        holes = np.argwhere(np.asarray(aug.cutout(key, image, size=6)[..., 0]) == 0)
        height, width = holes.max(axis=0) - holes.min(axis=0) + 1
        assert len(holes) == height * width
        assert 3 <= height <= 6
        assert 3 <= width <= 6


def test_mixup_mixes_images_and_targets_with_one_weight():
    images = np.random.default_rng(2).random((8, 4, 4, 1)).astype(np.float32)
    targets = np.eye(8, dtype=np.float32)
    mixed, soft = map(np.asarray, aug.mixup(KEY, images, targets, alpha=1.0))
    np.testing.assert_allclose(soft.sum(axis=1), 1, rtol=1e-6)
    # the targets are one-hot and distinct, so they show how the images were mixed
    np.testing.assert_allclose(mixed, np.einsum("ij,jhwc->ihwc", soft, images), rtol=1e-5)
    assert len(np.unique(soft.round(5))) == 3
    np.testing.assert_allclose(soft.sum(axis=0), 1, rtol=1e-6)


@pytest.mark.parametrize(
    "name", [n if n != "rand_augment" else pytest.param(n, marks=pytest.mark.slow) for n in RANDOM]
)
def test_jit_vmap_and_loop_agree_and_keep_the_type(name):
    augment = RANDOM[name]
    images = jnp.asarray(np.random.default_rng(4).random((3, 9, 12, 3)), jnp.float32)
    index = jnp.array([5, 0, 2])
    batch = jax.jit(aug.per_example(augment))(KEY, images, index)
    loop = [augment(jax.random.fold_in(KEY, i), x) for i, x in zip(index.tolist(), images, strict=True)]
    np.testing.assert_allclose(batch, np.stack(loop), atol=2e-6)
    assert batch.dtype == jnp.float32
    assert augment(KEY, images[0].astype(jnp.bfloat16)).dtype == jnp.bfloat16
    assert not np.array_equal(batch[0], augment(KEY, images[0])) or name.endswith("flip")
    assert np.isfinite(jax.grad(lambda x: (augment(KEY, x) ** 2).sum())(images[0])).all()


def test_results_follow_the_index_and_not_the_place_in_the_batch():
    images = jnp.asarray(np.random.default_rng(4).random((4, 6, 6, 1)), jnp.float32)
    augment = aug.per_example(partial(aug.noise, stddev=1.0))
    order = np.array([2, 0, 3, 1])
    whole = augment(KEY, images, jnp.arange(4))
    np.testing.assert_array_equal(augment(KEY, images[order], jnp.asarray(order)), whole[order])


def test_compose_applies_from_left_to_right_with_different_keys():
    steps = aug.compose(partial(aug.noise, stddev=1.0), partial(aug.noise, stddev=1.0))
    change = np.asarray(steps(KEY, jnp.zeros((40, 40, 1))))
    # two independent draws of variance 1 have variance 2; the same draw twice would have 4
    assert 1.7 < change.var() < 2.3
    mirrored = aug.compose(partial(aug.flip, rate=1.0), partial(aug.drop_pixels, rate=1.0, fill=0.5))
    np.testing.assert_array_equal(mirrored(KEY, jnp.asarray(IMAGE)), np.full_like(IMAGE, 0.5))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: aug.rotate(KEY, IMAGE, max_degrees=-1.0), "max_degrees is -1.0; it must be at least 0"),
        (lambda: aug.scale(KEY, IMAGE, max_change=1.0), "max_change is 1.0; .* below 1"),
        (lambda: aug.flip(KEY, IMAGE, rate=1.5), "rate is 1.5; .* at most 1"),
        (lambda: aug.noise(KEY, IMAGE, stddev=float("nan")), "stddev is nan"),
        (lambda: aug.crop(KEY, IMAGE, mode="wrap"), "mode is 'wrap'; expected 'constant'"),
        (lambda: aug.crop(KEY, IMAGE, padding=9, mode="reflect"), "padding is 9; .* below 9"),
        (lambda: aug.cutout(KEY, IMAGE, size=-1), "size is -1"),
        (lambda: aug.vertical_flip(KEY, IMAGE, rate=-0.1), "rate is -0.1"),
        (lambda: aug.hue(KEY, IMAGE, max_change=0.6), "max_change is 0.6; .* at most 0.5"),
        (lambda: aug.hue(KEY, IMAGE[..., :1]), "a hue needs three channels"),
        (lambda: aug.random_resized_crop(KEY, IMAGE, area=(0.5, 1.5)), r"area is \(0.5, 1.5\); .* at most 1"),
        (lambda: aug.random_resized_crop(KEY, IMAGE, ratio=(2.0, 0.5)), r"ratio is \(2.0, 0.5\)"),
        (lambda: aug.rand_augment(KEY, IMAGE, magnitude=9), "magnitude is 9; .* at most 1"),
        (lambda: aug.rand_augment(KEY, IMAGE, num_ops=-1), "num_ops is -1"),
        (lambda: aug.rand_augment(KEY, IMAGE, num_ops=1.5), "num_ops is 1.5; it must be a whole number"),
        (lambda: aug.cutmix(KEY, IMAGE, np.eye(9, dtype=np.float32)), r"images has shape \(9, 12, 3\)"),
        (lambda: aug.cutmix(KEY, IMAGE[None], np.ones((1, 2), np.float32), alpha=-1.0), "alpha is -1.0"),
        (lambda: aug.mixup(KEY, IMAGE[None], np.ones((1, 2), np.float32), alpha=0.0), "alpha is 0.0"),
        (lambda: aug.mixup(KEY, IMAGE[None], np.ones((2, 2), np.float32)), r"targets has shape \(2, 2\)"),
        (lambda: aug.flip(KEY, IMAGE, rate=np.float32(1.5)), "rate is 1.5"),
        (lambda: aug.flip(KEY, IMAGE[0]), r"image has shape \(12, 3\)"),
        (lambda: aug.noise(KEY, np.zeros((2, 2, 1), np.uint8)), "type uint8; expected floats"),
    ],
)
def test_mistakes_are_named(monkeypatch, call, message):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=message):
        call()


# ---------------------------------------------------------------- crops, patches, hues

BYTES = np.random.default_rng(5).integers(30, 220, (24, 31, 3)).astype(np.uint8)
BYTES[2:9, 4:20] = 90  # an area of one colour


@pytest.mark.parametrize("window", [(0, 0, 24, 31), (3, 5, 11, 9), (23, 30, 1, 1), (0, 4, 24, 2)])
def test_a_resized_crop_is_pillow_s(window):
    top, left, height, width = window
    image = BYTES.astype(np.float32) / 255
    box = (left, top, left + width, top + height)
    planes = [Image.fromarray(image[..., c]).crop(box).resize((31, 24), Image.Resampling.BILINEAR) for c in range(3)]
    expected = np.stack([np.asarray(plane) for plane in planes], -1)
    np.testing.assert_allclose(transforms.resized_crop(image, *window), expected, atol=1e-5)


def test_random_windows_have_the_areas_and_ratios_that_are_asked_for():
    rows, columns = np.mgrid[:40, :60].astype(np.float32)
    image = jnp.stack([rows, columns], -1)  # each pixel holds its own position
    crops = jax.jit(jax.vmap(lambda key: aug.random_resized_crop(key, image, area=(0.2, 0.5), ratio=(0.5, 2.0))))
    windows = np.asarray(crops(jax.random.split(KEY, 300)))
    low, high = windows.min((1, 2)), windows.max((1, 2))
    assert low.min() >= 0
    assert (high <= [39, 59]).all()
    height, width = (high - low + 1).T
    share, ratio = height * width / 2400, width / height
    assert 0.18 < share.min() < 0.23
    assert 0.47 < share.max() < 0.52
    assert 0.48 < ratio.min() < 0.65
    assert 1.5 < ratio.max() < 2.1
    assert low[:, 0].min() == low[:, 1].min() == 0
    wide = jnp.broadcast_to(image[:3], (3, 60, 2))  # no window with a ratio from 3/4 to 4/3 has a tenth of this area
    only = np.asarray(aug.random_resized_crop(KEY, wide, area=(1.0, 1.0)))
    assert only[..., 1].max() - only[..., 1].min() == pytest.approx(3, abs=0.1)  # 4 of 60 columns
    np.testing.assert_allclose(aug.random_resized_crop(KEY, IMAGE, area=(1, 1), ratio=(4 / 3, 4 / 3)), IMAGE, atol=1e-6)


def test_a_vertical_flip_is_numpy_s():
    np.testing.assert_array_equal(aug.vertical_flip(KEY, IMAGE, rate=1.0), IMAGE[::-1])
    np.testing.assert_array_equal(aug.vertical_flip(KEY, IMAGE, rate=0.0), IMAGE)


@pytest.mark.parametrize("turns", [0.0, 0.1, -0.25, 1 / 3, 0.5, 1.0])
def test_a_turn_of_the_hue_is_colorsys_s(turns):
    image = np.concatenate(
        [IMAGE, np.full((1, 12, 3), 0.4, np.float32), np.eye(3, dtype=np.float32)[None].repeat(4, 1)]
    )
    got = np.asarray(coloring.hue_turned(image, turns))
    for index in np.ndindex(image.shape[:2]):
        h, s, v = colorsys.rgb_to_hsv(*image[index].tolist())
        np.testing.assert_allclose(got[index], colorsys.hsv_to_rgb((h + turns) % 1, s, v), atol=1e-5)


def test_cutmix_pastes_a_rectangle_and_mixes_by_its_area():
    images = np.broadcast_to(np.arange(1, 9, dtype=np.float32)[:, None, None, None], (8, 10, 14, 2))
    targets, seen = np.eye(8, dtype=np.float32), set()
    for key in jax.random.split(KEY, 6):
        mixed, soft = map(np.asarray, jax.jit(aug.cutmix)(key, images, targets))
        np.testing.assert_allclose(soft.sum(1), 1, rtol=1e-6)
        for i in range(8):
            foreign = mixed[i, ..., 0] != i + 1
            other = int(np.argmax(soft[i] * (np.arange(8) != i)))
            assert (mixed[i, foreign] == other + 1).all() or not foreign.any()
            if foreign.any():
                rows, columns = np.flatnonzero(foreign.any(1)), np.flatnonzero(foreign.any(0))
                assert foreign[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
                assert soft[i, other] == pytest.approx(foreign.mean(), abs=1e-6)
                seen.add(foreign.sum())
            elif soft[i, i] < 1:
                assert soft[i, i] == pytest.approx(1, abs=1e-6)
    assert len(seen) >= 4


# ---------------------------------------------------------------- RandAugment

PILLOW = {
    "identity": lambda image, m, sign: image,
    "autocontrast": lambda image, m, sign: ImageOps.autocontrast(image),
    "equalize": lambda image, m, sign: ImageOps.equalize(image),
    "solarize": lambda image, m, sign: ImageOps.solarize(image, round(255 * (1 - m))),
    "posterize": lambda image, m, sign: ImageOps.posterize(image, 8 - round(4 * m)),
    "color": lambda image, m, sign: ImageEnhance.Color(image).enhance(1 + sign * 0.9 * m),
    "contrast": lambda image, m, sign: ImageEnhance.Contrast(image).enhance(1 + sign * 0.9 * m),
    "brightness": lambda image, m, sign: ImageEnhance.Brightness(image).enhance(1 + sign * 0.9 * m),
    "sharpness": lambda image, m, sign: ImageEnhance.Sharpness(image).enhance(1 + sign * 0.9 * m),
}
OF_PLACE = {"rotate", "shear_x", "shear_y", "translate_x", "translate_y"}


@pytest.mark.parametrize("name", PILLOW)
def test_operations_on_colours_are_pillow_s(name):
    """Pillow rounds the other image to bytes and truncates the result."""
    assert {*PILLOW, *OF_PLACE} == set(policies.OPERATIONS)
    image = BYTES.astype(np.float32) / 255
    for m, sign in ((0.0, 1.0), (0.4, -1.0), (0.4, 1.0), (1.0, -1.0)):
        got = policies.OPERATIONS[name](jnp.asarray(image), jnp.float32(m), jnp.float32(sign), 0.5)
        expected = np.asarray(PILLOW[name](Image.fromarray(BYTES), m, sign), np.float32)
        np.testing.assert_allclose(255 * np.clip(got, 0, 1), expected, atol=1.5, err_msg=f"{m} {sign}")


def test_operations_of_place_are_scipy_s():
    image = BYTES.astype(np.float32) / 255
    run = lambda name, m, sign: policies.OPERATIONS[name](jnp.asarray(image), jnp.float32(m), jnp.float32(sign), 0.5)
    for name, matrix in (("shear_x", [[1, 0], [-0.15, 1]]), ("shear_y", [[1, -0.15], [0, 1]])):
        centre = (np.array(image.shape[:2]) - 1) / 2
        offset = centre - np.array(matrix) @ centre
        expected = [
            ndimage.affine_transform(image[..., c], matrix, offset, order=1, mode="grid-constant", cval=0.5)
            for c in range(3)
        ]
        np.testing.assert_allclose(run(name, 0.5, 1.0), np.stack(expected, -1), atol=2e-5)
    np.testing.assert_allclose(run("rotate", 0.5, -1.0), transforms.rotated(image, -15.0, fill=0.5), atol=1e-6)
    right = round(31 * 150 / 331)
    np.testing.assert_array_equal(run("translate_x", 1.0, 1.0)[:, right:], image[:, :-right])
    assert (np.asarray(run("translate_x", 1.0, 1.0)[:, :right]) == 0.5).all()
    np.testing.assert_array_equal(run("translate_y", 0.5, -1.0)[:-5], image[5:])


@pytest.mark.slow
def test_rand_augment_draws_all_operations_and_none_at_all():
    image = BYTES.astype(np.float32) / 255
    one = jax.jit(jax.vmap(lambda key: aug.rand_augment(key, image, num_ops=1, magnitude=0.5)))
    results = np.asarray(one(jax.random.split(KEY, 200)))
    expected = [
        np.clip(operation(jnp.asarray(image), jnp.float32(0.5), jnp.float32(sign), 0.5), 0, 1)
        for operation in policies.OPERATIONS.values()
        for sign in (-1.0, 1.0)
    ]
    nearest = np.abs(results[:, None] - np.stack(expected)[None]).mean((2, 3, 4))
    assert nearest.min(1).max() < 2e-3
    counts = np.bincount(nearest.argmin(1) // 2, minlength=14)
    assert counts.min() >= 4
    np.testing.assert_array_equal(aug.rand_augment(KEY, image, num_ops=0), image)
