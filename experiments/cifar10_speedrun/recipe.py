"""The recipe of airbench94 in its two forms: network, whitening, optimizers, training step, test over six views."""

import dataclasses
import functools
import math
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl import activations, data, initializers, losses, nn
from jaxdl.data import augmentation
from jaxdl.optimizers.muon import QUINTIC, orthogonalize


@dataclasses.dataclass(frozen=True)
class Config:
    """The numbers of the recipe; the defaults are the paper's."""

    optimizer: Literal["nesterov", "muon"] = "nesterov"
    """Form of the recipe, by the optimizer of the filters. Biases and head use Nesterov momentum in both."""
    runs: int = 5
    """Number of independent runs, with seeds 0, 1, ..."""
    epochs: float = 0.0
    """Passes over the training set; a fraction ends within the last one. 0: 9.9, or 8 with Muon."""
    batch_size: int = 0
    """Examples per step. 0: 1024, or 2000 with Muon."""
    learning_rate: float = 0.0
    """Peak learning rate. 0: 1.5 for the mean loss, or 0.24 for the filters with Muon, whose other rates are fixed."""
    momentum: float = 0.85
    """Nesterov momentum; Muon's own is 0.6."""
    weight_decay: float = 0.0153
    """Share of a weight that decays in a step of 1024 examples at the peak, momentum included; not with Muon."""
    norm_rate: float = 64.0
    """Factor on the learning rate of the offsets of batch norm; not with Muon."""
    label_smoothing: float = 0.2
    """Probability that is spread over all classes."""
    whiten_epochs: float = 3.0
    """Epochs in which the bias of the whitening layer is trained."""
    width: float = 1.0
    """Factor on 64, 256 and 256 channels."""
    examples: int = 50_000
    """Number of training examples to use."""
    test_examples: int = 10_000
    """Number of test examples to use."""
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """Type of activations; parameters are float32."""
    scan: bool | None = None
    """Run the steps of an epoch as one program; by default everywhere except on CPU."""
    data_dir: Path | None = None
    """Folder of the data sets' files; by default the variable JAXDL_DATA_DIR, else a per-user cache."""
    out: Path | None = None
    """Folder for runs.csv; by default nothing is written."""


# defaults by form
FORMS = {
    "nesterov": {"epochs": 9.9, "batch_size": 1024, "learning_rate": 1.5},
    "muon": {"epochs": 8.0, "batch_size": 2000, "learning_rate": 0.24},
}
# the Muon form: rates for the sum of the losses, decay per example
MUON_BIAS_RATE, MUON_HEAD_RATE, MUON_DECAY, MUON_MOMENTUM, MUON_STEPS = 0.053, 0.67, 2e-6, 0.6, 3
WHITENING = 24  # 12 eigenvectors of 2x2x3 patches and their negatives


class Carried(NamedTuple):
    """The state that steps carry."""

    step: Any  # int32
    params: Any
    state: Any  # running statistics
    opt_state: Any
    slow: Any  # lookahead's (params, state); None with Muon


def net(width: float = 1.0, optimizer: str = "nesterov") -> nn.Layer:
    """Whitening convolution, three groups of two convolutions, linear layer: 1,971,640 parameters on 32x32x3."""
    features = max(8, round(width * 256))
    divisor, head_start = (features, unit_start) if optimizer == "muon" else (9, TORCH_START)
    norm = functools.partial(nn.BatchNorm, momentum=0.6, eps=1e-12, scale=False)
    groups = {}
    for number, channels in enumerate((64, 256, 256), start=1):
        conv = functools.partial(nn.Conv, max(8, round(width * channels)), 3, bias=False, kernel_init=identity_start)
        groups[f"group{number}"] = nn.serial(
            conv1=conv(), pool=nn.MaxPool(2), norm1=norm(), gelu1=activations.gelu,
            conv2=conv(), norm2=norm(), gelu2=activations.gelu,
        )  # fmt: skip
    return nn.serial(
        whiten=nn.Conv(WHITENING, 2, padding="VALID"),
        gelu=activations.gelu,
        **groups,
        pool=nn.MaxPool(3),
        flatten=nn.flatten,
        head=nn.Dense(10, bias=False, kernel_init=head_start),
        scaled=lambda x: x / divisor,
    )


TORCH_START = initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def unit_start(key, shape, dtype=jnp.float32):
    """PyTorch's initialization, scaled to standard deviation 1."""
    kernel = TORCH_START(key, shape, dtype)
    return kernel / jnp.std(kernel, ddof=1)


