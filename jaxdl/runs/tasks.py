"""The meaning of a network's outputs: classes, labels of which an image may have several, or numbers."""

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

from jaxdl import activations, losses
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
