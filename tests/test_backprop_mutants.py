"""A sample of the mutants of `benchmarks.mutants`: mechanical errors in hand-written gradients are found."""

import ast
import collections
import pathlib
import re

import jax
import pytest

from benchmarks import mutants

PAIRS = ("dense", "half_squared_error", "avg_pool2d")
FUNCTIONS = {f"{name}_backward" for name in PAIRS} | {"_spread", "_add", "_interleave", "bias_cotangent"}


@pytest.mark.slow
def test_every_mutant_of_some_backward_passes_is_killed():
    with jax.enable_x64(True):
        checks = mutants.checks(PAIRS)
        modules = ("affine", "losses", "pooling")
        chosen = [m for module in modules for m in mutants.backward_mutants(module, checks)]
        chosen = [mutant for mutant in chosen if mutant.function in FUNCTIONS]
        assert len(chosen) > 12
        verdicts = {mutant.name: mutants.verdict(mutant, checks) for mutant in chosen}
    alive = {name for name, verdict in verdicts.items() if verdict == "survived"}
    assert alive <= set(mutants.EXPLAINED)
    assert collections.Counter(verdicts.values())["gradient"] > 6


def test_each_mutant_is_one_change():
    changed = list(mutants.mutants("affine"))
    original = ast.dump(ast.parse(mutants._path("affine").read_text()))
    dumps = [ast.dump(mutant.tree) for mutant in changed]
    assert original not in dumps
    assert len({mutant.name for mutant in changed}) == len(changed) > 5
    assert "affine.dense_backward: `kernel.T` → `kernel`" in {mutant.name for mutant in changed}
    assert not any("raise" in mutant.change for mutant in changed)


def test_the_committed_page_lists_what_is_explained_and_nothing_that_is_gone():
    """The whole run takes minutes; that its page is of this code can be read off the names."""
    page = pathlib.Path(mutants.__file__).with_suffix(".md").read_text(encoding="utf-8")
    survivors, by_oracle = (re.findall(r"^\* (.*)$", part, re.M) for part in page.split("\n## ")[1:])
    assert survivors == [f"{name}: {mutants.EXPLAINED[name]}" for name in sorted(mutants.EXPLAINED)]
    there = {mutant.name for module in mutants.MODULES for mutant in mutants.mutants(module)}
    assert {*mutants.EXPLAINED, *by_oracle} <= there
    *_, survived, total = map(int, re.search(r"^\| all \|(.*)\|$", page, re.M)[1].split("|"))
    assert (survived, f"{total} mutants drawn from {total};" in page) == (len(survivors), True)
    assert total >= 100
