"""One optimizer's training within a run: its metrics, checkpoints and early stopping.

A run with several optimizers has one member each. They start from the same parameters, see the same batches in the
same order and are advanced in turn, an epoch at a time, so that a machine that slows down slows all of them.
"""

import collections
import itertools
import math
import pathlib
import shutil
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import data, training
from jaxdl.runs.clock import Clock
from jaxdl.runs.metrics import MetricsFile
from jaxdl.runs.signals import Diverged, StopRequest

Batches = Callable[[int, int], Iterable[Any]]  # (epoch, batches to skip) -> batches, or rows of them


class Member:
    """Trains one optimizer and keeps all that is needed to go on after a kill at any moment.

    Args:
        name: the optimizer's, as in metrics.csv.
        folder: of this member's checkpoints.
        parallel: the compiled step.
        state: where to start.
        key: random key of all steps.
        batches: training batches of an epoch after skipping some, a function of its arguments alone; `data.Rows`
            where the step was compiled for examples on the device.
        measure: ``(params, state) -> {"loss", "accuracy"}`` on the development set, of the weights that the run would
            be judged by now: the average if there is one.
        learning_rate: the rate at a step, for the metrics.
        peak_learning_rate: the one that was asked for, for the summary.
        metrics: where rows go.
        request: asked whether to save and stop.
        patience: epochs without a lower development loss before stopping; None never stops early.
        log_every: steps per train row.
        steps_per_call: how many steps the device does in one call, at most; more than 1 is for rows. Calls end where a
            train row or a checkpoint is due, and the request is asked after each.
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
        steps_per_call: int = 1,
        checkpoint_every: int = 0,
        on_row: Callable[["Member", dict[str, Any]], None] | None = None,
    ) -> None:
        self.name, self.folder = name, folder
        self.parallel, self.state, self.key = parallel, parallel.place(state), parallel.place(key)
        self._batches, self._measure, self._learning_rate = batches, measure, learning_rate
        self._metrics, self._request = metrics, request
        self.peak_learning_rate = peak_learning_rate
        self._log_every, self._checkpoint_every, self._steps_per_call = log_every, checkpoint_every, steps_per_call
        self._on_row = on_row
        self.stopping = training.EarlyStopping(patience) if patience else None
        self.step = 0
        self.epoch = 0  # the epoch that comes next or is under way
        self.batch = 0  # batches of it that are done
        self.clock = Clock()
        self._best = self._judged_now() if patience else None  # weights of the epoch of lowest development loss
        self._window: collections.Counter[str] = collections.Counter()
        self._sizes: collections.deque[int] = collections.deque()  # in steps, of the calls to come
        self._pending: list[tuple[int, int, Any]] = []  # of each call the last step, the number of steps, the metrics
        self._last_finite: tuple[int, float] | None = None

    @property
    def finished(self) -> bool:
        """Whether early stopping has ended this member's training."""
        return self.stopping is not None and self.stopping.stop

    def resume(self, report: Callable[[str], None] = print) -> bool:
        """Go back to the newest whole checkpoint; False where there is none.

        Corrupt ones after it are deleted: they would push whole ones out of the few that are kept.

        Raises:
            ValueError: see `training.checkpoints.restore_newest`.
        """
        found = training.checkpoints.restore_newest(self.folder, self._tree(), report=report)
        if found is None:
            return False
        for step in training.checkpoints.steps(self.folder):
            if step > found.meta["step"]:
                shutil.rmtree(self.folder / f"{step:08d}")
        self.state = self.parallel.place(found.tree["state"])
        self._best = None if self._best is None else self.parallel.place(found.tree["best"])
        meta = found.meta
        self.step, self.epoch, self.batch = meta["step"], meta["epoch"], meta["batch"]
        self.clock.restore(meta["clock"])
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
        self.clock.stop()
        self._check_parameters()
        self._metrics.flush()
        meta = {
            "step": self.step,
            "epoch": self.epoch,
            "batch": self.batch,
            "clock": self.clock.to_dict(),
            "window": dict(self._window),
            "last_finite": self._last_finite,
            "stopping": list(self.stopping) if self.stopping else None,
        }
        training.checkpoints.save(self.folder, self.step, self._tree(), meta)

    def _tree(self) -> dict[str, Any]:
        return {"state": self.state, "best": self._best}

    def train_epoch(self, epoch: int) -> None:
        """Train one epoch and measure the development set; does nothing for an epoch that is already done.

        Returns early, with everything saved, when a stop was requested.

        Raises:
            Diverged: naming the step of the first loss that is not finite and the last loss that was.
        """
        if self.finished or epoch < self.epoch or self._request.signal:
            return
        if self.step == 0 and not training.checkpoints.steps(self.folder):
            self.save()
        self.clock.start()
        self.state = training.fit(
            self.parallel.step,
            self.state,
            self._epoch_batches,
            key=self.key,
            epochs=[epoch],
            on_metrics=self._on_metrics,
        )
        jax.block_until_ready(self.state)
        self.clock.stop()
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
        self._sizes.clear()
        return training.prefetch(self._calls(self._batches(epoch, self.batch)), self.parallel.shard)

    def _calls(self, batches: Iterable[Any]) -> Iterator[Any]:
        """What each call of the step gets."""
        step, batches = self.step, iter(batches)
        while True:
            due = [every - step % every for every in (self._log_every, self._checkpoint_every) if every]
            together = list(itertools.islice(batches, min(self._steps_per_call, *due)))
            if not together:
                return
            step += len(together)
            self._sizes.append(len(together))
            yield together[0] if self._steps_per_call == 1 else data.stack_rows(together, self._steps_per_call)

    def _on_metrics(self, epoch: int, state: training.TrainState, metrics: Any) -> bool:
        del epoch
        steps = self._sizes.popleft()
        self.clock.count(metrics, steps)
        self.step, self.batch, self.state = self.step + steps, self.batch + steps, state
        self._pending.append((self.step, steps, metrics))
        if self.step % self._log_every == 0:
            self._drain()
            self.clock.stop()  # the device has nothing to do, and the schedule compiles when it is first asked
            self._write_train_row()
            self.clock.start()
        if self._checkpoint_every and self.step % self._checkpoint_every == 0:
            self.save()
            self.clock.start()
        return self._request.signal is not None

    def _drain(self) -> None:
        """Fetch the metrics of the steps since the last time, in order, and check them."""
        pending, self._pending = self._pending, []
        fetched = jax.device_get([metrics for _, _, metrics in pending])
        for (last, steps, _), metrics in zip(pending, fetched, strict=True):
            for step in range(steps):
                self._note(last - steps + step + 1, {name: float(np.ravel(v)[step]) for name, v in metrics.items()})

    def _note(self, step: int, sums: dict[str, float]) -> None:
        """Check one step's metrics and add them to the row to come."""
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
        correct = window.get("correct", math.nan)  # a loss without classes has no hits
        self.append("train", {"loss": loss, "accuracy": correct / window["weight"]})

    def _end_of_epoch(self, epoch: int) -> None:
        judged = self._judged_now()
        found = self._measure(judged["params"], judged["state"])
        self.append("dev", {"loss": found["loss"], "accuracy": found.get("accuracy", math.nan)}, epoch=epoch)
        if not math.isfinite(found["loss"]):
            raise Diverged(self._diverged(f"the dev loss is {found['loss']} after step {self.step}"))
        if self.stopping is not None:
            self.stopping, improved = self.stopping.update(found["loss"], epoch)
            self._best = judged if improved else self._best

    def _judged_now(self) -> dict[str, Any]:
        """A copy of the average, if there is one, else of the weights that the optimizer judges by."""
        params, state = training.eval_variables(self.state)
        return _copied({"params": params, "state": state})

    def append(self, split: str, found: dict[str, float], *, epoch: int | None = None) -> None:
        """Write one row of metrics.csv at the present step."""
        row = {
            "optimizer": self.name,
            "step": self.step,
            "epoch": self.epoch if epoch is None else epoch,
            "split": split,
            **found,
            "learning_rate": self._learning_rate(max(self.step - 1, 0)),
            "seconds": self.clock.seconds,
        }
        self._metrics.append(row)
        if self._on_row is not None:
            self._on_row(self, row)

    def chosen(self) -> dict[str, Any]:
        """What the finished run is judged by: the best on dev, or the last, of the weights or of their average."""
        of_average = "" if self.state.average is None else "average, "
        if self.stopping is not None and self._best is not None:
            return {**self._best, "which": f"{of_average}best on dev, epoch {self.stopping.best_epoch + 1}"}
        return {**self._judged_now(), "which": f"{of_average}last"}


def _copied(tree: Any) -> Any:
    """A real copy: the step that comes next is given the buffers of the state."""
    return jax.tree.map(jnp.copy, tree)
