"""Layers, losses and activations against PyTorch's values and gradients (tests/golden/make_layers.py)."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import activations, layers, losses

GOLDEN = np.load(pathlib.Path(__file__).parent / "golden" / "torch_layers.npz")


def batch_norm(x, scale, offset):
    return layers.batch_norm(x, *layers.batch_statistics(x), scale, offset)


def recurrent(run):
    """Call a recurrent function with PyTorch's arrays: two kernels (gates, d), and two biases to be summed."""

    def call(x, w, u, b, c):
        start = jnp.zeros((x.shape[0], u.shape[1]))
        return run(x, (start, start) if run is layers.lstm else start, w.T, u.T, b + c)

    return lambda *args: call(*args)[0] if run is layers.lstm else call(*args)


def gru(x, w, u, b, c):
    """Call the GRU with PyTorch's arrays: the recurrent biases of r and z join the others, that of n stays."""
    units = u.shape[1]
    bias = b + jnp.concatenate([c[: 2 * units], jnp.zeros(units)])
    return layers.gru(x, jnp.zeros((x.shape[0], units)), w.T, u.T, bias, c[2 * units :])


def bidirectional_gru(x, *parameters):
    forward, backward = gru(x, *parameters[:4]), gru(layers.reverse_sequence(x), *parameters[4:])
    return jnp.concatenate([forward, layers.reverse_sequence(backward)], axis=-1)


def packed_lstm(x, w, u, b, c):
    lengths, start = jnp.array([3, 5]), jnp.zeros((2, 2))
    y, _ = layers.lstm(x, (start, start), w.T, u.T, b + c, lengths)
    inside = jnp.arange(5)[None, :] < lengths[:, None]
    return jnp.concatenate([jnp.where(inside[..., None], y, 0), y[:, -1:]], axis=1)


def transposed_in_groups(x, w, b):
    """PyTorch has a kernel (c_in, c_out / groups), jaxdl (c_in / groups, c_out)."""
    kernel = w.reshape(3, 2, 2, 2, 2).transpose(0, 1, 3, 2, 4).reshape(3, 2, 2, 4)
    return layers.conv_transpose2d(x, kernel, b, stride=2, padding=1, output_padding=1, groups=2)


def multi_head(x, w, b, out, out_bias):
    """PyTorch stacks the three projections."""
    q, k, v = jnp.split(layers.dense(x, w.T, b), 3, axis=-1)
    return layers.dense(layers.multi_head_attention(q, k, v, heads=2), out.T, out_bias)


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
    "rms_norm": layers.rms_norm,
    "instance_norm": layers.instance_norm,
    "rnn": recurrent(layers.rnn),
    "lstm": recurrent(layers.lstm),
    "gru": gru,
    "bidirectional_gru": bidirectional_gru,
    "packed_lstm": packed_lstm,
    "conv_transpose": lambda x, w, b: layers.conv_transpose2d(
        x, w, b, stride=(2, 3), padding=(1, 0), output_padding=(1, 2)
    ),
    "conv_transpose_groups": transposed_in_groups,
    "conv_transpose_1d": lambda x, w, b: layers.conv_transpose1d(
        x, w, b, stride=2, dilation=2, padding=1, output_padding=1
    ),
    "attention": layers.scaled_dot_product_attention,
    "attention_causal": lambda q, k, v: layers.scaled_dot_product_attention(q, k, v, causal=True),
    "attention_masked": lambda q, k, v: layers.scaled_dot_product_attention(q, k, v, GOLDEN["attention_masked.mask"]),
    "multi_head": multi_head,
    "embedding": layers.embed,
    "max_unpool": lambda y: layers.max_unpool2d(y, GOLDEN["max_unpool.argmax"], size=(8, 7)),
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
    inputs = [jnp.asarray(GOLDEN[f"{name}.x{i}"]) for i in range(9) if f"{name}.x{i}" in GOLDEN]
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
