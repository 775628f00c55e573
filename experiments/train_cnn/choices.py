"""Schedules, augmentations and optimizers with weight decay, from the options of the command line."""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import jax
import optax

from jaxdl import data, regularizers, schedules
from jaxdl.data import augmentation
from jaxdl.optimizers.conventions import TABLE
from jaxdl.runs import names, trials

Penalty = Callable[[Any], Any]  # params -> a scalar added to the loss


def schedule(name: str, peak: float, *, steps: int, warmup: int, epoch_steps: int) -> optax.Schedule | float:
    """Return ``step -> learning rate``, or a plain number if the rate is constant.

    Args:
        name: constant, cosine, one_cycle, step or inverse_sqrt; the help of `experiments.train_cnn` describes them.
        peak: the highest learning rate.
        steps: number of steps of the run.
        warmup: steps of linear warm-up.
        epoch_steps: number of steps of an epoch.
    """
    if name == "constant" and not warmup:
        return peak
    if name == "one_cycle":
        return schedules.one_cycle(steps, peak, pct_start=warmup / steps or 0.3)
    rest = steps - warmup
    after = {
        "constant": lambda: schedules.constant(peak),
        "cosine": lambda: schedules.cosine(peak, rest),
        "step": lambda: schedules.step(peak, {rest // 2: 0.1, 3 * rest // 4: 0.1}),
        "inverse_sqrt": lambda: schedules.inverse_sqrt(peak, warmup or epoch_steps),
    }[name]()
    return schedules.warmup(after, warmup)


def optimizer(
    name: str,
    learning_rate: optax.Schedule | float,
    weight_decay: float | None,
    params: Any,
    *,
    functions: bool = True,
) -> tuple[optax.GradientTransformation, Penalty | None]:
    """Return an optimizer that has been tried, and a penalty on the loss if it has no weight decay of its own.

    Args:
        name: see `names.optimizer`.
        learning_rate: a number or a schedule.
        weight_decay: of kernels, not of biases; None keeps the optimizer's default.
        params: the network's parameters; one update is traced with their shapes.
        functions: whether the training step offers functions of the parameters, which it cannot across devices.

    Raises:
        ValueError: if a training step cannot serve the optimizer.
    """
    factory, named = names.optimizer(name), names.parse_optimizer(name)
    options, penalty = inspect.signature(factory).parameters, None
    arguments: dict[str, Any] = {}
    if weight_decay is not None and "weight_decay" in named.keywords:
        raise ValueError(f"weight_decay={weight_decay} is not allowed: optimizer={name!r} sets it already")
    if weight_decay is not None and "weight_decay" in options and not _is_penalty(named):
        masks = {
            mask: regularizers.weights_mask
            for mask in ("mask", "weight_decay_mask")
            if mask in options and mask not in named.keywords
        }
        arguments = {"weight_decay": weight_decay, **masks}
    elif weight_decay:
        penalty = functools.partial(regularizers.l2, strength=weight_decay)
    try:
        found = names.make_optimizer(factory, learning_rate, **arguments)
        jax.eval_shape(functools.partial(trials.try_update, found, functions=functions), params)
    except (AttributeError, TypeError, ValueError) as error:
        kind = "number" if not callable(learning_rate) else "schedule of learning rates (--schedule constant: a number)"
        raise ValueError(
            f"optimizer={name!r} does not work here: {error}; it is called with a {kind}, and its update with "
            "(grads, state, params) and what optimizers.update offers"
            + ("" if functions else "; functions of the loss are for one device or --strategy jit")
        ) from error
    return found, penalty


def _is_penalty(named: names.Named) -> bool:
    """Return whether a jaxdl optimizer has weight_decay in PyTorch's convention only, where it is an L2 penalty."""
    defaults = TABLE.get(named.short, {}).get("optax", {})
    return named.name == f"jaxdl.{named.short}" and "weight_decay" not in defaults


def augment(names: Sequence[str], scale: float) -> augmentation.Augmentation | None:
    """Return ``(key, raw image) -> image in [0, 1]``, which applies the augmentations in order; None for "none".

    Args:
        names: any of flip, shift, rotate, cutout, noise; the help of `experiments.train_cnn` describes them.
        scale: the raw pixel value that stands for 1.0.
    """
    if tuple(names) == ("none",):
        return None

    def apply(key: jax.Array, image: jax.Array) -> jax.Array:
        side = min(image.shape[:2])
        known = {
            "flip": augmentation.flip,
            "shift": functools.partial(augmentation.translate, max_shift=max(1, side // 10)),
            "rotate": functools.partial(augmentation.rotate, max_degrees=10.0),
            "cutout": functools.partial(augmentation.cutout, size=max(1, side // 4)),
            "noise": functools.partial(augmentation.noise, stddev=0.05),
        }
        return augmentation.compose(*(known[name] for name in names))(key, data.to_unit(image, scale))

    return apply
