"""Train a network on images, with one optimizer or several side by side.

    python -m experiments.train_cnn                     # scikit-learn's digits, jaxdl's Adam beside optax's
    python -m experiments.train_cnn --dataset mnist --model lenet5 --optimizer jaxdl.adam --epochs 8 --schedule cosine

Several optimizers start from the same parameters, see the same batches in the same order and take turns, an epoch at a
time. If the first two are twins (jaxdl.NAME and optax.NAME), a third run measures the noise floor: it repeats the
second optimizer after moving one leaf of its initial parameters by one ulp. Of others, the report says which is better.
An optimizer that diverges ends by itself; the others go on.

On digits both reach 99 % test accuracy within half a minute on 2 CPU cores.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from experiments.train_cnn import records, setup
from experiments.train_cnn.budget import SaveBudget
from experiments.train_cnn.config import Config, resolve
from experiments.train_cnn.outcome import finish, write_outcome
from experiments.train_cnn.trainer import Trainer
from jaxdl import runs
from jaxdl.runs import commandline


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line, run, and return the exit code."""
    config = commandline.parse(Config, argv, description=__doc__, prog="python -m experiments.train_cnn")
    commandline.use_compilation_cache()
    with commandline.naming_config(config):
        config = resolve(config)
    if config.resume is not None:
        return run(config, runs.open_folder(config.resume), argv, resume=True)
    folder = runs.create_dated(Path("runs") / "train_cnn") if config.out is None else runs.create(config.out)
    try:
        return run(config, folder, argv)
    finally:
        if folder.is_dir() and not any(folder.iterdir()):  # a mistake was found before anything was written
            folder.rmdir()


def run(config: Config, folder: Path, argv: Sequence[str] | None = None, *, resume: bool = False) -> int:
    """Train, evaluate and report into ``folder``, and return the exit code."""
    with commandline.naming_config(config):
        shared = setup.prepare(config)
        starts = setup.make_starts(shared)
    # nothing is written before this line, so a user's mistake leaves no files; config.json comes first and is enough to
    # resume from, so a process killed at any moment leaves no run or one that can be resumed
    with runs.lock(folder, new=not resume):
        if not resume:
            commandline.save_config(folder, config)
        setup.describe(folder, shared, argv)
        table = runs.Table(folder / records.METRICS, records.Measurement)
        with runs.RunProgress(shared.steps) as progress, runs.catch_stop() as request:
            budget = SaveBudget()
            trainers = [
                Trainer(shared, start, folder, table, request, budget=budget, on_row=progress.row) for start in starts
            ]
            progress.line(f"data set {shared.place}, {shared.steps_per_call} steps per call")
            if resume:
                progress.line(f"resuming {folder}")
                for trainer in trainers:
                    trainer.resume(report=progress.line)
                records.keep_first(table, {trainer.name: trainer.rows for trainer in trainers})
            train(trainers, config.epochs, progress.line)
            if request.signal:
                again = commandline.resuming(folder, config)
                progress.line(f"{request.signal.name}: saved at step {save(trainers)}; resume with {again}")
                return request.exit_code
        shared.close()
        records.arrange(table, [trainer.name for trainer in trainers])
        outcomes = [finish(trainer, folder) for trainer in trainers]
    summary = write_outcome(folder, shared, outcomes)
    from experiments.train_cnn import report  # matplotlib takes a second to import, which would delay --help

    page = report.write(folder)
    progress.table(summary)
    progress.line(f"report: {page}")
    if None not in [row.diverged_at for row in summary.rows]:
        raise runs.Diverged(summary.rows[0].optimizer, summary.rows[0].steps, summary.rows[0].diverged)
    return 0


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
    for epoch in range(epochs):
        for trainer in trainers:
            try:
                trainer.train_epoch(epoch)
            except runs.Diverged as error:
                trainer.give_up(error)
                line(f"diverged: {error}")
