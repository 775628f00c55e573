"""Splits and batches: membership, order, and no example lost or repeated."""

import jax
import numpy as np
import pytest

from jaxdl import data


def numbered(count, *, classes=3, test=0):
    """Return a data set in which every image holds its own number."""
    images = np.arange(count + test, dtype=np.float32).reshape(-1, 1, 1, 1) / (count + test)
    labels = np.arange(count + test) % classes
    own = {"test_images": images[count:], "test_labels": labels[count:]} if test else {}
    return data.from_arrays(images[:count], labels[:count], **own)


def numbers(examples):
    return examples.images.ravel().tolist()


def test_parts_are_stratified_disjoint_and_complete():
    labels = np.repeat([0, 1, 2], [500, 300, 200])
    images = np.arange(1000, dtype=np.float32).reshape(-1, 1, 1, 1) / 1000
    parts = data.split(data.from_arrays(images, labels), seed=1, dev_fraction=0.1, test_fraction=0.2)
    np.testing.assert_array_equal(np.bincount(parts.test.labels), [100, 60, 40])
    np.testing.assert_array_equal(np.bincount(parts.dev.labels), [40, 24, 16])
    np.testing.assert_array_equal(np.bincount(parts.train.labels), [360, 216, 144])
    seen = [x for part in parts for x in numbers(part)]
    assert sorted(seen) == images.ravel().tolist()
    for part in parts:
        np.testing.assert_array_equal(labels[np.rint(part.images.ravel() * 1000).astype(int)], part.labels)
        assert numbers(part) == sorted(numbers(part))


def test_remainders_go_to_the_classes_that_are_owed_most():
    labels = np.repeat([0, 1, 2, 3], [7, 7, 5, 1])
    dataset = data.from_arrays(np.zeros((20, 1, 1)), labels)
    # a quarter of 7, 7, 5, 1 is 1.75, 1.75, 1.25, 0.25: five, as 1 + 1 + 1 + 0 plus the two largest remainders
    with pytest.warns(RuntimeWarning, match=r"dev has no example of 1 class \('3'\); test has no example of 1 class"):
        parts = data.split(dataset, seed=0, dev_fraction=0.5, test_fraction=0.25)
    np.testing.assert_array_equal(np.bincount(parts.test.labels, minlength=4), [2, 2, 1, 0])


def test_the_split_is_a_function_of_the_seed():
    dataset = numbered(60)
    first, again, other = (data.split(dataset, seed=s, dev_fraction=0.2) for s in (4, 4, 5))
    assert numbers(first.dev) == numbers(again.dev)
    assert numbers(first.dev) != numbers(other.dev)
    assert numbers(first.test) != numbers(other.test)
    # pinned: a change of numpy or of this module that moves examples must fail
    chosen = np.rint(first.test.images.ravel() * 60).astype(int)
    assert chosen.tolist() == [8, 10, 18, 27, 37, 40, 43, 44, 47, 48, 54, 59]


def test_the_own_test_set_is_used_and_never_mixed_in():
    dataset = numbered(40, test=9)
    parts = data.split(dataset, seed=0, dev_fraction=0.25)
    assert parts.test.images is dataset.test_images
    assert sorted(numbers(parts.train) + numbers(parts.dev)) == dataset.images.ravel().tolist()


@pytest.mark.parametrize(
    ("dataset", "options", "message"),
    [
        (numbered(30), {"dev_fraction": -0.1}, "dev_fraction is -0.1; it must be at least 0 and below 1"),
        (numbered(30), {"dev_fraction": False}, "dev_fraction is False; it must be at least 0 and below 1"),
        (
            numbered(30),
            {"dev_fraction": 0.1, "test_fraction": 0.0},
            "test_fraction is 0.0; it must be above 0 and below 1",
        ),
        (numbered(30), {"dev_fraction": 0.1, "test_fraction": 1.0}, "test_fraction is 1.0"),
        (numbered(30), {"dev_fraction": float("nan")}, "dev_fraction is nan"),
        (numbered(5), {"dev_fraction": 0.05}, "leaves the dev part empty"),
        (numbered(2), {"dev_fraction": 0.5, "test_fraction": 0.9}, "would be left with none"),
        (numbered(30, test=3), {"dev_fraction": 0.1, "test_fraction": 0.1}, "has its own test set; leave it None"),
        (numbered(30), {"dev_fraction": 0.1, "seed": -1}, "seed is -1"),
    ],
)
def test_mistakes_of_a_split_are_named(dataset, options, message):
    with pytest.raises(ValueError, match=message):
        data.split(dataset, **({"seed": 0} | options))


EXAMPLES = data.Examples(np.arange(23, dtype=np.uint8).reshape(-1, 1, 1, 1), np.arange(23, dtype=np.int32) % 5)


def rows(batches):
    return [batch.image.ravel().tolist() for batch in batches]


def test_an_epoch_shows_every_example_at_most_once_in_full_batches():
    epoch = list(data.batches(EXAMPLES, 5, seed=0, epoch=0))
    assert [batch.image.shape for batch in epoch] == [(5, 1, 1, 1)] * 4
    assert len({x for row in rows(epoch) for x in row}) == 20
    for step, batch in enumerate(epoch):
        np.testing.assert_array_equal(batch.label, batch.image.ravel() % 5)
        np.testing.assert_array_equal(batch.index, np.arange(5 * step, 5 * step + 5))
        np.testing.assert_array_equal(batch.weight, np.ones(5))
        assert [value.dtype for value in batch] == [np.uint8, np.int32, np.float32, np.int32]