def identity_start(key, shape, dtype=jnp.float32):
    """PyTorch's initialization, except that the first c_in filters pass their channel on."""
    kernel = TORCH_START(key, shape, dtype)
    height, width, c_in, c_out = shape
    passed = min(c_in, c_out)
    centre = jnp.zeros((height, width, c_in, passed), dtype).at[height // 2, width // 2, :passed].set(jnp.eye(passed))
    return kernel.at[..., :passed].set(centre)


def whitening_kernel(images: np.ndarray) -> np.ndarray:
    """Eigenvectors of the images' 2x2 patches divided by √(λ + 5e-4), largest λ first, and their negatives.

    Args:
        images: normalised (n, h, w, 3).

    Returns:
        (2, 2, 3, 24).
    """
    windows = np.lib.stride_tricks.sliding_window_view(images, (2, 2), axis=(1, 2))  # (n, h-1, w-1, 3, 2, 2)
    patches = windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, 12).astype(np.float64)
    values, vectors = np.linalg.eigh(patches.T @ patches / len(patches))
    scaled = (vectors / np.sqrt(values + 5e-4))[:, ::-1].reshape(2, 2, 3, 12)
    return np.concatenate([scaled, -scaled], -1).astype(np.float32)


def triangle(steps: int) -> Callable[[Any], Any]:
    """Rise from .2 to 1 over 23 % of the steps, then fall to .07."""
    return lambda step: jnp.interp(step / steps, jnp.array([0, 0.23, 1.0]), jnp.array([0.2, 1.0, 0.07]))


def label(path: str) -> str:
    """Return the kind of a parameter, which decides how it is trained."""
    if path.startswith("['whiten']"):
        return "frozen" if "kernel" in path else "whiten"
    if path.startswith("['head']"):
        return "head"
    return "norm" if "offset" in path else "filter"


def make_optimizer(config: Config, steps: int, epoch_steps: int) -> optax.GradientTransformation:
    """Return an optimizer with a variant per kind of parameter."""
    until = config.whiten_epochs * epoch_steps
    make_kinds = muon_kinds if config.optimizer == "muon" else nesterov_kinds
    kinds: dict[Hashable, Any] = {"frozen": optax.set_to_zero(), **make_kinds(config, steps, until)}
    labels = functools.partial(jax.tree_util.tree_map_with_path, lambda path, _: label(jax.tree_util.keystr(path)))
    return optax.partition(kinds, labels)


def nesterov_kinds(config: Config, steps: int, until: float) -> dict[Hashable, Any]:
    """Nesterov momentum with weight decay and a triangular learning rate."""
    shape, rate = triangle(steps), config.learning_rate
    # momentum repeats each decay for 1/(1-m) steps, and Nesterov's lookahead adds one more
    decay = config.weight_decay * config.batch_size / 1024 / (1 + 1 / (1 - config.momentum))
    nesterov = functools.partial(decayed_nesterov, momentum=config.momentum, decay=decay)
    return {
        "whiten": nesterov(rate, lambda step: jnp.where(step < until, shape(step), 0.0)),
        "norm": nesterov(rate * config.norm_rate, shape),
        "head": nesterov(rate, shape),
        "filter": nesterov(rate, shape),
    }


def muon_kinds(config: Config, steps: int, until: float) -> dict[Hashable, Any]:
    """Muon for the filters, Nesterov momentum with decay for the others; all rates fall linearly to 0."""
    falling = lambda end: lambda step: jnp.maximum(0.0, 1 - step / end)
    # a rate for the sum of losses is one for their mean times the batch size
    bias, head = MUON_BIAS_RATE * config.batch_size, MUON_HEAD_RATE * config.batch_size
    nesterov = functools.partial(decayed_nesterov, momentum=config.momentum, decay=MUON_DECAY * config.batch_size)
    filters = optax.chain(
        optax.trace(MUON_MOMENTUM, nesterov=True),
        optax.stateless(lambda updates, _: jax.tree.map(functools.partial(orthogonal, dtype=config.dtype), updates)),
        optax.scale_by_learning_rate(lambda step: config.learning_rate * falling(steps)(step)),
        optax.stateless(lambda updates, params: jax.tree.map(from_unit_filters, updates, params)),
    )
    return {
        "whiten": nesterov(bias, falling(until)),
        "norm": nesterov(bias, falling(steps)),
        "head": nesterov(head, falling(steps)),
        "filter": filters,
    }


