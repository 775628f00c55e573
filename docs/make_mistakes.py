# ruff: noqa: E501  # a mistake is one line
"""Make docs/mistakes.md: likely mistakes, and the message that each one gets.

    python -m docs.make_mistakes

A mistake is a line of code in the names of `SETTING`; the page holds what it raises, word for word.
"""

import pathlib
import re
from typing import Any, Final

PAGE: Final = pathlib.Path(__file__).with_name("mistakes.md")
SETTING: Final = """
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl import activations, compare, data, initializers, interop, layers, losses, metrics, models
from jaxdl import nn, optimizers, schedules, training

key = jax.random.key(0)
x, labels = np.ones((4, 8, 8, 3), np.float32), np.arange(4)
net = nn.serial(conv=nn.Conv(8, 3), norm=nn.BatchNorm(), drop=nn.Dropout(0.5), flat=nn.flatten, logits=nn.Dense(10))
params, state = net.init(key, (8, 8, 3))
scores, _ = net.apply(params, state, x)
other, other_state = nn.serial(logits=nn.Dense(10)).init(key, (3,))
examples = data.Examples(x, labels)
batch = data.Batch(x, labels, np.ones(4, np.float32), np.arange(4))
optimizer = optimizers.adam(1e-3)
unflattened = nn.serial(hidden=nn.Dense(32), logits=nn.Dense(10))
train_state = training.create(key, net, optimizer, (8, 8, 3))
step = training.train_step(net, optimizer)
"""

