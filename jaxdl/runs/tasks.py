"""What a network is trained for: the task that its outputs stand for, and a trial of its loss and optimizer.

The task is classes, labels of which an image may have several, or numbers. The trials are abstract evaluations, before
a run writes anything.
"""

import textwrap
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from jaxdl import activations, losses, nn, optimizers, training
from jaxdl.optimizers.demands import found_in
from jaxdl.optimizers.states import MultiStepsState
from jaxdl.runs.names import loss

Task = Literal["classes", "labels", "numbers"]
OF_LABELS: Final = (losses.sigmoid_binary_cross_entropy, losses.sigmoid_focal)
OF_NUMBERS: Final = (
    losses.squared_error, losses.half_squared_error, losses.absolute_error, losses.huber, losses.log_cosh
)  # fmt: skip
ACTIVATIONS: Final[dict[Task, Callable[[Any], Any]]] = {
    "classes": activations.softmax,
    "labels": activations.sigmoid,
    "numbers": lambda outputs: outputs,
}


def task(config: Mapping[str, Any]) -> Task:
    """Return the task of a run from its options: those named targets and loss decide.

    A loss of the user's own is taken for one of numbers.

    Examples:
        >>> runs.task({"loss": "softmax_cross_entropy"}), runs.task({"loss": "huber", "targets": "prices.csv"})
        ('classes', 'numbers')
    """
    if not config.get("targets"):
        return "classes"
    return "labels" if _plain(str(config.get("loss"))) in OF_LABELS else "numbers"


def takes_targets(name: str) -> bool:
    """Return whether a loss, by its name, takes targets: those listed here, and the user's own."""
    return ":" in name.partition("(")[0] or _plain(name) in (*OF_LABELS, *OF_NUMBERS)


def _plain(name: str) -> Any:
    """Return the function that a name stands for, without its keywords."""
    if ":" in name.partition("(")[0]:
        return None  # need not be imported
    found: Any = loss(name)
    return getattr(found, "func", found)


def check_loss(name: str, model: str, layer: nn.Layer, in_shape: Sequence[int], *, targets: int = 0) -> None:
    """Raise ValueError unless the loss maps the network's outputs to one number per example; only shapes are evaluated.

    For targets, it may give one number per target, which the training step averages.

    Args:
        name: the loss, as on the command line.
        model: name of the network for the message.
        layer: the network, which may return more in training than in evaluation.
        in_shape: shape of one image.
        targets: number of real targets per image; 0 for a class.

    Examples:
        One number per example is what a class needs, not one per output:

        >>> net = runs.model("mlp", 10)
        >>> runs.check_loss("softmax_cross_entropy", "mlp", net, (64,))
        >>> try:
        ...     runs.check_loss("huber", "mlp", net, (64,))
        ... except ValueError as error:
        ...     print(str(error).partition(":")[0])
        loss='huber' does not take what model='mlp' returns in evaluation, an array
    """
    key, function = jax.random.key(0), loss(name)
    images = jax.ShapeDtypeStruct((2, *in_shape), "float32")
    labels = jax.ShapeDtypeStruct((2, targets), "float32") if targets else jax.ShapeDtypeStruct((2,), "int32")
    for train in (False, True):
        outputs = jax.eval_shape(
            lambda x, train=train: layer.apply(*layer.init(key, tuple(in_shape)), x, train=train, key=key)[0], images
        )
        try:
            shape = jax.eval_shape(lambda y, labels: training.per_example(function, y, labels), outputs, labels).shape
        except (AttributeError, TypeError, ValueError) as error:
            what = "an array" if isinstance(outputs, jax.ShapeDtypeStruct) else f"a {type(outputs).__name__}"
            when = f"in {'training' if train else 'evaluation'}, {what}"
            why = textwrap.shorten(str(error), 200, placeholder=" ...")
            raise ValueError(f"loss={name!r} does not take what model={model!r} returns {when}: {why}") from error
        if shape not in ((2,), labels.shape):
            raise ValueError(f"loss={name!r} must give one number per example; for 2 examples it gives shape {shape}")


def try_update(optimizer: optax.GradientTransformation, params: Any, *, functions: bool, halves: bool = True) -> Any:
    """Update once with everything that a loop offers an optimizer, on a stand-in loss; meant for `jax.eval_shape`.

    Args:
        optimizer: the optimizer to try.
        params: the network's parameters.
        functions: whether the loop offers functions of the parameters.
        halves: whether it also offers the network and the loss of its outputs separately, as a training step does.

    Raises:
        ValueError: see `optimizers.update`.

    Examples:
        >>> params = {"w": jnp.ones(2)}
        >>> new_params, state = jax.eval_shape(lambda: runs.try_update(optax.sgd(0.1), params, functions=False))
        >>> new_params
        {'w': ShapeDtypeStruct(shape=(2,), dtype=float32)}
    """

    def total(tree):
        return sum((jnp.sum(leaf, dtype=jnp.float32) for leaf in jax.tree.leaves(tree)), jnp.float32(0))

    offered: dict[str, Any] = {"value": total(params), "grad_fn": lambda params, i=None: params}
    if functions:
        offered |= {"value_fn": total}
    if functions and halves:
        offered |= {"model_fn": lambda p: ravel_pytree(p)[0][None], "loss_fn": total}
    carried = optimizers.start_params(optimizer, params)
    return optimizers.update(optimizer, params, optimizer.init(carried), carried, **offered)


def warn_of_slow_schedule(name: str, opt_state: Any) -> None:
    """Warn of an optimizer that steps once for several batches, under a schedule that is made for the run's steps.

    Args:
        name: the optimizer, as on the command line.
        opt_state: its state, or the shapes of it; None if the rate is constant.
    """
    if found_in(opt_state, MultiStepsState):
        warnings.warn(
            f"optimizer={name!r} steps once for several batches, and a schedule counts those steps: warm-up and decay "
            "take as many times longer, and the run ends before them. A constant rate is right",
            RuntimeWarning,
            stacklevel=2,
        )
