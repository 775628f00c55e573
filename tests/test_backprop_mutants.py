"""A sample of `benchmarks.mutants`: the checks find mechanical errors in hand-written gradients."""

import random

import jax
import pytest

from benchmarks.mutants.explained import EXPLAINED
from benchmarks.mutants.running import backward_mutants, checks, verdict

PAIRS = ("dense", "avg_pool2d")
MODULES = ("backprop.affine", "kernels.pooling", "kernels.reading")


@pytest.mark.slow
def test_mutants_of_some_backward_passes_are_killed_or_explained():
    with jax.enable_x64(True):
        examples = checks(PAIRS)
        population = [mutant for module in MODULES for mutant in backward_mutants(module, examples)]
        sample = random.Random(0).sample(population, 6)
        verdicts = {mutant.name: verdict(mutant, examples) for mutant in sample}
    assert {name for name, how in verdicts.items() if how == "survived"} <= set(EXPLAINED)
    assert list(verdicts.values()).count("gradient") >= 2
