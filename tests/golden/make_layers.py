"""Make `torch_layers.npz`: what PyTorch's layers and losses give on small inputs, with their gradients.

In an environment of its own (``make golden`` makes it), from the repository's root:

    python tests/golden/make_layers.py

Everything is stored channels last, as jaxdl has it: images (n, h, w, c), kernels (kh, kw, c_in / groups, c_out).
Inputs are whole multiples of 1/8, so that their products are exact and max pools have ties.
"""

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

HERE = Path(__file__).parent
stored = {"version": np.array(torch.__version__.partition("+")[0])}


def draw(seed, *shape):
    """Multiples of 1/8 in [-2, 2]."""
    return torch.tensor(np.random.RandomState(seed).randint(-16, 17, shape) / 8, dtype=torch.float32)


def first(x):
    """Channels last to channels first."""
    return x.permute(0, 3, 1, 2)


def last(x):
    """Channels first to channels last."""
    return x.permute(0, 2, 3, 1)


def torch_kernel(w):
    """HWIO to OIHW."""
    return w.permute(3, 2, 0, 1)


def record(name, f, *inputs):
    """Store inputs, output, and the gradients of sum(output * weights) with fixed weights."""
    leaves = [x.clone().requires_grad_(x.is_floating_point()) for x in inputs]
    y = f(*leaves)
    weights = draw(99, *y.shape)
    (y * weights).sum().backward()
    stored[f"{name}.y"], stored[f"{name}.weights"] = y.detach().numpy(), weights.numpy()
    for i, leaf in enumerate(leaves):
        stored[f"{name}.x{i}"] = leaf.detach().numpy()
        if leaf.grad is not None:
            stored[f"{name}.g{i}"] = leaf.grad.numpy()


x, kernel, bias = draw(0, 2, 8, 7, 4), draw(1, 3, 2, 4, 6), draw(2, 6)
grouped = draw(3, 3, 3, 2, 6)


def conv(**options):
    return lambda x, w, b: last(F.conv2d(first(x), torch_kernel(w), b, **options))


record("conv_valid", conv(), x, kernel, bias)
record("conv_stride_padding", conv(stride=(2, 1), padding=(1, 2)), x, kernel, bias)
record("conv_dilation", conv(dilation=2, padding=2), x, kernel, bias)
record("conv_groups", conv(groups=2, padding=1), x, grouped, bias)
record("max_pool", lambda x: last(F.max_pool2d(first(x), 2)), x)
record("max_pool_overlap", lambda x: last(F.max_pool2d(first(x), 3, stride=2)), x)
record("avg_pool", lambda x: last(F.avg_pool2d(first(x), (2, 3), stride=(2, 1))), x)
record("l2_pool", lambda x: last(F.lp_pool2d(first(x) + 3, 2.0, 2)), x)
record("lrn", lambda x: last(F.local_response_norm(first(x), 3, alpha=0.5, beta=0.75, k=2.0)), x)
record("group_norm", lambda x, s, o: last(F.group_norm(first(x), 2, s, o, eps=1e-5)), x, draw(4, 4), draw(5, 4))
record("layer_norm", lambda x, s, o: F.layer_norm(x, (4,), s, o, eps=1e-5), x, draw(4, 4), draw(5, 4))
record(
    "batch_norm",
    lambda x, s, o: last(F.batch_norm(first(x), None, None, s, o, training=True)),
    x,
    draw(4, 4),
    draw(5, 4),
)
logits, labels = draw(6, 5, 7), torch.tensor([0, 6, 3, 3, 1])
record("cross_entropy", lambda z, y: F.cross_entropy(z, y, reduction="none"), logits, labels)
record("label_smoothing", lambda z, y: F.cross_entropy(z, y, reduction="none", label_smoothing=0.1), logits, labels)
targets = torch.tensor(np.random.RandomState(7).randint(0, 2, (5, 7)), dtype=torch.float32)
record("bce_logits", lambda z: F.binary_cross_entropy_with_logits(z, targets, reduction="none"), logits)
stored["bce_logits.targets"] = targets.numpy()
for name, f in {
    "relu": F.relu, "leaky_relu": F.leaky_relu, "elu": F.elu, "softplus": F.softplus, "gelu": F.gelu,
    "swish": F.silu, "relu6": F.relu6, "sigmoid": torch.sigmoid, "tanh": torch.tanh,
    "log_softmax": lambda z: F.log_softmax(z, -1), "softmax": lambda z: F.softmax(z, -1),
}.items():  # fmt: skip
    record(name, f, 2 * logits)


