"""The end of a run: the test, the files for the report, and the weights for `runs.load`."""

import math
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.train_cnn import choices
from experiments.train_cnn.config import are_twins
from experiments.train_cnn.records import PREDICTIONS, SUMMARY, OptimizerResult, PairDifference, PartSizes, RunSummary
from experiments.train_cnn.setup import ONE_ULP, Setup
from experiments.train_cnn.trainer import Trainer
from jaxdl import analysis, compare, data, nn, optimizers
from jaxdl.runs import records
from jaxdl.runs.loading import save_final
from jaxdl.runs.tasks import ACTIVATIONS, task

MISTAKES = 24  # images kept for the report


class Outcome(NamedTuple):
    """The result of one optimizer; without weights and predictions if it diverged."""

    trainer: Trainer
    params: Any = None  # the weights that were tested
    last_params: Any = None  # the weights of the last step, which the comparison of twins uses
    which: str = ""  # "last" or "best on dev, epoch N" (from 1, as shown), after "average, " where it is one
    found: Mapping[str, float] = types.MappingProxyType({"loss": math.nan})  # test loss and accuracy
    outputs: np.ndarray | None = None  # (n, outputs) on the test part: probabilities, or numbers


def finish(trainer: Trainer, folder: Path) -> Outcome:
    """Test the chosen weights, write the row of the test, and save the weights for `runs.load`.

    Of several processes all compute, and the leader writes.

    If the trainer diverged, this does nothing.
    """
    if trainer.diverged is not None:
        return Outcome(trainer)
    chosen, setup = trainer.chosen(), trainer.setup
    found, logits = setup.evaluate(chosen["params"], chosen["state"], setup.splits.test)
    trainer.append("test", found, epoch=trainer.epoch - 1)
    if trainer.group.leads:
        save_final(folder, trainer.name, trainer.step, chosen["params"], chosen["state"], which=chosen["which"])
    outputs = np.asarray(ACTIVATIONS[task(vars(setup.config))](logits), np.float32)
    last = trainer.state.params
    last = last.fast if isinstance(last, optimizers.LookaheadParams) else last
    params, last = (chosen["params"], last) if trainer.group.alone else jax.device_get((chosen["params"], last))
    return Outcome(trainer, params, last, chosen["which"], found, outputs)


def write_outcome(folder: Path, setup: Setup, outcomes: Sequence[Outcome]) -> RunSummary:
    """Write summary.json and predictions.npz and return the summary."""
    dataset, splits, layer = setup.dataset, setup.splits, setup.layer
    judged = [outcome for outcome in outcomes if not outcome.trainer.name.endswith(ONE_ULP)]
    summary = RunSummary(
        dataset=dataset.name,
        note=dataset.note,
        model=setup.config.model,
        parameters=analysis.count_parameters(layer, setup.in_shape),
        examples=PartSizes(*(len(part.labels) for part in splits)),
        rows=[_result(outcome) for outcome in judged],
        pair=_pair(setup, judged, outcomes[len(judged) :]),
        parameter_table=analysis.layer_rows(layer, setup.in_shape),
        task=task(vars(setup.config)),
    )
    labels, names = ("targets", "names") if setup.targets else ("labels", "classes")
    predictions: dict[str, Any] = {labels: splits.test.labels, names: np.array(setup.outputs)}
    for i, outcome in enumerate(judged):
        if outcome.outputs is not None and setup.targets:
            predictions[f"outputs_{i}"] = outcome.outputs
        elif outcome.outputs is not None:
            predictions |= _predictions(i, outcome.outputs, splits.test, dataset.scale)
        if outcome.outputs is not None:
            predictions |= _filters(i, outcome.params, layer)
    records.write_arrays(folder / PREDICTIONS, predictions)
    records.write_json(folder / SUMMARY, summary)
    return summary


def _result(outcome: Outcome) -> OptimizerResult:
    trainer, ended = outcome.trainer, outcome.trainer.diverged
    return OptimizerResult(
        optimizer=trainer.name,
        test_accuracy=outcome.found.get("accuracy", math.nan),
        test_loss=outcome.found["loss"],
        steps=trainer.step,
        epochs=trainer.epoch if ended is None else trainer.step / trainer.setup.steps_per_epoch,
        steps_per_second=trainer.clock.steps_per_second,
        learning_rate=trainer.start.learning_rate,
        seconds=trainer.clock.seconds,
        compile_seconds=trainer.clock.compile_seconds,
        evaluation_seconds=trainer.clock.apart["evaluation"],
        checkpoint_seconds=trainer.clock.apart["checkpoint"],
        images_per_second=trainer.clock.steps_per_second * trainer.setup.config.batch_size,
        weights=outcome.which,
        skipped=trainer.skipped + choices.overflows(trainer.state.opt_state),
        diverged_at=None if ended is None else ended.step,
        diverged="" if ended is None else ended.why,
    )


def _pair(setup: Setup, judged: Sequence[Outcome], floors: Sequence[Outcome]) -> PairDifference | None:
    """Compare the first two optimizers if they are twins, or a noise floor was asked for."""
    asked = setup.config.noise_floor or are_twins(setup.config)
    if not asked or any(outcome.trainer.diverged for outcome in judged[:2]):
        return None
    a, b = judged[:2]
    floor = floors[0] if floors and floors[0].trainer.diverged is None else None
    return PairDifference(
        a=a.trainer.name,
        b=b.trainer.name,
        max_relative_difference=compare.max_relative(a.last_params, b.last_params),
        max_ulps=compare.max_ulps(a.last_params, b.last_params),
        noise_floor_relative=floor and compare.max_relative(b.last_params, floor.last_params),
        noise_floor_ulps=floor and compare.max_ulps(b.last_params, floor.last_params),
    )


def _predictions(i: int, probabilities: np.ndarray, test: data.Examples, scale: float) -> dict[str, Any]:
    predicted = probabilities.argmax(1)
    wrong = np.flatnonzero(predicted != test.labels)
    confident = wrong[np.argsort(-probabilities[wrong].max(1), kind="stable")][:MISTAKES]
    return {
        f"probabilities_{i}": probabilities,
        f"mistake_index_{i}": confident,
        f"mistake_images_{i}": test.images[confident].astype(np.float32) / np.float32(scale),
    }


def _filters(i: int, kernel: Any, layer: nn.Layer) -> dict[str, Any]:
    """Return the kernel of the first convolution from the parameters."""
    path = _first_conv(layer)
    if path is None:
        return {}
    for name in path.split("/"):
        kernel = kernel[name]
    return {f"filters_{i}": np.asarray(kernel["kernel"], np.float32)}


def _first_conv(layer: nn.Layer) -> str | None:
    """Return the path of the first layer with a kernel if it is a convolution, whose filters can be shown as images."""
    kinds = ((path, nn.at(layer, path).op.kind) for path in nn.paths(layer))
    first = next(((path, kind) for path, kind in kinds if kind in ("conv", "dense")), None)
    return first[0] if first is not None and first[1] == "conv" else None