def test_the_order_is_a_function_of_seed_and_epoch():
    orders = {(s, e): rows(data.batches(EXAMPLES, 5, seed=s, epoch=e)) for s in (0, 1) for e in (0, 1)}
    assert len({str(order) for order in orders.values()}) == 4
    assert rows(data.batches(EXAMPLES, 5, seed=1, epoch=1)) == orders[1, 1]
    # pinned: a resumed run must meet the same order after any upgrade
    assert orders[0, 0][0] == [18, 4, 3, 7, 12]
    assert rows(data.batches(EXAMPLES, 5, seed=0, epoch=0, shuffle=False))[0] == [0, 1, 2, 3, 4]


def test_orders_are_shuffled_evenly():
    # first place of 23 over 2300 epochs: χ² with 22 degrees of freedom is above 48.3 once in a thousand
    first = [next(data.batches(EXAMPLES, 23, seed=3, epoch=e)).image[0, 0, 0, 0] for e in range(2300)]
    counts = np.bincount(first, minlength=23)
    assert ((counts - 100) ** 2 / 100).sum() < 48.3


ROWS = data.Rows(np.int32([4, 2]), np.float32([1, 1]), np.int32([6, 7]))


def test_rows_are_the_batches_by_number():
    found = list(data.batch_rows(23, 5, seed=1, epoch=2, start=1))
    expected = list(data.batches(EXAMPLES, 5, seed=1, epoch=2, start=1))
    assert len(found) == len(expected) == 3
    for rows, batch in zip(found, expected, strict=True):
        assert rows.row.dtype == rows.index.dtype == np.int32
        for field in (data.take(EXAMPLES, rows), jax.jit(data.take)(EXAMPLES, rows)):
            jax.tree.map(np.testing.assert_array_equal, field, batch)


def test_rows_side_by_side():
    second = data.Rows(np.int32([9, 8]), np.float32([1, 0]), np.int32([8, 9]))
    found = data.stack_rows([ROWS, second], 3)
    assert found.row.tolist() == [[4, 9, -1], [2, 8, -1]]
    assert found.weight.tolist() == [[1, 1, 0], [1, 0, 0]]
    assert found.index.tolist() == [[6, 8, 0], [7, 9, 0]]
    assert [field.dtype.name for field in found] == ["int32", "float32", "int32"]


def test_start_skips_batches_without_changing_the_rest():
    whole = rows(data.batches(EXAMPLES, 5, seed=0, epoch=2))
    rest = list(data.batches(EXAMPLES, 5, seed=0, epoch=2, start=3))
    assert rows(rest) == whole[3:]
    np.testing.assert_array_equal(rest[0].index, np.arange(15, 20))
    assert rows(data.batches(EXAMPLES, 5, seed=0, epoch=2, start=4)) == []


def test_evaluation_sees_every_example_once_and_pads_with_weight_zero():
    epoch = list(data.eval_batches(EXAMPLES, 10))
    assert [len(batch.label) for batch in epoch] == [10, 10, 10]
    weight = np.concatenate([batch.weight for batch in epoch])
    image = np.concatenate([batch.image.ravel() for batch in epoch])
    np.testing.assert_array_equal(weight, [1] * 23 + [0] * 7)
    np.testing.assert_array_equal(image, [*range(23), *[22] * 7])
    assert epoch[0].weight.dtype == np.float32
    assert len(list(data.eval_batches(EXAMPLES, 100))) == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: data.batches(EXAMPLES, 24, seed=0, epoch=0), r"batch_size is 24; with 23 examples .* \[1, 23\]"),
        (lambda: data.batches(EXAMPLES, 0, seed=0, epoch=0), "batch_size is 0"),
        (lambda: data.batches(EXAMPLES, 5, seed=0, epoch=0, start=5), r"start is 5; .* \[0, 4\]"),
        (lambda: data.batches(EXAMPLES, 5, seed=-1, epoch=0), "seed is -1"),
        (lambda: data.eval_batches(EXAMPLES, 0), "batch_size is 0; it must be an integer of at least 1"),
        (lambda: data.batch_rows(23, 24, seed=0, epoch=0), r"batch_size is 24; with 23 examples .* \[1, 23\]"),
        (lambda: data.batch_rows(23, 5, seed=0, epoch=-1), "epoch is -1"),
        (lambda: data.stack_rows([], 2), "there are 0 batches; with columns=2 there may be 1 to 2"),
        (lambda: data.stack_rows([ROWS] * 3, 2), "there are 3 batches"),
    ],
)
def test_mistakes_of_batches_are_named_at_once(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_labels_that_do_not_count_classes_are_told_how_to():
    images = np.random.default_rng(0).random((90, 4, 4, 1)).astype(np.float32)
    labels = np.arange(90) % 3 * 1000
    with pytest.warns(
        RuntimeWarning, match=r"of 2001 classes: train has no example of 1998 .*return_inverse=True\)\[1\]"
    ):
        data.split(data.from_arrays(images, labels), seed=0, dev_fraction=0.1)
    renumbered = data.from_arrays(images, np.unique(labels, return_inverse=True)[1])
    assert len(renumbered.classes) == 3
    data.split(renumbered, seed=0, dev_fraction=0.1)  # without a warning


def test_without_a_development_part_all_other_examples_train():
    parts = data.split(numbered(30), seed=0, dev_fraction=0)
    assert [len(part.labels) for part in parts] == [24, 0, 6]
    assert parts.dev.images.shape == (0, *parts.train.images.shape[1:])
    with_dev = data.split(numbered(30), seed=0, dev_fraction=0.2)
    np.testing.assert_array_equal(parts.test.images, with_dev.test.images)
