"""Train a network on images, with one optimizer or several side by side.

    python -m experiments.train_cnn                     # scikit-learn's digits, jaxdl's Adam beside optax's
    python -m experiments.train_cnn --dataset mnist --model lenet5 --optimizer jaxdl.adam --epochs 8 --schedule cosine

Several optimizers start from the same parameters, see the same batches in the same order and take turns, an epoch at a
time. If the first two are twins (jaxdl.NAME and optax.NAME), a third run measures the noise floor: it repeats the
second optimizer after moving one leaf of its initial parameters by one ulp. Of others, the report says which is better.
An optimizer that diverges ends by itself; the others go on.

On digits both reach 98.6 to 99.4 % test accuracy, by processor, within a minute on 2 CPU cores.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from experiments.train_cnn import ahead, hooks, memory, records, setup
from experiments.train_cnn.config import Config, resolve
from experiments.train_cnn.hooks import Profiler, SaveBudget
from experiments.train_cnn.outcome import finish, write_outcome
from experiments.train_cnn.trainer import Trainer
from jaxdl import runs
from jaxdl.runs import commandline, processes
from jaxdl.runs.folder import note_command


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line, connect with other processes if it says so, run, and return the exit code."""
    config = commandline.parse(Config, argv, description=__doc__, prog="python -m experiments.train_cnn")
    commandline.use_compilation_cache()
    place = (config.coordinator, config.processes, config.process)
    with debugging(config.debug_nans), processes.grouped(*place, heartbeat_seconds=config.heartbeat) as group:
        return start(config, argv, group)


def start(config: Config, argv: Sequence[str] | None, group: processes.ProcessGroup) -> int:
    """Begin or resume a run, or look ahead, and return the exit code."""
    with commandline.naming_config(config):
        config = resolve(config)
    group.check_same("options", dataclasses.replace(config, process=None, data_dir=None))
    if config.dry_run or config.find_lr:
        return look_ahead(config, group)
    train_all = functools.partial(run if config.seeds == 1 else run_seeds, group=group)
    if config.resume is not None:
        if (config.resume / records.SUMMARY).exists():
            done = commandline.load_config(Config, config.resume).epochs
            again = "its report is made again" if done == config.epochs else f"{config.epochs} epochs extend its {done}"
            print(f"{config.resume} has finished; {again}", flush=True)
        return train_all(config, runs.open_folder(config.resume), argv, resume=True)
    out = config.out
    folder = Path(
        group.told(lambda: str(runs.create_dated(Path("runs") / "train_cnn") if out is None else runs.create(out)))
    )
    try:
        return train_all(config, folder, argv)
    finally:
        # a mistake was found before anything was written
        if group.leads and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


@contextlib.contextmanager
def debugging(nans: bool) -> Iterator[None]:
    """Let JAX look for NaN in every result, for ``--debug-nans``."""
    before = jax.config.jax_debug_nans  # pyright: ignore[reportAttributeAccessIssue]
    jax.config.update("jax_debug_nans", nans or before)
    try:
        yield
    finally:
        jax.config.update("jax_debug_nans", before)


def look_ahead(config: Config, group: processes.ProcessGroup) -> int:
    """Serve ``--dry-run`` and ``--find-lr``, which write nothing, and return the exit code."""
    shared, starts = memory.fitted(setup.prepare(config), print)
    if config.find_lr:
        with memory.explained(shared, starts[0]):
            ahead.show_rates(shared, print)
    else:
        ahead.show_plan(shared, starts, print, group)
    return 0


def run_seeds(
    config: Config, folder: Path, argv: Sequence[str] | None = None, *, group: processes.ProcessGroup,
    resume: bool = False,
) -> int:  # fmt: skip
    """Run once for each seed that has not finished, report, and return the exit code."""
    with runs.lock(folder, new=not resume) if group.leads else contextlib.nullcontext():
        if not resume:  # a mistake shows up before anything is written, and all seeds have the same microbatches
            config = memory.fitted(setup.prepare(config), print)[0].config
            if group.leads:
                commandline.save_config(folder, config)
        for seed in range(config.seed, config.seed + config.seeds):
            own = folder / f"seed-{seed}"
            there = ((own / name).exists() for name in (records.SUMMARY, "config.json"))
            done, begun = group.agree(*(int(group.leads and one) for one in there))
            if done:
                continue
            if group.leads:
                own.mkdir(exist_ok=True)
            alone = dataclasses.replace(config, seed=seed, seeds=1, out=None, resume=None, on_oom="stop")
            again = commandline.resuming(folder, config)
            try:
                code = run(alone, own, argv, resume=bool(begun), again=again, group=group)
            except runs.Diverged as error:  # of all optimizers
                print(f"seed {seed}: {error}")
                continue
            if code:
                return code
        if group.leads:
            from experiments.train_cnn import seeds  # imports matplotlib

            print(f"report: {seeds.write(folder)}")
    return 0