MISTAKES: Final = {
    "Shapes": [
        ("a batch axis in the shape of one image", "net.init(key, (4, 8, 8, 3))"),
        ("channels first", "net.apply(params, state, x.transpose(0, 3, 1, 2))"),
        ("another number of channels", "net.apply(params, state, x[..., :1])"),
        ("images of another size", "net.apply(params, state, x[:, :6])"),
        ("a kernel in PyTorch's order", "layers.conv2d(x, jnp.ones((8, 3, 5, 5)))"),
        ("a window larger than the image", 'layers.conv2d(x, jnp.ones((9, 9, 3, 8)), padding="VALID")'),
        ("groups that do not divide the channels", "layers.conv2d(x, jnp.ones((3, 3, 1, 8)), groups=2)"),
        ("an unknown padding", 'nn.Conv(8, 3, padding="half").init(key, (8, 8, 3))'),
    ],
    "Parameters and state": [
        ("parameters of another network", "net.apply(other, state, x)"),
        ("the state forgotten", "net.apply(params, {}, x)"),
        ("params and state together", "net.apply((params, state), x)"),
        ("no random key in training", "net.apply(params, state, x, train=True)"),
        ("a seed for a key", "net.init(0, (8, 8, 3))"),
        ("an unknown part", 'nn.at(net, "cnov")'),
        ("a new part where there was none", 'nn.replace(net, "head", nn.Dense(5))'),
        ("a class instead of a layer", "nn.serial(flat=nn.flatten, logits=nn.Dense)"),
    ],
    "Words of other libraries": [
        ("PyTorch's name for the window", "nn.Conv(8, kernel_size=3)"),
        ("Keras' name for the stride", "nn.Conv(8, 3, strides=2)"),
        ("the learning rate", "optimizers.adam(lr=1e-3)"),
        ("PyTorch's betas", "optimizers.adam(1e-3, betas=(0.9, 0.999))"),
        ("a reduction", 'losses.softmax_cross_entropy(scores, labels, reduction="mean")'),
        ("ignore_index", "losses.softmax_cross_entropy(scores, labels, ignore_index=-100)"),
        ("from_logits", "losses.binary_cross_entropy(scores, scores, from_logits=True)"),
    ],
    "Losses and metrics": [
        ("labels as a column", "losses.softmax_cross_entropy(scores, labels[:, None])"),
        ("one label per pixel for one score per image", "losses.softmax_cross_entropy(scores, np.zeros((4, 8), int))"),
        ("a flatten forgotten", "training.train_step(unflattened, optimizer)(training.create(key, unflattened, optimizer, (8, 8, 3)), batch, key)"),
        ("class numbers as floats", "losses.softmax_cross_entropy(scores, labels.astype(np.float32))"),
        ("weights of another number of classes", "losses.softmax_cross_entropy(scores, labels, class_weights=np.ones(3))"),
        ("a smoothing above 1", "losses.softmax_cross_entropy(scores, labels, label_smoothing=1.5)"),
        ("targets that would broadcast to all pairs", "losses.squared_error(np.ones((4, 1)), np.ones(4))"),
        ("more than there is", "metrics.top_k_accuracy(scores, labels, k=11)"),
    ],
    "Optimizers and schedules": [
        ("an unknown convention", 'optimizers.adam(1e-3, convention="pytorch")'),
        ("a decay rate out of range", "optimizers.adam(1e-3, b1=1.5)"),
        ("no parameters for decoupled decay", "optimizers.adamw(1e-3).update(params, optimizers.adamw(1e-3).init(params))"),
        ("a pattern that is none", 'optimizers.freeze(optimizers.mask_by_path("*/bias"))'),
        ("a schedule of no steps", "schedules.cosine(0.1, 0)"),
        ("a negative norm", "optimizers.clip_by_global_norm(-1.0)"),
    ],
    "Training": [
        ("an average that the state does not have", "training.train_step(net, optimizer, average_decay=0.99)(train_state, batch, key)"),
        ("parts that do not divide the batch", "training.train_step(net, optimizer, accumulate=3)(train_state, batch, key)"),
        ("more devices than there are", "training.data_parallel(step, devices=999)"),
        ("an unknown strategy", 'training.data_parallel(step, strategy="ddp")'),
        ("a loss that returns the mean", "training.train_step(net, optimizer, loss=lambda y, t: losses.softmax_cross_entropy(y, t).mean())(train_state, batch, key)"),
        ("more in a batch than there are", "next(data.batches(examples, 64, seed=0, epoch=0))"),
        ("classes for a loss of two", "training.check_labels(losses.sigmoid_binary_cross_entropy, np.array([0, 10]))"),
    ],
    "Data and files": [
        ("images and labels of different number", "data.from_arrays(x, labels[:3])"),
        ("a file that is not there", 'interop.read("weights.pth")'),
        ("weights of another network", 'interop.from_torch({"fc.weight": np.ones((10, 3))}, net, (8, 8, 3), lambda layer: {"logits/kernel": "fc.weight"})'),
        ("an unknown data set", 'data.load("imagenet")'),
        ("more than all for development", 'data.split(data.load("digits"), seed=0, dev_fraction=1.5)'),
    ],
}  # fmt: skip


def setting() -> dict[str, Any]:
    """Return the names that the mistakes use."""
    names: dict[str, Any] = {}
    exec(SETTING, names)
    return names


def message(code: str, names: dict[str, Any]) -> str:
    """Return the kind and the text of the error that the code raises."""
    try:
        exec(code, dict(names))
    except (ValueError, TypeError, NotImplementedError) as error:
        return re.sub(r"<function \S+ at \w+>", "<function>", f"{type(error).__name__}: {error}")
    raise AssertionError(f"no error: {code}")


def page() -> str:
    """Return the page."""
    names = setting()
    parts: list[str] = ["# Likely mistakes", "Each line of code raises the message below it. The names are these:"]
    parts.append(f"```python\n{SETTING.strip()}\n```")
    for heading, found in MISTAKES.items():
        parts.append(f"## {heading}")
        parts += [
            f"**{what[0].upper()}{what[1:]}**\n\n```\n>>> {code}\n{message(code, names)}\n```" for what, code in found
        ]
    return "\n\n".join([*parts, "Made by `python -m docs.make_mistakes`."]) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
