"""The interface of a framework in the comparison."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Peer(NamedTuple):
    """Training step and inference of a framework for one net, with parameters and batch bound."""

    step: Callable[..., Any]  # one step of SGD with momentum; waits. JAX's do `step(count)` and return the last loss
    infer: Callable[[], Any]  # logits in evaluation; waits
    first: Callable[[], tuple[float, list[np.ndarray]]]  # loss at the start and its gradients, jaxdl's order and axes
    compile_seconds: float = float("nan")  # of the step
    temporary_bytes: float = float("nan")  # of the compiled step, besides arguments and results
    flops: float = float("nan")  # of the step, counted by XLA
    trains: bool = True  # else `step` and `first` are not called


class Missing(Exception):
    """The framework cannot be measured here; the message says why."""
