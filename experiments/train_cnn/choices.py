"""Schedules, augmentations and optimizers with weight decay, from the options of the command line."""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import optax
from optax.contrib import ReduceLROnPlateauState

from experiments.train_cnn import groups as groups_of
from jaxdl import data, optimizers, regularizers, schedules
from jaxdl.data import augmentation
from jaxdl.optimizers.conventions import TABLE
from jaxdl.optimizers.demands import found_in
from jaxdl.optimizers.states import MultiStepsState
from jaxdl.runs import names, tasks
from jaxdl.training.scaling import LossScaleState

Penalty = Callable[[Any], Any]  # params -> a scalar added to the loss


def schedule(name: str, peak: float, *, steps: int, warmup: int, epoch_steps: int) -> optax.Schedule | float:
    """Return ``step -> learning rate``, or a plain number if the rate is constant.

    Args:
        name: one of `config.Schedule`, which the help of `experiments.train_cnn` describes.
        peak: the highest learning rate.
        steps: number of steps of the run.
        warmup: steps of linear warm-up.
        epoch_steps: number of steps of an epoch.
    """
    if name in ("constant", "reduce_on_plateau") and not warmup:
        return peak
    if name == "one_cycle":
        return schedules.one_cycle(steps, peak, pct_start=warmup / steps or 0.3)
    rest = steps - warmup
    after = {
        "constant": lambda: schedules.constant(peak),
        "reduce_on_plateau": lambda: schedules.constant(peak),  # the optimizer scales its updates
        "cosine": lambda: schedules.cosine(peak, rest),
        "linear": lambda: schedules.linear(peak, 0.0, rest),
        "polynomial": lambda: schedules.polynomial(peak, 0.0, 2, rest),
        "exponential": lambda: schedules.exponential(peak, rest, 0.01),
        "cosine_restarts": lambda: schedules.cosine_restarts(peak, max(1, -(-rest // 7)), period_factor=2),  # 1 + 2 + 4
        "step": lambda: schedules.step(peak, {rest // 2: 0.1, 3 * rest // 4: 0.1}),
        "inverse_sqrt": lambda: schedules.inverse_sqrt(peak, warmup or epoch_steps),
        "inverse_time": lambda: schedules.inverse_time(peak, warmup or epoch_steps, 1.0),
    }[name]()
    return schedules.warmup(after, warmup)


def optimizer(
    name: str,
    learning_rate: optax.Schedule | float,
    weight_decay: float | None,
    params: Any,
    *,
    functions: bool = True,
    clip_norm: float | None = None,
    plateau_steps: int | None = None,
    groups: Sequence[tuple[str, float]] = (),
) -> tuple[optax.GradientTransformation, Penalty | None]:
    """Return an optimizer that has been tried, and a penalty on the loss if it has no weight decay of its own.

    Args:
        name: see `names.optimizer`.
        learning_rate: a number or a schedule.
        weight_decay: of kernels, not of biases; None keeps the optimizer's default.
        params: the network's parameters; one update is traced with their shapes.
        functions: whether the training step offers functions of the parameters, which it cannot across devices.
        clip_norm: norm to which longer gradients are scaled down first, that of the penalty included.
        plateau_steps: steps whose mean loss `schedules.reduce_on_plateau` watches; None leaves it out.
        groups: pattern of paths and factor on the learning rate, see `groups.parse`.

    Raises:
        ValueError: if a training step cannot serve the optimizer, or a pattern matches no parameter.
    """
    factors = groups_of.factors_of(groups, params)
    factory, named = names.optimizer(name), names.parse_optimizer(name)
    options, penalty, arguments = inspect.signature(factory).parameters, None, dict[str, Any]()
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
        found = groups_of.per_group(factory, learning_rate, arguments, factors, params)
        found = groups_of.clipped(found, clip_norm, factors)
        if plateau_steps is not None:
            found = optimizers.chain(found, schedules.reduce_on_plateau(patience=5, accumulation_size=plateau_steps))
        _, state = jax.eval_shape(functools.partial(tasks.try_update, found, functions=functions), params)
    except (AttributeError, TypeError, ValueError) as error:
        kind = "number" if not callable(learning_rate) else "schedule of learning rates (--schedule constant: a number)"
        raise ValueError(
            f"optimizer={name!r} does not work here: {error}; it is called with a {kind}, and its update with "
            "(grads, state, params) and what optimizers.update offers"
            + ("" if functions else "; functions of the loss are for one device or --strategy jit")
        ) from error
    tasks.warn_of_slow_schedule(name, state if callable(learning_rate) else None)
    return found, penalty


def plateau_scale(opt_state: Any) -> float:
    """Return the factor on the learning rate that `schedules.reduce_on_plateau` has reached."""
    is_plateau = lambda node: isinstance(node, ReduceLROnPlateauState)
    found = [node for node in jax.tree.leaves(opt_state, is_leaf=is_plateau) if is_plateau(node)]
    return float(np.prod([np.asarray(node.scale) for node in found[-1:]]))


def updates_made(opt_state: Any, steps: int) -> int:
    """Return how often the optimizer has stepped, as its schedule counts, in so many steps that were given to it.

    One that accumulates steps less often, and one of `training.loss_scaled` skips what is not finite.
    """
    found = found_in(opt_state, MultiStepsState)
    return int(np.asarray(found[0].gradient_step)) if found else steps - overflows(opt_state)


def overflows(opt_state: Any) -> int:
    """Return the number of steps that `training.loss_scaled` has skipped."""
    return sum(int(np.asarray(node.skipped)) for node in found_in(opt_state, LossScaleState))


def class_weights(given: Sequence[str], labels: np.ndarray, classes: int) -> np.ndarray | None:
    """Return the weights of the classes, float32 (classes,); None for none.

    Args:
        given: a number per class, or "balanced".
        labels: those of the training part.
        classes: the number of classes.

    Raises:
        ValueError: if there is not one number per class.
    """
    if not given:
        return None
    if tuple(given) == ("balanced",):
        counts = np.bincount(labels, minlength=classes)
        present = np.count_nonzero(counts)
        return np.where(counts > 0, len(labels) / (present * np.maximum(counts, 1)), 0).astype(np.float32)
    if len(given) != classes:
        raise ValueError(f"class_weights={tuple(given)} is not allowed: it must be {classes} numbers, one per class")
    return np.array([float(one) for one in given], np.float32)


def _is_penalty(named: names.Named) -> bool:
    """Return whether a jaxdl optimizer has weight_decay in PyTorch's convention only, where it is an L2 penalty."""
    defaults = TABLE.get(named.short, {}).get("optax", {})
    return named.name == f"jaxdl.{named.short}" and "weight_decay" not in defaults


def augment(names: Sequence[str], scale: float) -> augmentation.Augmentation | None:
    """Return ``(key, raw image) -> image in [0, 1]``, which applies the augmentations in order; None for "none".

    Args:
        names: any of `config.Augment`, which the help of `experiments.train_cnn` describes.
        scale: the raw pixel value that stands for 1.0.
    """
    if tuple(names) == ("none",):
        return None

    def apply(key: jax.Array, image: jax.Array) -> jax.Array:
        side = min(image.shape[:2])
        known = {
            "flip": augmentation.flip,
            "vertical_flip": augmentation.vertical_flip,
            "crop": functools.partial(augmentation.crop, padding=max(1, side // 8)),
            "resized_crop": augmentation.random_resized_crop,
            "scale": augmentation.scale,
            "color": augmentation.compose(augmentation.brightness, augmentation.contrast, augmentation.saturation),
            "hue": augmentation.hue,
            "rand_augment": augmentation.rand_augment,
            "drop_pixels": augmentation.drop_pixels,
            "shift": functools.partial(augmentation.translate, max_shift=max(1, side // 10)),
            "rotate": functools.partial(augmentation.rotate, max_degrees=10.0),
            "cutout": functools.partial(augmentation.cutout, size=max(1, side // 4)),
            "noise": functools.partial(augmentation.noise, stddev=0.05),
        }
        return augmentation.compose(*(known[name] for name in names))(key, data.to_unit(image, scale))

    return apply