def run(
    config: Config,
    folder: Path,
    argv: Sequence[str] | None = None,
    *,
    resume: bool = False,
    again: str | None = None,
    group: processes.ProcessGroup | None = None,
) -> int:
    """Train, evaluate and report into ``folder``, and return the exit code.

    Args:
        config: the resolved options.
        folder: the run folder.
        argv: the arguments of the command line, for the manifest.
        resume: whether the folder holds a run that began earlier.
        again: the arguments that resume the whole command, for the message after a signal; those of this folder by
            default.
        group: the processes of the run, of which the leader alone writes.
    """
    group = processes.ProcessGroup() if group is None else group
    with commandline.naming_config(config):
        shared, starts = memory.fitted(setup.prepare(config), print, new=not resume)
        config = shared.config  # whose batch size suits the data, and whose microbatches the memory
    group.check_same("data", shared.dataset.checksums)
    # nothing is written before this line, so a user's mistake leaves no files; config.json comes first and is enough to
    # resume from, so a process killed at any moment leaves no run or one that can be resumed
    with runs.lock(folder, new=not resume) if group.leads else contextlib.nullcontext():
        table, moved = runs.UnwrittenTable(records.Measurement), ""
        if group.leads:
            table, moved = write_first(config, folder, shared, argv, resume=resume)
        with runs.RunProgress(shared.steps) as progress, runs.catch_stop() as asked:
            request = asked if group.alone else runs.StopRequest()
            seen: dict[str, Any] = {"group": group, "asked": asked, "say": progress.line}
            trainers, layers = make_trainers(shared, starts, folder, table, request, progress.row, seen)
            progress.line(first_line(shared, group.count))
            if resume:
                progress.line(f"resuming {folder}{moved}")
                restore(trainers, table, layers, progress.line)
            train(trainers, config.epochs, progress.line)
            if request.signal:
                with_this = again or commandline.resuming(folder, config)
                progress.line(f"{request.signal.name}: saved at step {save(trainers)}; resume with {with_this}")
                return request.exit_code
        shared.close()
        records.arrange(table, [trainer.name for trainer in trainers])
        outcomes = [finish(trainer, folder) for trainer in trainers]
        summary = write_outcome(folder, shared, outcomes) if group.leads else None
    show(progress, folder, summary)
    check_ends(trainers)
    return 0


def check_ends(trainers: Sequence[Trainer]) -> None:
    """Raise Diverged if all optimizers have diverged, but for the one that measures the noise floor."""
    ended = [trainer.diverged for trainer in trainers if not trainer.name.endswith(setup.ONE_ULP)]
    if ended[0] is not None and None not in ended:
        raise runs.Diverged(trainers[0].name, ended[0].step, ended[0].why)


def show(progress: runs.RunProgress, folder: Path, summary: records.RunSummary | None) -> None:
    """Write the report, and print the final table and where the report is; not in a process that does not lead."""
    if summary is None:
        return
    from experiments.train_cnn import report  # matplotlib takes a second to import, which would delay --help

    page = report.write(folder)
    progress.table(summary)
    progress.line(f"report: {page}")


