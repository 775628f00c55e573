"""One optimizer's training within a run: its metrics, checkpoints, early stopping and clock.

A run with several optimizers has one member each. They start from the same parameters, see the same batches in the
same order and are advanced in turn, an epoch at a time, so that a machine that slows down slows all of them.
"""

import collections
import math
import pathlib
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import numpy as np

from jaxdl import data, training
from jaxdl.runs.metrics import MetricsFile
from jaxdl.runs.signals import StopRequest

Batches = Callable[[int, int], Iterable[data.Batch]]  # (epoch, batches to skip) -> batches


class Diverged(ValueError):
    """Training met a loss or parameters that are not finite."""


class Member:
    """Trains one optimizer and keeps all that is needed to go on after a kill at any moment.

    Args:
        name: the optimizer's, as in metrics.csv.
        folder: of this member's checkpoints.
        parallel: the compiled step.
        state: where to start.
        key: random key of all steps.
        batches: training batches of an epoch after skipping some, a function of its arguments alone.
        measure: ``(params, state) -> {"loss", "accuracy"}`` on the development set.
        learning_rate: the rate at a step, for the metrics.
        peak_learning_rate: the one that was asked for, for the summary.
        metrics: where rows go.
        request: asked after every step whether to save and stop.
        patience: epochs without a lower development loss before stopping; None never stops early.
        log_every: steps per train row.
        checkpoint_every: save also within an epoch, every so many steps; 0 saves at the ends of epochs alone.
        on_row: called with (member, row) for every row of metrics.csv.
    """

    def __init__(
        self,
        name: str,
        folder: pathlib.Path,
        *,
        parallel: training.Parallel,
        state: training.TrainState,
        key: jax.Array,
        batches: Batches,
        measure: Callable[[Any, Any], dict[str, float]],
        learning_rate: Callable[[int], float],
        peak_learning_rate: float,
        metrics: MetricsFile,
        request: StopRequest,
        patience: int | None = None,
        log_every: int = 50,
        checkpoint_every: int = 0,
        on_row: Callable[["Member", dict[str, Any]], None] | None = None,
    ) -> None:
        self.name, self.folder = name, folder
        self.parallel, self.state, self.key = parallel, parallel.place(state), parallel.place(key)
        self._batches, self._measure, self._learning_rate = batches, measure, learning_rate
        self._metrics, self._request = metrics, request
        self.peak_learning_rate = peak_learning_rate
        self._log_every, self._checkpoint_every = log_every, checkpoint_every
        self._on_row = on_row
        self.stopping = training.EarlyStopping(patience) if patience else None
        self.step = 0
        self.epoch = 0  # the epoch that comes next or is under way
        self.batch = 0  # batches of it that are done
        self.seconds = 0.0
        self.compile_seconds = 0.0
        self._window: collections.Counter[str] = collections.Counter()
        self._pending: list[tuple[int, Any]] = []
        self._last_finite: tuple[int, float] | None = None
        self._mark: float | None = None
        self._timed_steps = 0

    @property
    def finished(self) -> bool:
        """Whether early stopping has ended this member's training."""
        return self.stopping is not None and self.stopping.stop

    @property
    def steps_per_second(self) -> float:
        """Over all steps but the first of each process, which compiles."""
        return self._timed_steps / self.seconds if self.seconds else math.nan

    def resume(self, report: Callable[[str], None] = print) -> bool:
        """Go back to the newest whole checkpoint; False where there is none."""
        found = training.checkpoints.restore_newest(self.folder, self.state, report=report)
        if found is None:
            return False
        self.state = self.parallel.place(found.tree)
        meta = found.meta
        self.step, self.epoch, self.batch = meta["step"], meta["epoch"], meta["batch"]
        self.seconds, self._timed_steps = meta["seconds"], meta["timed_steps"]
        self._window = collections.Counter(meta["window"])
        self._last_finite = tuple(meta["last_finite"]) if meta["last_finite"] else None
        if self.stopping is not None:
            self.stopping = training.EarlyStopping(*meta["stopping"])
        return True

    def save(self) -> None:
        """Write a checkpoint of this moment.

        Raises:
            Diverged: if a loss since the last one, or a parameter, is not finite; nothing is written then.
        """
        self._drain()
        self._stop_clock()
        self._check_parameters()
        self._metrics.flush()
        meta = {
            "step": self.step,
            "epoch": self.epoch,
            "batch": self.batch,
            "seconds": self.seconds,
            "timed_steps": self._timed_steps,
            "window": dict(self._window),
            "last_finite": self._last_finite,
            "stopping": list(self.stopping) if self.stopping else None,
        }
        training.checkpoints.save(self.folder, self.step, self.state, meta)

    def train_epoch(self, epoch: int) -> None:
        """Train one epoch and measure the development set; does nothing for an epoch that is already done.

        Returns early, with everything saved, when a stop was requested.

        Raises:
            Diverged: naming the step of the first loss that is not finite and the last one that was.
        """
        if self.finished or epoch < self.epoch or self._request.signal:
            return
        if self.step == 0 and not training.checkpoints.steps(self.folder):
            self.save()
        self._mark = time.perf_counter()
        self.state = training.fit(
            self.parallel.step,
            self.state,
            self._epoch_batches,
            key=self.key,
            epochs=[epoch],
            on_metrics=self._on_metrics,
        )
        jax.block_until_ready(self.state)
        self._stop_clock()
        if self._request.signal:
            self.save()
            return
        self._drain()
        if self._window:
            self._write_train_row()
        self.epoch, self.batch = epoch + 1, 0
        self._end_of_epoch(epoch)
        self.save()

    def _epoch_batches(self, epoch: int) -> Iterator[Any]:
        return training.prefetch(self._batches(epoch, self.batch), self.parallel.shard)

    def _on_metrics(self, epoch: int, state: training.TrainState, metrics: Any) -> bool:
        del epoch
        if self._timed_steps == 0 and self.compile_seconds == 0.0:
            jax.block_until_ready(metrics)
            now = time.perf_counter()
            self.compile_seconds, self._mark = now - (self._mark or now), now
        else:
            self._timed_steps += 1
        self.step, self.batch, self.state = self.step + 1, self.batch + 1, state
        self._pending.append((self.step, metrics))
        if self.step % self._log_every == 0:
            self._drain()
            self._write_train_row()
        if self._checkpoint_every and self.step % self._checkpoint_every == 0:
            self.save()
            self._mark = time.perf_counter()
        return self._request.signal is not None

    def _drain(self) -> None:
        """Fetch the metrics of the steps since the last time, in order, and check them."""
        pending, self._pending = self._pending, []
        for step, metrics in zip([s for s, _ in pending], jax.device_get([m for _, m in pending]), strict=True):
            sums = {name: float(value) for name, value in metrics.items()}
            mean = (sums["loss"] / sums["weight"]) + sums["penalty"]
            if not math.isfinite(mean):
                raise Diverged(self._diverged(f"the loss is {mean} at step {step}"))
            self._last_finite = (step, mean)
            self._window.update({**sums, "penalty": sums["penalty"] * sums["weight"]})

    def _check_parameters(self) -> None:
        for path, leaf in jax.tree_util.tree_leaves_with_path(self.state.params):
            if not np.isfinite(np.asarray(leaf)).all():
                raise Diverged(
                    self._diverged(f"params{jax.tree_util.keystr(path)} is not finite after step {self.step}")
                )

    def _diverged(self, what: str) -> str:
        last = (
            f"the last finite loss was {self._last_finite[1]:.6g} at step {self._last_finite[0]}"
            if (self._last_finite)
            else "no loss was finite before it"
        )
        kept = training.checkpoints.steps(self.folder)
        where = f"; the checkpoint of step {kept[-1]} is kept in {self.folder}" if kept else ""
        return f"{self.name}: {what}; {last}{where}"

    def _write_train_row(self) -> None:
        window, self._window = self._window, collections.Counter()
        loss = (window["loss"] + window["penalty"]) / window["weight"]
        self.append("train", {"loss": loss, "accuracy": window["correct"] / window["weight"]})

    def _end_of_epoch(self, epoch: int) -> None:
        found = self._measure(self.state.params, self.state.state)
        self.append("dev", found, epoch=epoch)
        if self.stopping is None:
            return
        self.stopping, improved = self.stopping.update(found["loss"], epoch)
        if improved:
            best = {"params": self.state.params, "state": self.state.state}
            training.checkpoints.save(self.folder / "best", self.step, best, {"epoch": epoch}, keep=2)

    def append(self, split: str, found: dict[str, float], *, epoch: int | None = None) -> None:
        """Write one row of metrics.csv at the present step."""
        row = {
            "optimizer": self.name,
            "step": self.step,
            "epoch": self.epoch if epoch is None else epoch,
            "split": split,
            **found,
            "learning_rate": self._learning_rate(max(self.step - 1, 0)),
            "seconds": self.seconds + (time.perf_counter() - self._mark if self._mark else 0.0),
        }
        self._metrics.append(row)
        if self._on_row is not None:
            self._on_row(self, row)

    def _stop_clock(self) -> None:
        if self._mark is not None:
            self.seconds += time.perf_counter() - self._mark
            self._mark = None

    def chosen(self) -> dict[str, Any]:
        """What the finished run is judged by: the best weights, else the average, else the last; with its name."""
        if self.stopping is not None:
            like = {"params": self.state.params, "state": self.state.state}
            step = max(s for s in training.checkpoints.steps(self.folder / "best"))
            best = training.checkpoints.restore(self.folder / "best" / f"{step:08d}", like)
            return {**best.tree, "which": f"best on dev, epoch {self.stopping.best_epoch}"}
        if self.state.average is not None:
            return {**self.state.average, "which": "average"}
        return {"params": self.state.params, "state": self.state.state, "which": "last"}
