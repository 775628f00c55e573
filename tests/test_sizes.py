"""Sizes against the lectures' numbers, jax's own shapes and published counts."""

import itertools

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl import layers, sizes

LENGTHS = {
    "length": st.integers(1, 40),
    "window": st.integers(1, 7),
    "stride": st.integers(1, 4),
    "dilation": st.integers(1, 3),
    "padding": st.sampled_from(["SAME", "VALID", "FULL", 0, 1, 3, (2, 0)]),
}


@settings(max_examples=100, deadline=None, derandomize=True)
@given(**LENGTHS)
def test_output_length_counts_the_places_of_the_window(length, window, stride, dilation, padding):
    """Count the starts, `stride` apart, from which the dilated window ends inside."""
    low, high = sizes.padding_amounts(length, window, stride=stride, padding=padding, dilation=dilation)
    end = length + low + high
    starts = [start for start in range(0, end, stride) if start + (window - 1) * dilation < end]
    if not starts:
        with pytest.raises(ValueError, match=f"window: got {window}"):
            sizes.output_length(length, window, stride=stride, padding=padding, dilation=dilation)
        return
    assert sizes.output_length(length, window, stride=stride, padding=padding, dilation=dilation) == len(starts)
    if padding == "SAME":
        assert len(starts) == -(-length // stride)
        assert high - low in (0, 1)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(**LENGTHS)
def test_transposed_length_is_conv_transposes(length, window, stride, dilation, padding):
    options = {"stride": stride, "padding": padding, "dilation": dilation}
    axis = {**options, "padding": (padding, padding)}
    x, kernel = jnp.zeros((length, length, 1)), jnp.zeros((window, window, 1, 1))
    try:
        expected = sizes.transposed_length(length, window, **options)
    except ValueError:
        with pytest.raises(ValueError, match="padding: got"):
            layers.conv_transpose2d(x, kernel, **axis)
        return
    y = jax.eval_shape(lambda x, k: layers.conv_transpose2d(x, k, **axis), x, kernel)
    assert y.shape == (expected, expected, 1)
    if padding == "SAME":
        assert expected == stride * length


def test_the_lectures_sizes():
    """The lecture's output sizes [Lecture row H3]."""
    assert sizes.output_length(32, 5) == 28
    assert sizes.conv_parameters((5, 5), 3, 6) == 5 * 5 * 3 * 6 + 6
    assert sizes.output_length(7, 3, stride=2, padding=1) == 4
    assert sizes.output_length(227, 11, stride=4) == 55


def test_the_lectures_dense_layers():
    """The lecture's dense layers [Lecture row H6]."""
    assert sizes.dense_parameters(200 * 200 * 3, 1000, bias=False) == 120_000_000
    assert sizes.dense_parameters(256 * 256, 1000, bias=False) == 65_536_000
    widths = (256 * 256, 15_000, 15_000)
    two = sum(sizes.dense_parameters(a, b, bias=False) for a, b in itertools.pairwise(widths))
    assert two == 1_208_040_000
    assert sizes.dense_parameters(10, 3) == 33


def test_receptive_fields():
    """Two layers of 3 see 5, VGG-16 up to its last pool sees 212, AlexNet 195 [Lecture row H1]."""
    assert sizes.receptive_field([]) == 1
    assert sizes.receptive_field([(3,), (3,)]) == 5
    assert sizes.receptive_field([(3, 1, 2), (3, 1, 4)]) == 13
    vgg16 = [layer for convs in (2, 2, 3, 3, 3) for layer in [(3,)] * convs + [(2, 2)]]
    assert sizes.receptive_field(vgg16) == 212
    alexnet = [(11, 4), (3, 2), (5,), (3, 2), (3,), (3,), (3,), sizes.Window(3, 2)]
    assert sizes.receptive_field(alexnet) == 195


def test_multiply_adds_and_parameters_of_alexnet():
    """One-tower AlexNet on 224×224: 61,100,840 parameters and .714 billion multiply-adds, as published."""
    convs = [(55, 11, 3, 64), (27, 5, 64, 192), (13, 3, 192, 384), (13, 3, 384, 256), (13, 3, 256, 256)]
    dense = [(9216, 4096), (4096, 4096), (4096, 1000)]
    parameters = sum(sizes.conv_parameters((k, k), i, o) for _, k, i, o in convs)
    assert parameters + sum(sizes.dense_parameters(*d) for d in dense) == 61_100_840
    operations = sum(sizes.conv_multiply_adds((n, n), (k, k), i, o) for n, k, i, o in convs)
    assert round((operations + sum(sizes.dense_multiply_adds(*d) for d in dense)) / 1e9, 3) == 0.714


def test_groups_divide_the_work():
    assert sizes.conv_parameters((3, 3), 32, 64, groups=32, bias=False) == 3 * 3 * 64
    assert sizes.conv_multiply_adds((10, 10), (3, 3), 32, 64, groups=2) == 100 * 3 * 3 * 16 * 64


def test_integers_of_numpy_are_integers(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    assert sizes.output_length(9, np.int64(3), stride=np.int32(2)) == 4
    found = sizes.per_axis("padding", [np.int64(1), (np.uint8(2), 0), "SAME"], 3)
    assert found == (1, (2, 0), "SAME")
    assert [type(one) for one in (found[0], found[1][0])] == [int, int]  # these hash alike and are static under jit


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sizes.output_length(4, 5), "window: got 5 .*at most the padded input length 4"),
        (lambda: sizes.output_length(4, 0), "window: got 0, allowed are ints ≥ 1"),
        (lambda: sizes.output_length(4, 1, stride=0), "stride: got 0"),
        (lambda: sizes.output_length(4, 1, padding=(1, -1)), r"padding: got \(1, -1\)"),
        (lambda: sizes.output_length(4, 1, padding="causal"), "padding: got 'causal'"),
        (lambda: sizes.transposed_length(1, 3, padding=2), "padding: got 2, which leaves -1"),
        (lambda: sizes.transposed_length(0, 3, stride=2), "length: got 0, allowed are ints ≥ 1"),
        (lambda: sizes.conv_parameters((3, 3), 6, 8, groups=4), "groups: got 4, allowed are common divisors of 6"),
        (lambda: sizes.receptive_field([(3, 0)]), "stride: got 0"),
        (lambda: sizes.receptive_field([3, 3]), "stack: got 3 for a layer, allowed are tuples"),
        (lambda: sizes.conv_parameters(5, 3, 10), "window: got 5, allowed is one int for each spatial axis"),
        (lambda: sizes.conv_multiply_adds((4, 4), np.int64(5), 3, 10), "window: got 5, allowed is one int for each"),
        (lambda: sizes.conv_multiply_adds(16, (5, 5), 3, 10), "out_shape: got 16, allowed is one int for each"),
        (lambda: sizes.output_length(4, 1, stride=2.0), "stride: got 2.0, allowed are ints ≥ 1"),
        (lambda: sizes.per_axis("stride", 2.0, 2), "stride: got 2.0, allowed are one int or name, or a sequence of 2"),
    ],
)
def test_mistakes_are_named(monkeypatch, call, message):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=message):
        call()
