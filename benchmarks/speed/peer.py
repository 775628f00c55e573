"""What every framework gives to be compared."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Peer(NamedTuple):
    """One framework's training step and inference for one net, parameters and batch already inside."""

    step: Callable[..., Any]  # one step of SGD with momentum; waits. JAX's do `step(count)` and return the last loss
    infer: Callable[[], Any]  # logits in evaluation; waits
    first: Callable[[], tuple[float, list[np.ndarray]]]  # loss at the start and its gradients, jaxdl's order and axes
    compile_seconds: float = float("nan")  # of the step
    temporary_bytes: float = float("nan")  # what the compiled step needs beside arguments and results
    flops: float = float("nan")  # as XLA counts the step


class Missing(Exception):
    """A framework that cannot be measured here; says why."""
