"""Layers, losses and activations against values and gradients that PyTorch wrote (tests/golden/make_layers.py)."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import activations, layers, losses

GOLDEN = np.load(pathlib.Path(__file__).parent / "golden" / "torch_layers.npz")


def batch_norm(x, scale, offset):
    return layers.batch_norm(x, *layers.batch_statistics(x), scale, offset)


CASES = {
    "conv_valid": lambda x, w, b: layers.conv2d(x, w, b, padding="VALID"),
    "conv_stride_padding": lambda x, w, b: layers.conv2d(x, w, b, stride=(2, 1), padding=(1, 2)),
    "conv_dilation": lambda x, w, b: layers.conv2d(x, w, b, dilation=2, padding=2),
    "conv_groups": lambda x, w, b: layers.conv2d(x, w, b, groups=2, padding=1),
    "max_pool": layers.max_pool2d,
    "max_pool_overlap": lambda x: layers.max_pool2d(x, window=3, stride=2),
    "avg_pool": lambda x: layers.avg_pool2d(x, window=(2, 3), stride=(2, 1)),
    "l2_pool": lambda x: layers.l2_pool2d(x + 3),
    "lrn": lambda x: layers.local_response_norm(x, size=3, alpha=0.5, per_size=True),
    "group_norm": lambda x, s, o: layers.group_norm(x, s, o, groups=2),
    "layer_norm": layers.layer_norm,
    "batch_norm": batch_norm,
    "cross_entropy": losses.softmax_cross_entropy,
    "label_smoothing": lambda z, y: losses.softmax_cross_entropy(z, y, label_smoothing=0.1),
    "bce_logits": lambda z: losses.sigmoid_binary_cross_entropy(z, GOLDEN["bce_logits.targets"]),
    **{name: getattr(activations, name) for name in ("relu", "leaky_relu", "elu", "softplus", "gelu", "swish")},
    **{name: getattr(activations, name) for name in ("relu6", "sigmoid", "tanh", "log_softmax", "softmax")},
}


def test_every_recorded_case_is_compared():
    assert {name.split(".")[0] for name in GOLDEN.files} - {"version"} == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_are_pytorchs(name):
    inputs = [jnp.asarray(GOLDEN[f"{name}.x{i}"]) for i in range(5) if f"{name}.x{i}" in GOLDEN]
    floating = tuple(i for i in range(len(inputs)) if f"{name}.g{i}" in GOLDEN)
    weights = GOLDEN[f"{name}.weights"]

    def loss(*inputs):
        y = CASES[name](*inputs)
        return jnp.sum(y * weights), y

    gradients, y = jax.jit(jax.grad(loss, floating, has_aux=True))(*inputs)
    pairs = [(y, GOLDEN[f"{name}.y"])] + [(g, GOLDEN[f"{name}.g{i}"]) for g, i in zip(gradients, floating, strict=True)]
    for ours, theirs in pairs:
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-6 * max(1.0, np.abs(theirs).max()))
