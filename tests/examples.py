"""Example arguments for every public function; `tests/test_laws.py` tries its laws on them."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

N = 3  # examples in a batch
RANDOM = np.random.default_rng(5)
BOTH = (0, 1)  # predictions and labels carry the batch


class Example(NamedTuple):
    args: tuple  # arrays or trees of them, floats in float32
    batched: tuple[int, ...] = (0,)  # arguments with the batch as first axis
    options: Mapping[str, Any] = MappingProxyType({})


def normal(*shape):
    return RANDOM.normal(size=shape).astype(np.float32)


def positive(*shape):
    return RANDOM.uniform(0.2, 0.8, size=shape).astype(np.float32)


def one_of(choices, *shape):
    return RANDOM.choice(np.asarray(choices, np.int32), size=shape)


Z = normal(N, 4)
CLASS = one_of([0, 1, 2, 3], N)
IMAGE = normal(N, 5, 6, 4)
