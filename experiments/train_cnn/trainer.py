"""The training of one optimizer within a run: metrics, checkpoints, early stopping.

A run has a trainer per optimizer. They start from the same parameters, see the same batches in the same order and take
turns, an epoch at a time, so that a machine that slows down slows all of them.
"""

import collections
import contextlib
import itertools
import math
import operator
import pathlib
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from signal import Signals
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from experiments.train_cnn import causes, choices, records
from experiments.train_cnn.hooks import Profiler, SaveBudget, parse_every
from experiments.train_cnn.records import Measurement, Place
from experiments.train_cnn.setup import Setup, Start, keys
from experiments.train_cnn.steps import SKIPPED
from jaxdl import analysis, data, training
from jaxdl.runs import loading
from jaxdl.runs.processes import ProcessGroup
from jaxdl.runs.progress import Clock
from jaxdl.runs.records import Table, decode, write_json
from jaxdl.runs.signals import Diverged, StopRequest


class Trainer:
    """Trains one optimizer, and saves enough to resume after a kill at any moment.

    Args:
        setup: the part of the run that its optimizers share.
        start: this optimizer's step and initial state.
        folder: the run folder.
        table: metrics.csv.
        request: checked after each call of the step; once it is set, training saves and stops.
        budget: the time for checkpoints, which all trainers of a run share.
        on_row: called with (trainer, row) for every row of metrics.csv.
        layers: layers.csv, with ``--log-layers``.
        profiler: with ``--profile``.
        group: the processes of the run, of which the leader alone writes.
        asked: the signal to this process, on which the group agrees in ``request``; by default ``request`` itself.
        say: called with a line for the log.
    """

    def __init__(
        self,
        setup: Setup,
        start: Start,
        folder: pathlib.Path,
        table: Table[Measurement],
        request: StopRequest,
        *,
        budget: SaveBudget | None = None,
        on_row: Callable[["Trainer", Measurement], None] = lambda trainer, row: None,
        layers: Table[records.LayerMeasurement] | None = None,
        profiler: Profiler | None = None,
        group: ProcessGroup | None = None,
        asked: StopRequest | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._layers, self._profiler, self._say = layers, profiler, say
        self.group, self._asked = ProcessGroup() if group is None else group, request if asked is None else asked
        self.setup, self.start, self.name = setup, start, start.label
        self.folder = folder / "checkpoints" / loading.optimizer_folder(start.label)
        self._run, self._table, self._request, self._on_row = folder, table, request, on_row
        self._budget = SaveBudget() if budget is None else budget
        self._every = parse_every(setup.config.checkpoint_every)
        self._saved_at = time.monotonic()
        self.state, self.key = start.step.place(start.state), start.step.place(keys(setup.config)[1])
        patience = setup.config.early_stop
        self.stopping = training.EarlyStopping(patience) if patience else None
        self.step = 0
        self.epoch = 0  # the current epoch, or the next one
        self.batch = 0  # finished batches of that epoch
        self.diverged: loading.Divergence | None = None
        self._saved: tuple[int, int] | None = None  # step and epoch of the last checkpoint
        self.rows = 0  # in metrics.csv; a kill between a row and the next checkpoint leaves more
        self.clock = Clock()
        self._best = self._judged_now() if patience else None  # weights of the epoch with the lowest development loss
        self._window: collections.Counter[str] = collections.Counter()
        self._sizes: collections.deque[int] = collections.deque()  # steps of each dispatched call
        self._pending: list[tuple[int, int, Any]] = []  # last step, number of steps and metrics of each call
        self._last_finite: tuple[int, float] | None = None
        self.skipped = self._said = self._in_a_row = 0  # steps that were not finite: all, in the log, since a good one

    @property
    def finished(self) -> bool:
        """Return whether all epochs are done, early stopping has ended the training, or it has diverged."""
        stopped = self.stopping is not None and self.stopping.stop
        return stopped or self.diverged is not None or self.epoch >= self.setup.config.epochs

    def resume(self, report: Callable[[str], None] = print) -> bool:
        """Restore the newest valid checkpoint, and return False if there is none.

        Corrupt ones after it are deleted, since they would displace valid ones from the few that are kept.

        Raises:
            ValueError: see `training.checkpoints.restore_newest`; also for metadata that no trainer wrote.
        """
        with self.group.leader_first():
            found = self._resume(report)
        self.group.check_same("checkpoints in its run folder", (self.step, self.epoch, self.batch))
        return found

    def _resume(self, report: Callable[[str], None]) -> bool:
        if self.group.leads:
            training.checkpoints.tidy(self.folder)  # a run that had ended saves nothing more
        self.diverged = loading.divergence(self._run, self.name)
        if self.diverged is not None:
            self.step, self.epoch, self.rows = self.diverged.step, self.diverged.epoch, self.diverged.rows
            self.clock.restore(self.diverged.clock)
            return True
        found = training.checkpoints.restore_newest(self.folder, self._tree(), report=report)
        if found is None:
            return False
        place = decode(found.meta, Place, self.folder, "")
        if min(place.step, place.epoch, place.batch, place.rows or 0, place.clock.steps) < 0:
            raise ValueError(f"{self.folder}: the newest checkpoint counts below 0: {place}")
        for step in training.checkpoints.steps(self.folder):
            if step > place.step and self.group.leads:
                shutil.rmtree(self.folder / f"{step:08d}")
        self.state = self.start.step.place(found.tree["state"])
        self._best = None if self._best is None else self.start.step.place(found.tree["best"])
        self.step, self.epoch, self.batch = place.step, place.epoch, place.batch
        self.rows = records.rows_until(self._table, self.name, self.step) if place.rows is None else place.rows
        self.clock.restore(place.clock._asdict())
        self._window = collections.Counter(place.window)
        self._last_finite = place.last_finite
        self.skipped = self._said = place.skipped
        self._saved = (self.step, self.epoch)
        if self.stopping is not None and place.stopping is not None:
            self.stopping = training.EarlyStopping(*place.stopping)
        return True

    def save(self) -> None:
        """Write a checkpoint.

        Raises:
            Diverged: if a parameter, or a loss since the last checkpoint, is not finite; then nothing is written.
        """
        self._drain()
        self.clock.stop()
        if bad := causes.bad_leaves(self.state, ("params",)):
            raise self._diverging(self.step, f"{bad[0]} is not finite after step {self.step}")
        # the last one is not counted, so that a run that is killed after it and resumed reports the same seconds
        counted = contextlib.nullcontext() if self.finished else self.clock.during("checkpoint")
        self.group.rest()
        if self.group.leads:
            with self._budget.spending(), counted:
                self._write()
        self._saved, self._saved_at = (self.step, self.epoch), time.monotonic()

    def _write(self) -> None:
        self._table.sync()  # no checkpoint is ahead of its rows
        if self._layers is not None:
            self._layers.sync()
        meta = {
            "step": self.step,
            "epoch": self.epoch,
            "batch": self.batch,
            "rows": self.rows,
            "skipped": self.skipped,
            "clock": self.clock.to_dict(),
            "window": dict(self._window),
            "last_finite": self._last_finite,
            "stopping": list(self.stopping) if self.stopping else None,
        }
        training.checkpoints.save(self.folder, self.step, self._tree(), meta)

    def save_unsaved(self) -> None:
        """Write a checkpoint if there were steps since the last one."""
        if self.diverged is None and self.step and self._saved != (self.step, self.epoch):
            self.save()

    def give_up(self, error: Diverged) -> None:
        """Record that the training has diverged, which ends it for good, also in a resumed run."""
        self.clock.stop()
        self._table.sync()
        self.step = error.step
        self.diverged = loading.Divergence(error.step, self.epoch, self.rows, self.clock.to_dict(), error.why)
        if self.group.leads:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(self.folder / loading.DIVERGED, self.diverged)

    def _tree(self) -> dict[str, Any]:
        """Return the arrays of a checkpoint; `loading.unfinished` reads the weights to judge from them."""
        params, state = training.eval_variables(self.state)
        own = self.state.average is not None or _is_same(params, self.state.params)
        judged = None if own else {"params": params, "state": state}  # those of schedule-free, lookahead and averages
        return {"state": self.state, "best": self._best, "judged": judged}

    def train_epoch(self, epoch: int) -> None:
        """Train one epoch and evaluate the development set. An epoch that is already finished is skipped.

        If a stop is requested, this saves and returns early.

        Raises:
            Diverged: if a loss is not finite; the message names its step and the last finite loss.
        """
        if self.finished or epoch < self.epoch or self._request.signal:
            return
        if self.step == 0 and self._may_save() and not training.checkpoints.steps(self.folder):
            self.save()
        self.clock.start()
        self.state = training.fit(
            self.start.step.step,
            self.state,
            self._epoch_batches,
            key=self.key,
            epochs=[epoch],
            on_metrics=self._on_metrics,
        )
        jax.block_until_ready(self.state)
        self.clock.stop()
        self.group.rest()
        if self._profiler is not None:
            self._profiler.stop()
        if self._stop_or_save()[0]:
            self.save()
            return
        self._drain()
        if self._window or self.skipped > self._said:
            self._write_train_row()
        self.epoch, self.batch = epoch + 1, 0
        self._end_of_epoch(epoch)
        if self.finished or self._may_save():
            self.save()

    def _may_save(self) -> bool:
        """Return whether a checkpoint is due at the end of an epoch, or does not take too much of the run's time."""
        return bool(self.group.agree(int(self.group.leads and self._is_due()))[0])

    def _is_due(self) -> bool:
        if self._every.epochs:
            return self.epoch % self._every.epochs == 0
        return self._overdue() if self._every.seconds else bool(self._every.steps) or self._budget.allows

    def _overdue(self) -> bool:
        return 0 < self._every.seconds <= time.monotonic() - self._saved_at

    def _stop_or_save(self) -> tuple[bool, bool]:
        """Return whether a signal asked to stop, and whether a checkpoint is overdue."""
        signal, overdue = self.group.agree(self._asked.signal or 0, int(self.group.leads and self._overdue()))
        if signal and not self.group.alone:
            self._request.signal = Signals(signal)
        return signal > 0, overdue > 0

    def _epoch_batches(self, epoch: int) -> Iterator[Any]:
        self._sizes.clear()
        calls = self._calls(self.setup.batches(epoch, self.batch))
        return self.group.marking(training.prefetch(calls, self.start.step.shard))

    def _calls(self, batches: Iterable[Any]) -> Iterator[Any]:
        """Yield the argument of each call of the step. Calls end where a row or a checkpoint is due."""
        step, batches, config = self.step, iter(batches), self.setup.config
        while True:
            due = [every - step % every for every in (config.log_every, self._every.steps) if every]
            together = list(itertools.islice(batches, min(self.setup.steps_per_call, *due)))
            if not together:
                return
            step += len(together)
            self._sizes.append(len(together))
            yield (
                together[0] if self.setup.steps_per_call == 1 else data.stack_rows(together, self.setup.steps_per_call)
            )

    def _on_metrics(self, epoch: int, state: training.TrainState, metrics: Any) -> bool:
        del epoch
        config, steps = self.setup.config, self._sizes.popleft()
        self.clock.count(metrics, steps)
        if self._profiler is not None:
            self._profiler.count(steps, metrics)
        self.step, self.batch, self.state = self.step + steps, self.batch + steps, state
        self._pending.append((self.step, steps, metrics))
        at_row = self.step % config.log_every == 0
        if at_row:
            self.group.rest()
            self._drain()
            self.clock.stop()  # the device is idle, and the first evaluation of the schedule compiles
            self._write_train_row()
            self.clock.start()
        # several processes agree at rows alone, where they wait for the device anyway
        stop, overdue = self._stop_or_save() if at_row or self.group.alone else (False, False)
        if (self._every.steps and self.step % self._every.steps == 0) or overdue:
            self.save()
            self.clock.start()
        return stop

    def _drain(self) -> None:
        """Fetch and check the metrics of all steps since the last call, in order."""
        pending, self._pending = self._pending, []
        fetched = jax.device_get([metrics for _, _, metrics in pending])
        for (last, steps, _), metrics in zip(pending, fetched, strict=True):
            for step in range(steps):
                self._note(last - steps + step + 1, {name: float(np.ravel(v)[step]) for name, v in metrics.items()})

    def _note(self, step: int, sums: dict[str, float]) -> None:
        """Check one step's metrics and add them to the next row."""
        self._in_a_row = self._in_a_row + 1 if sums.pop(SKIPPED, 0) else 0
        if self._in_a_row:
            self.skipped += 1
            if self._in_a_row >= self.setup.steps_per_epoch:
                raise self._diverging(step, f"{self._in_a_row} steps in a row were not finite up to step {step}")
            return
        mean = (sums["loss"] / sums["weight"]) + sums["penalty"]
        if not math.isfinite(mean):
            raise self._diverging(step, f"the loss is {mean} at step {step}")
        self._last_finite = (step, mean)
        self._window.update(sums)

    def _diverging(self, step: int, what: str) -> Diverged:
        last = "no loss was finite before it"
        if self._last_finite is not None:
            last = "the last finite loss was {1:.6g} at step {0}".format(*self._last_finite)
        self._say(f"{self.name}: {what}; looking for the cause")
        self.group.agree(0)  # the leader's last checkpoint is whole now
        why = causes.explain(self.setup, self.start, self.folder, self._tree(), self.key, step)
        return Diverged(self.name, step, f"{what}; {last}{why}")

    def _write_train_row(self) -> None:
        window, self._window = self._window, collections.Counter()
        weight = window["weight"] or math.nan  # all steps may have been skipped
        loss = window["loss"] / weight  # without the penalty, as dev and test losses are
        correct = window.get("correct", math.nan)  # a loss without classes counts no hits
        if self.skipped > self._said:
            self._say(f"{self.name}: skipped {self.skipped} steps that were not finite, up to step {self.step}")
            self._said = self.skipped
        if self._layers is not None:
            found = analysis.watched_layers(jax.device_get(self.state.opt_state)).items()
            self._layers.append(records.LayerMeasurement(self.name, self.step, name, *both) for name, both in found)
        self.append("train", {"loss": loss, "accuracy": correct / weight})

    def _end_of_epoch(self, epoch: int) -> None:
        if not len(self.setup.splits.dev.labels):
            return
        judged = self._judged_now()
        with self.clock.during("evaluation"):
            found, _ = self.setup.evaluate(judged["params"], judged["state"], self.setup.splits.dev)
        self.append("dev", found, epoch=epoch)
        if not math.isfinite(found["loss"]):
            raise self._diverging(self.step, f"the dev loss is {found['loss']} after step {self.step}")
        if self.stopping is not None:
            self.stopping, improved = self.stopping.update(found["loss"], epoch)
            self._best = judged if improved else self._best

    def _judged_now(self) -> dict[str, Any]:
        """Return a copy of the average if there is one, or of the weights that the optimizer evaluates."""
        params, state = training.eval_variables(self.state)
        return _copied({"params": params, "state": state})

    def append(
        self, split: Literal["train", "dev", "test"], found: dict[str, float], *, epoch: int | None = None
    ) -> None:
        """Write a row of metrics.csv at the current step."""
        row = Measurement(
            optimizer=self.name,
            step=self.step,
            epoch=self.epoch if epoch is None else epoch,
            split=split,
            learning_rate=self._rate(),
            seconds=round(self.clock.seconds, 3),
            loss=found["loss"],
            accuracy=found.get("accuracy", math.nan),
        )
        self._table.append([row])
        self.rows += 1
        self._on_row(self, row)

    def _rate(self) -> float:
        made = choices.updates_made(self.state.opt_state, self.step - self.skipped)
        rate = float(np.asarray(self.start.rate_at(max(made - 1, 0))))
        falls = self.setup.config.schedule == "reduce_on_plateau"
        return rate * choices.plateau_scale(self.state.opt_state) if falls else rate

    def chosen(self) -> dict[str, Any]:
        """Return the weights to test: the best on dev or the last ones, or their average."""
        of_average = "" if self.state.average is None else "average, "
        if self.stopping is not None and self._best is not None:
            return {**self._best, "which": f"{of_average}best on dev, epoch {self.stopping.best_epoch + 1}"}
        return {**self._judged_now(), "which": f"{of_average}last"}


def _is_same(one: Any, other: Any) -> bool:
    """Return whether two trees are of the same arrays."""
    leaves, others = jax.tree.leaves(one), jax.tree.leaves(other)
    return len(leaves) == len(others) and all(map(operator.is_, leaves, others))


def _copied(tree: Any) -> Any:
    """Copy all leaves, because the next step is given the buffers of the state."""
    return jax.tree.map(jnp.copy, tree)
