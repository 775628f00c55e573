"""Sweeps as one program or as a loop: the measurements behind `studies.sweep.choose_method`.

    python -m benchmarks.sweeps [--data-dir DIR] [--problems NAME ...]

Per problem: seconds of some steps of some members of Adam under "vmap" and under "loop", without compiling,
alternating, the median of 3 (of nets with convolutions: of 1); and the seconds that compiling took. With
JAXDL_ONEDNN=off convolutions are XLA's and those of matrix products.

    python -m benchmarks.sweeps --costs [--problems NAME ...]

measures CPU seconds of one run of Adam on every named problem, and writes them into the guide on comparing optimizers;
rows that are there and not asked for stay. A run that would take longer than `LIMIT` is measured for as many steps as
fit, and scaled up to its own number of steps and evaluations.
"""

import argparse
import os
import re
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import optimizers
from jaxdl.disk import write_whole
from jaxdl.kernels import native
from jaxdl.runs import names
from jaxdl.studies import sweep
from jaxdl.studies.problems import evaluation_steps

# members, steps, repetitions
SIZES = {
    "quadratic_deep": (10, 100, 3),
    "digits_softmax": (10, 100, 3),
    "digits_mlp": (10, 100, 3),
    "mnist_mlp": (10, 4, 3),
    "fashion_mnist_2c2d": (3, 2, 1),
    "cifar10_3c3d": (3, 2, 1),
    "cifar10_resnet20": (3, 2, 1),
}

LIMIT, FEWEST = 5.0, 3  # CPU seconds of measured steps, and steps of a loop that are measured at least
GUIDE = Path(__file__).parents[1] / "docs" / "guides" / "compare_optimizers.md"
START, END = "<!-- python -m benchmarks.sweeps --costs -->", "<!-- end -->"
HEADER = "| problem | parameters | batch | steps | steps measured | compiling (CPU s) | a run (CPU s) |"


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, help="folder of the data sets' files")
    parser.add_argument("--problems", nargs="*", choices=[*names.PROBLEMS])
    parser.add_argument("--costs", action="store_true", help="CPU seconds of a run of Adam on every named problem")
    arguments = parser.parse_args()
    if arguments.costs:
        for name in arguments.problems or names.PROBLEMS:
            print(line := cost(name, arguments.data_dir), flush=True)
            write(name, line)
        return
    if unknown := {*(arguments.problems or ())} - {*SIZES}:
        parser.error(f"without --costs, there are sizes of {', '.join(SIZES)} alone, not of {', '.join(unknown)}")
    print(f"jax {jax.__version__}, {jax.devices()[0].device_kind}")
    print("| problem | members x steps | vmap (s) | loop (s) | loop / vmap | compiling (s) | chosen |")
    print("|---|---|---|---|---|---|---|")
    for name in arguments.problems or SIZES:
        print(row(name, arguments.data_dir), flush=True)


def row(name: str, data_dir: Path | None) -> str:
    """Measure a problem."""
    count, steps, repeats = SIZES[name]
    members = [sweep.Member(1e-4 * 2**i, i) for i in range(count)]
    problem = small_test(names.problem(name, data_dir))._replace(evaluate_every=steps)
    sweeps = {
        method: sweep.Sweep(
            sweep.place(problem, method=method), optimizers.adam, width=count if method == "vmap" else 1
        )
        for method in sweep.METHODS
    }
    compiling = [max(trace.compile_seconds for trace in one.run(members, steps)) for one in sweeps.values()]
    taken: dict[str, list[float]] = {method: [] for method in sweep.METHODS}
    for _ in range(repeats):
        for method, one in sweeps.items():
            taken[method].append(sum(trace.seconds for trace in one.run(members, steps)))
    vmap, loop = (statistics.median(taken[method]) for method in sweep.METHODS)
    compiled = ", ".join(f"{seconds:.1f}" for seconds in compiling)
    chosen = sweep.choose_method(problem).name
    title = name if native.available() else f"{name}, no oneDNN"
    return f"| {title} | {count} x {steps} | {vmap:.3f} | {loop:.3f} | {loop / vmap:.2f} | {compiled} | {chosen} |"


def small_test(problem: Any) -> Any:
    """Return the problem with at most 100 test images, since evaluation is not measured but would dominate."""
    few = {key: problem.data[key][:100] for key in ("test_images", "test_labels") if key in problem.data}
    return problem._replace(data={**problem.data, **few})


def cost(name: str, data_dir: Path | None) -> str:
    """Measure one run of Adam on a problem; return its row."""
    problem = names.problem(name, data_dir)
    method = sweep.choose_method(problem).name
    placed = sweep.place(problem, method=method)
    seed = np.zeros(1 if method == "vmap" else (), np.uint32)
    params, state = placed.start(seed)
    unit = min(problem.evaluate_every if method == "vmap" else FEWEST, problem.steps)  # one program advances so many
    unjudged = placed._replace(evaluate=lambda params, state, data: {"value": jnp.zeros(seed.shape)})
    runs = sweep.Sweep(unjudged, optimizers.adam)
    evaluate = lambda: jax.block_until_ready(placed.evaluate(params, state, placed.data))
    advance = lambda steps: runs.run([sweep.Member(1e-4, 0)], steps)
    firsts = [cpu_seconds(evaluate), cpu_seconds(lambda: advance(unit))]  # compile
    judging, some = cpu_seconds(evaluate), cpu_seconds(lambda: advance(unit))
    compiling = max(sum(firsts) - judging - some, 0)
    count = min(problem.steps, max(1, int(LIMIT * unit / some) // unit) * unit)
    step = (some if count == unit else cpu_seconds(lambda: advance(count))) / count
    whole = step * problem.steps + judging * (1 + len(evaluation_steps(problem, problem.steps)))
    size = sum(leaf.size for leaf in jax.tree.leaves(params))
    return (
        f"| {name} | {size:,} | {problem.batch_size} | {problem.steps:,} | {count:,} | "
        f"{rounded(compiling)} | {rounded(whole)} |"
    )


def rounded(seconds: float) -> str:
    """Write two digits of a number."""
    return f"{float(f'{seconds:.2g}'):,g}"


def cpu_seconds(function: Callable[[], Any]) -> float:
    """Return the CPU seconds of all threads that a call takes."""
    began = time.process_time()
    function()
    return time.process_time() - began


def write(name: str, line: str) -> None:
    """Put a row into the guide's table."""
    before, rest = GUIDE.read_text().split(START)
    inside, after = rest.split(END)
    rows = {found[1]: found[0] for found in re.finditer(r"^\| (\w+) \|.*$", inside, re.M) if found[1] != "problem"}
    rows[name] = line
    said = (
        f"CPU seconds of one run of Adam at the problem's own length, with jax {jax.__version__} on "
        f"{os.cpu_count()} cores; other work of the machine inflates them; longer runs are scaled up from the steps "
        "that were measured. A study makes seeds × 2 and points × tuning seeds of them for each optimizer."
    )
    table = "\n".join([HEADER, "|---|" + "---:|" * 6, *(rows[one] for one in names.PROBLEMS if one in rows)])
    write_whole(GUIDE, f"{before}{START}\n\n{said}\n\n{table}\n\n{END}{after}")


if __name__ == "__main__":
    main()
