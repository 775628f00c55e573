"""Sweeps as one program or as a loop: the measurements behind `studies.sweep.choose_method`.

    python -m benchmarks.sweeps [--data-dir DIR] [--problems NAME ...]

Per problem: seconds of some steps of some members of Adam under "vmap" and under "loop", without compiling,
alternating, the median of 3 (of nets with convolutions: of 1); and the seconds that compiling took.
"""

import argparse
import statistics
from pathlib import Path
from typing import Any

import jax

from jaxdl import optimizers
from jaxdl.runs import names
from jaxdl.studies import sweep

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


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, help="folder of the data sets' files")
    parser.add_argument("--problems", nargs="*", default=[*SIZES], choices=[*SIZES])
    arguments = parser.parse_args()
    print(f"jax {jax.__version__}, {jax.devices()[0].device_kind}")
    print("| problem | members x steps | vmap (s) | loop (s) | loop / vmap | compiling (s) | chosen |")
    print("|---|---|---|---|---|---|---|")
    for name in arguments.problems:
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
    return f"| {name} | {count} x {steps} | {vmap:.3f} | {loop:.3f} | {loop / vmap:.2f} | {compiled} | {chosen} |"


def small_test(problem: Any) -> Any:
    """Return the problem with at most 100 test images, since evaluation is not measured but would dominate."""
    few = {key: problem.data[key][:100] for key in ("test_images", "test_labels") if key in problem.data}
    return problem._replace(data={**problem.data, **few})


if __name__ == "__main__":
    main()
