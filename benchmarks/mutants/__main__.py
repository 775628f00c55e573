"""Does the gradient checker find wrong gradients? Mechanical mutants, one changed operator each.

    python -m benchmarks.mutants [--out benchmarks/mutants.md] [--only NAME] [--sample N]

A mutant is one module of `jaxdl.backprop`, or of the `jaxdl.kernels` that it is made of, in which one place is changed,
by rules that know nothing of its meaning:

* sign: + and − exchanged, a minus left out;
* factor: * and / exchanged, one operand left out, a number doubled;
* index: an int in a subscript, a range or a padding moved by one;
* axis: an axis moved by one, `keepdims` or a transposition left out, a mean for a sum;
* branch: a comparison turned (≥ for >, ≠ for ==), the two branches of a `where` exchanged.

Only lines that a backward pass runs through are changed; checks of Python arguments, docstrings, defaults and
annotations are left alone. Each mutant runs on the examples in `benchmarks.backprop_examples` that reach the changed
line, and is killed by the first that fails:

* gradient: `check_grad` on forward and backward finds that they do not belong together, or the mutant raises;
* oracle: they do, but values or gradients are not those of the namesake under `jax.vjp`; at ties too.

A survivor needs a line in `EXPLAINED`; without one the run fails.
"""

import argparse
import collections
import pathlib
import random
import sys
import time

import jax

from benchmarks.mutants.explained import EXPLAINED
from benchmarks.mutants.making import KINDS, Mutant
from benchmarks.mutants.running import MODULES, backward_mutants, checks, verdict


def main() -> None:
    """Run all mutants and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, help="file for the report; printed otherwise")
    parser.add_argument("--only", help="one module")
    parser.add_argument("--sample", type=int, help="that many mutants, drawn at random")
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
    if missing:
        sys.exit("survivors without an explanation:\n" + "\n".join(missing))


def report(results: list[tuple[Mutant, str]], total: int) -> str:
    """The table of kinds and verdicts, and the survivors with their reasons."""
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