def decayed_nesterov(rate: float, shape, *, momentum: float, decay: float) -> optax.GradientTransformation:
    """Nesterov momentum with rate · shape(step); the decay is part of the gradient and independent of the peak."""
    return optax.chain(
        optax.add_decayed_weights(decay / rate),
        optax.trace(momentum, nesterov=True),
        optax.scale_by_learning_rate(lambda step: rate * shape(step)),
    )


def orthogonal(update, dtype: str = "float32"):
    """Orthogonalize an update (kh, kw, c_in, c_out) as a matrix of c_out columns: singular values become about 1."""
    matrix = update.reshape(-1, update.shape[-1]).astype(dtype)
    done = orthogonalize(matrix, QUINTIC, MUON_STEPS, eps=1e-7)
    return done.reshape(update.shape).astype(update.dtype)


def from_unit_filters(update, kernel):
    """Return the update relative to the kernel scaled to norm √c_out."""
    scaled = kernel * (math.sqrt(kernel.shape[-1]) / jnp.linalg.norm(kernel.ravel()))
    return scaled + update - kernel


def make_step(config: Config, layer: nn.Layer, optimizer, steps: int, normalization, key):
    """Return ``(carried, rows, epoch, images, labels) -> (carried, mean loss)`` for one batch of rows."""
    flip_key, crop_key = jax.random.split(key)

    def augmented(row, image, crop_key, epoch):
        image = augmentation.alternating_flip(jax.random.fold_in(flip_key, row), image, epoch=epoch)
        return augmentation.crop(jax.random.fold_in(crop_key, row), image, padding=2, mode="reflect")

    def step(carried: Carried, rows, epoch, images, labels):
        x = data.normalize(images[rows], normalization)
        keys = jax.random.fold_in(crop_key, carried.step)
        x = jax.vmap(augmented, (0, 0, None, None))(rows, x, keys, epoch)

        def loss(params):
            logits, state = layer.apply(params, carried.state, x, train=True)
            per_example = losses.softmax_cross_entropy(logits, labels[rows], label_smoothing=config.label_smoothing)
            return per_example.mean(), state

        (value, state), grads = jax.value_and_grad(loss, has_aux=True)(carried.params)
        updates, opt_state = optimizer.update(grads, carried.opt_state, carried.params)
        params = optax.apply_updates(carried.params, updates)
        done = carried.step + 1
        slow = carried.slow
        if config.optimizer == "nesterov":
            slow, (params, state) = look_ahead(done, steps, slow, (params, state))
        return Carried(done, params, state, opt_state, slow), value

    return step


def look_ahead(done, steps: int, slow, fast):
    """Move the slow weights towards the fast ones every 5 steps and continue from there; end with the slow ones."""
    decay = jnp.where(done == steps, 1.0, 0.95**5 * (done / steps) ** 3)
    now = (done % 5 == 0) | (done == steps)
    pulled = jax.tree.map(lambda s, f: decay * s + (1 - decay) * f, slow, fast)
    choose = lambda new, old: jax.tree.map(lambda n, o: jnp.where(now, n, o), new, old)
    return choose(pulled, slow), choose(pulled, fast)


def six_views(layer: nn.Layer, variables, x):
    """Average the logits of an image and of two shifted by a pixel, each also mirrored; the first counts double."""
    params, state = variables
    height, width = x.shape[1:3]
    padded = jnp.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)], mode="reflect")
    views = [x, padded[:, :height, :width], padded[:, 2:, 2:]]
    logits = [layer.apply(params, state, one)[0] for view in views for one in (view, view[:, :, ::-1])]
    return sum(weight * one for weight, one in zip((0.25, 0.25, 0.125, 0.125, 0.125, 0.125), logits, strict=True))


def resolve(config: Config) -> Config:
    """Fill in defaults; raise ValueError for an option out of range."""
    left_out = {name: value for name, value in FORMS[config.optimizer].items() if not getattr(config, name)}
    config = dataclasses.replace(config, **left_out)
    for name in ("runs", "batch_size", "examples", "test_examples", "epochs", "learning_rate", "width"):
        if getattr(config, name) <= 0:
            raise ValueError(f"{name}={getattr(config, name)} is not allowed: it must be positive")
    if config.batch_size > config.examples:
        raise ValueError(f"batch_size={config.batch_size} is not allowed: there are {config.examples} examples")
    return config