def recurrent(module, bidirectional=False):
    """The outputs of a recurrent module as a function of its input and its weights, biases last, of one layer."""
    net = module(3, 2, batch_first=True, bidirectional=bidirectional)
    names = [name for name, _ in net.named_parameters()]
    f = lambda x, *weights: torch.func.functional_call(net, dict(zip(names, weights, strict=True)), x)[0]
    return f, [tuple(p.shape) for p in net.parameters()]


steps = draw(10, 2, 5, 3)
for name, (f, shapes) in {
    "rnn": recurrent(torch.nn.RNN), "gru": recurrent(torch.nn.GRU), "lstm": recurrent(torch.nn.LSTM),
    "bidirectional_gru": recurrent(torch.nn.GRU, True),
}.items():  # fmt: skip
    record(name, f, steps, *[draw(20 + i, *shape) / 2 for i, shape in enumerate(shapes)])
lengths = torch.tensor([3, 5])


def packed(x, *weights):
    """An LSTM over sequences of different length: outputs with zeros behind the end, and the last state."""
    net = torch.nn.LSTM(3, 2, batch_first=True)
    names = [name for name, _ in net.named_parameters()]
    x = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    y, (h, _) = torch.func.functional_call(net, dict(zip(names, weights, strict=True)), (x,))
    y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, batch_first=True)
    return torch.cat([y, h[0][:, None]], 1)


record("packed_lstm", packed, steps, *[draw(20 + i, *s) / 2 for i, s in enumerate(recurrent(torch.nn.LSTM)[1])])


def transposed(f, **options):
    return lambda x, w, b: f(x.movedim(-1, 1), w.movedim((-2, -1), (0, 1)), b, **options).movedim(1, -1)


deconv = draw(11, 3, 2, 4, 2)
record("conv_transpose", transposed(F.conv_transpose2d, stride=(2, 3), padding=(1, 0), output_padding=(1, 2)),
       x, deconv, draw(12, 2))  # fmt: skip
record("conv_transpose_groups", transposed(F.conv_transpose2d, stride=2, padding=1, output_padding=1, groups=2),
       x, deconv, draw(12, 4))  # fmt: skip
record("conv_transpose_1d", transposed(F.conv_transpose1d, stride=2, dilation=2, padding=1, output_padding=1),
       x[0], draw(13, 3, 4, 2), draw(12, 2))  # fmt: skip
q, k, v = draw(14, 2, 3, 5, 4), draw(15, 2, 3, 5, 4), draw(16, 2, 3, 5, 6)
mask = torch.tensor(np.random.RandomState(17).randint(0, 2, (2, 1, 5, 5)) > 0) | torch.eye(5, dtype=torch.bool)
stored["attention_masked.mask"] = mask.numpy()
record("attention", F.scaled_dot_product_attention, q, k, v)
record("attention_causal", lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True), q, k, v)
record("attention_masked", lambda q, k, v: F.scaled_dot_product_attention(q, k, v, attn_mask=mask), q, k, v)


def multi_head(x, *weights):
    net = torch.nn.MultiheadAttention(4, 2, batch_first=True)
    names = [name for name, _ in net.named_parameters()]
    return torch.func.functional_call(net, dict(zip(names, weights, strict=True)), (x, x, x))[0]


shapes = [(12, 4), (12,), (4, 4), (4,)]
record("multi_head", multi_head, q[0], *[draw(30 + i, *shape) / 2 for i, shape in enumerate(shapes)])
record("rms_norm", lambda x, s: F.rms_norm(x, (4,), s, eps=1e-6), x, draw(4, 4))
record("instance_norm", lambda x, s, o: last(F.instance_norm(first(x), weight=s, bias=o)), x, draw(4, 4), draw(5, 4))
table, symbols = draw(18, 6, 3), torch.tensor([[0, 5, 5], [2, 1, 0]])
record("embedding", lambda i, e: F.embedding(i, e), symbols, table)
argmax = F.max_pool2d(first(x), 2, return_indices=True)[1]
record("max_unpool", lambda y: last(F.max_unpool2d(first(y), argmax, 2, output_size=(8, 7))), draw(19, 2, 4, 3, 4))
stored["max_unpool.argmax"] = last(argmax).numpy()

np.savez_compressed(HERE / "torch_layers.npz", **stored)