def logged(log: Callable[[Any], None], show: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    """Return a function of a trainer and its row that shows and logs the row."""

    def on_row(trainer: Trainer, row: records.Measurement) -> None:
        show(trainer, row)
        log(row)

    return on_row


def make_trainers(
    shared: setup.Setup,
    starts: Sequence[setup.Start],
    folder: Path,
    table: runs.Table,
    request: runs.StopRequest,
    show: Callable[[Any, Any], None],
    more: Mapping[str, Any],
) -> tuple[list[Trainer], runs.Table | None]:
    """Return a trainer per start, and the table of --log-layers; ``more`` are arguments of each trainer."""
    config, budget, leads = shared.config, SaveBudget(), more["group"].leads
    layers = runs.Table(folder / records.LAYERS, records.LayerMeasurement) if config.log_layers and leads else None
    profiler = Profiler(folder / "profile", config.profile) if config.profile and leads else None
    shared_by_all: dict[str, Any] = {
        "budget": budget,
        "layers": layers,
        "on_row": logged(hooks.to_all(config.log if leads else (), folder), show),
        **more,
    }
    trainers = [
        Trainer(shared, start, folder, table, request, profiler=None if i else profiler, **shared_by_all)
        for i, start in enumerate(starts)
    ]
    return trainers, layers


def restore(
    trainers: Sequence[Trainer], table: runs.Table, layers: runs.Table | None, line: Callable[[str], None]
) -> None:
    """Continue from the newest checkpoints, and drop the rows that came after them."""
    for trainer in trainers:
        trainer.resume(report=line)
    records.keep_first(table, {trainer.name: trainer.rows for trainer in trainers})
    if layers is not None:
        records.keep_until(layers, {trainer.name: trainer.step for trainer in trainers})


def save(trainers: Sequence[Trainer]) -> list[int]:
    """Write the checkpoints that are due once training stops, and return the step of each."""
    for trainer in trainers:
        try:
            trainer.save_unsaved()
        except runs.Diverged as error:  # a parameter is not finite, which no loss has shown yet
            trainer.give_up(error)
    return [trainer.step for trainer in trainers]


def train(trainers: Sequence[Trainer], epochs: int, line: Callable[[str], None]) -> None:
    """Train all epochs in turns. An optimizer that diverges is left out from then on, with a ``line``."""
    compiled = []
    for epoch in range(epochs):
        for trainer in trainers:
            if epoch >= trainer.epoch and not trainer.finished and trainer.start.step not in compiled:
                compiled.append(trainer.start.step)
                line(f"{trainer.name}: compiling")
            try:
                with memory.explained(trainer.setup, trainer.start):
                    trainer.train_epoch(epoch)
            except runs.Diverged as error:
                trainer.give_up(error)
                line(f"diverged: {error}")


def write_first(
    config: Config, folder: Path, shared: setup.Setup, argv: Sequence[str] | None, *, resume: bool
) -> tuple[runs.Table[records.Measurement], str]:
    """Write config.json and what describes the run, and return metrics.csv and a phrase on a move to other devices."""
    moved = keep_config(config, folder, argv, resume=resume)
    setup.describe(folder, shared, argv)
    return runs.Table(folder / records.METRICS, records.Measurement), moved


def keep_config(config: Config, folder: Path, argv: Sequence[str] | None, *, resume: bool) -> str:
    """Write config.json if the run is new, extended or moved to other devices, and return a phrase on the latter."""
    before = commandline.load_config(Config, folder) if resume else None
    extended = before is not None and before.epochs < config.epochs
    moved = before is not None and (before.devices, before.strategy) != (config.devices, config.strategy)
    moved = moved and (extended or not (folder / records.SUMMARY).exists())
    if before is None or extended or moved:
        commandline.save_config(folder, config)
        (folder / records.SUMMARY).unlink(missing_ok=True)  # a run that is extended has not finished
        note_command(folder, argv)
    if before is None or not moved:
        return ""
    there, here = (f"{one.devices} by {one.strategy}" for one in (before, config))
    return f" on other devices ({there} before, {here} now): the same numbers up to the rounding of sums"


def first_line(shared: setup.Setup, processes: int) -> str:
    """Return the first line of the log: where the data are, and on which devices it trains."""
    config = shared.config
    said = f"data set {shared.place}, {shared.steps_per_call} steps per call"
    if config.devices > 1:
        by = f" of {processes} processes" if processes > 1 else ""
        said += f", {config.devices} devices{by} by {config.strategy}"
    if config.devices > 1 and config.strategy != "jit":
        said += "; each device draws its own dropout masks, other ones than with another number of devices"
    return said
