"""Does the gradient checker find wrong gradients? It is tried on mechanical mutants with one changed operator each.

    python -m benchmarks.mutants [--out benchmarks/mutants.md] [--only NAME] [--sample N]

A mutant is one module of `jaxdl.backprop`, or of the `jaxdl.kernels` under it, with one place changed by a rule that
ignores its meaning:

* sign exchanges + and −, or drops a minus;
* factor exchanges * and /, drops one operand, or doubles a number;
* index moves an int in a subscript, a range or a padding by one;
* axis moves an axis by one, drops `keepdims` or a transposition, or takes a mean for a sum;
* branch changes a comparison (≥ for >, ≠ for ==), or exchanges the branches of a `where`.

Only lines that some backward pass executes are changed; checks of Python arguments, docstrings, defaults and
annotations are not. Each mutant runs on the examples in `benchmarks.backprop_examples` that reach the changed line, and
the first failure kills it:

* gradient: `check_grad` finds that forward and backward do not match;
* raises: the mutant raises an exception;
* oracle: forward and backward match, but values or gradients differ from those of the namesake under `jax.vjp`, or the
  rule at a tie does.

A survivor needs an entry in `EXPLAINED`, and every entry must name a mutant; otherwise the run fails.
"""

import argparse
import collections
import pathlib
import random
import sys
import time

import jax

from benchmarks.mutants.explained import EXPLAINED
from benchmarks.mutants.making import KINDS, Mutant, mutants
from benchmarks.mutants.running import MODULES, backward_mutants, checks, verdict


def main() -> None:
    """Run all mutants and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, help="file for the report; printed otherwise")
    parser.add_argument("--only", help="one module")
    parser.add_argument("--sample", type=int, help="number of mutants to draw at random")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_numpy_rank_promotion", "raise")  # as in the tests
    all_checks, started, results = checks(), time.perf_counter(), []
    modules = [options.only] if options.only else MODULES
    population = [mutant for module in modules for mutant in backward_mutants(module, all_checks)]
    total = len(population)
    if options.sample:
        population = random.Random(0).sample(population, options.sample)
    for number, mutant in enumerate(population, start=1):
        results.append((mutant, verdict(mutant, all_checks)))
        if results[-1][1] == "survived":
            print(f"{number}/{len(population)} survived: {mutant.name}", file=sys.stderr, flush=True)
        if number % 40 == 0:
            jax.clear_caches()
            print(f"{number}/{len(population)}, {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    text = report(results, total)
    if options.out:
        options.out.write_text(text)
    else:
        print(text)
    missing = [m.name for m, result in results if result == "survived" and m.name not in EXPLAINED]
    gone = set(EXPLAINED) - {mutant.name for module in MODULES for mutant in mutants(module)}
    if missing or gone:
        lines = ["survivors without an explanation:", *missing, "explanations without a mutant:", *sorted(gone)]
        sys.exit("\n".join(lines))


def report(results: list[tuple[Mutant, str]], total: int) -> str:
    """Return the table of kinds and verdicts, and the survivors with their reasons, as Markdown."""
    verdicts = ("gradient", "raises", "oracle", "survived")
    count = collections.Counter((mutant.kind, result) for mutant, result in results)
    lines = [
        "# Mutants of `jaxdl.backprop`",
        "",
        f"{len(results)} mutants drawn from {total}; jax {jax.__version__}, float64, CPU.",
        "`python -m benchmarks.mutants` wrote this and explains the words.",
        "",
        "| kind | " + " | ".join(verdicts) + " | all |",
        "|---" * (len(verdicts) + 2) + "|",
    ]
    for kind in KINDS:
        numbers = [count[kind, one] for one in verdicts]
        lines.append(f"| {kind} | " + " | ".join(map(str, [*numbers, sum(numbers)])) + " |")
    numbers = [sum(count[kind, one] for kind in KINDS) for one in verdicts]
    lines.append("| all | " + " | ".join(map(str, [*numbers, sum(numbers)])) + " |")
    survivors = sorted({mutant.name for mutant, result in results if result == "survived"})
    lines += ["", "## Survivors", "", *(f"* {name}: {EXPLAINED.get(name, 'unexplained')}" for name in survivors)]
    found = sorted({mutant.name for mutant, one in results if one == "oracle"})
    lines += ["", "## Found by the oracle only", ""]
    lines += [
        "Forward and backward still belong together, but compute something else, or the rule at a tie differs.",
        "",
    ]
    return "\n".join([*lines, *(f"* {name}" for name in found)]) + "\n"


if __name__ == "__main__":
    main()
