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

np.savez_compressed(HERE / "torch_layers.npz", **stored)
