"""Adam at 4 rates and 64 seeds on the digits' MLP: 256 members in one program, and one after another.

One after another means two ways: a call per step (`studies.sweep`'s "loop"), and a program of all steps per member. The
target applies to the faster of the two.
"""

from benchmarks.on_gpu.record import Record
from jaxdl import optimizers, studies
from jaxdl.runs import names
from jaxdl.studies.sweep import Member

RATES = (1e-4, 3e-4, 1e-3, 3e-3)
REPEATS = 3


def measure(record: Record, dry_run: bool) -> None:
    """Put a row: seconds per member in each way, and their ratio."""
    count, some, steps = (8, 2, 4) if dry_run else (256, 16, 100)
    members = [Member(rate, seed) for seed in range(count // len(RATES)) for rate in RATES]
    together = seconds_per_member(members, steps, "vmap", count)
    apart = {
        "a call per step": seconds_per_member(members[:some], steps, "loop", 1),
        "a program per member": seconds_per_member(members[:some], steps, "vmap", 1),
    }
    ratio = min(each["seconds"] for each in apart.values()) / together["seconds"]
    record.put(members=count, steps=steps, timed_alone=some, together=together, apart=apart, ratio=ratio)


def seconds_per_member(members: list[Member], steps: int, method: str, width: int) -> dict[str, float]:
    """Run members in groups of a width, and return the least time of a few, without compiling and evaluating."""
    problem = names.problem("digits_mlp")._replace(evaluate_every=steps)
    whole = studies.sweep.Sweep(studies.sweep.place(problem, method=method), optimizers.adam, width=width)
    groups = [members[i : i + width] for i in range(0, len(members), width)]
    compiling = sum(trace.compile_seconds for trace in whole.run(groups[0], steps)) / len(groups[0])
    taken = [sum(trace.seconds for group in groups for trace in whole.run(group, steps)) for _ in range(REPEATS)]
    return {"seconds": min(taken) / len(members), "compile_seconds": compiling}
