"""From the choices of a command line to functions: schedules, augmentations, optimizers with weight decay."""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import jax
import optax

from jaxdl import data, regularizers, schedules
from jaxdl.data import augmentation
from jaxdl.runs import names, trials

COUPLED = {"jaxdl.adam"}  # its weight_decay is that of PyTorch's convention alone: the same penalty as below
Penalty = Callable[[Any], Any]  # params -> a scalar added to the loss


def schedule(name: str, peak: float, *, steps: int, warmup: int, epoch_steps: int) -> optax.Schedule | float:
    """``step -> learning rate`` over a run of ``steps``; a plain number where it never changes.

    Args:
        name: constant, cosine, one_cycle, step or inverse_sqrt, as `experiments.train_cnn` describes them.
        peak: the highest learning rate.
        steps: of the whole run.
        warmup: steps of linear warm-up.
        epoch_steps: of one epoch.
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
    """An optimizer that is known to work, and the penalty that stands for weight decay where it has none of its own.

    Args:
        name: see `names.optimizer`.
        learning_rate: a number, or a schedule.
        weight_decay: None leaves the optimizer's own default; else it holds for kernels, not for biases.
        params: of the network; one update is traced with their shapes.
        functions: whether the training step offers functions of the parameters, as it does without an axis of devices.

    Raises:
        ValueError: if the optimizer does not take what a training step offers.
    """
    factory, named = names.optimizer(name), names.parse_optimizer(name)
    options, penalty = inspect.signature(factory).parameters, None
    arguments: dict[str, Any] = {}
    if weight_decay is not None and "weight_decay" in named.keywords:
        raise ValueError(f"weight_decay={weight_decay} is not allowed: optimizer={name!r} sets it already")
    if weight_decay is not None and "weight_decay" in options and named.name not in COUPLED:
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
    except (TypeError, ValueError) as error:
        kind = "number" if not callable(learning_rate) else "schedule of learning rates (--schedule constant: a number)"
        raise ValueError(
            f"optimizer={name!r} does not work here: {error}; it is called with a {kind}, and its update with "
            "(grads, state, params) and what optimizers.update offers"
            + ("" if functions else "; functions of the loss are for one device or --strategy jit")
        ) from error
    return found, penalty


def augment(names: Sequence[str], scale: float) -> augmentation.Augmentation | None:
    """``(key, raw image) -> image in [0, 1]`` that applies the named changes in order; None for "none".

    Args:
        names: of flip, shift, rotate, cutout, noise, as `experiments.train_cnn` describes them.
        scale: the raw pixel value that means 1.0.
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
