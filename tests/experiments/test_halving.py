"""`--on-oom accumulate`: smaller microbatches where a step does not fit, and the bits of a run of that --accumulate."""

import json
import re

import jax
import numpy as np
import pytest

from experiments.train_cnn import command, memory, seeds, setup
from experiments.train_cnn.command import main
from jaxdl import runs
from tests.experiments.test_trainer import measured

BLOBS = ["--dataset", "mine:blobs", "--model", "mine:net", "--batch-size", "8", "--epochs", "2", "--trust-run"]
BLOBS += ["--log-every", "4", "--checkpoint-every", "1epochs", "--augment", "noise"]
PAIR = ["--optimizer", "jaxdl.sgd", "jaxdl.adam", "--learning-rate", "0.01"]
ALONE = ["--optimizer", "jaxdl.sgd"]
AUTOMATIC = ["--on-oom", "accumulate"]
ERROR = "RESOURCE_EXHAUSTED: Out of memory allocating 99 bytes."


@pytest.fixture(autouse=True)
def blank(monkeypatch):
    """Write no report: the numbers are what counts."""
    monkeypatch.setattr(command, "show", lambda progress, folder, summary: None)
    monkeypatch.setattr(seeds, "write", lambda folder: folder)


@pytest.fixture
def lacking(monkeypatch):
    """Return a function that lets steps of microbatches over ``most`` raise, those of the last optimizer alone."""
    real = setup.compile_step

    def limit(most, error=ERROR, optimizers=1):
        tried, made = [], []

        def compile_step(shared, optimizer, penalty):
            made.append(real(shared, optimizer, penalty))
            size = shared.config.batch_size // shared.config.accumulate

            def step(*arguments):
                tried.append(size)
                raise jax.errors.JaxRuntimeError(f"{error}\nand more")

            return made[-1]._replace(step=step) if size > most and len(made) % optimizers == 0 else made[-1]

        monkeypatch.setattr(setup, "compile_step", compile_step)
        return tried

    return limit


def made(folder, *arguments):
    assert main([*BLOBS, *arguments, "--out", str(folder)]) == 0
    return folder


def same_run(found, expected):
    rows = [[row._replace(seconds=0) for row in measured(folder)] for folder in (found, expected)]
    assert rows[0] == rows[1]
    for label in {row.optimizer for row in rows[0]}:
        one, other = (runs.load(folder, optimizer=label, trust_run=True) for folder in (found, expected))
        jax.tree.map(np.testing.assert_array_equal, (one.params, one.state), (other.params, other.state))
    configs = [json.loads((folder / "config.json").read_text()) for folder in (found, expected)]
    assert configs[0] | {"on_oom": "stop"} == configs[1]
    return True


@pytest.mark.slow
@pytest.mark.trains
def test_a_run_that_halves_its_microbatches_is_the_run_of_that_accumulate(here, tmp_path, lacking, capsys, monkeypatch):
    """Of a network with batch norm, whose numbers depend on the microbatch; interrupted after an epoch and resumed."""
    whole, folder = setup.compile_step, tmp_path / "run"
    expected = made(tmp_path / "expected", *PAIR, "--accumulate", "4")
    with monkeypatch.context() as patch:
        real, tried = command.train, lacking(2, optimizers=2)
        patch.setattr(command, "train", lambda trainers, epochs, line: real(trainers, 1, line) or 1 / 0)
        capsys.readouterr()
        with pytest.raises(ZeroDivisionError):
            made(folder, *PAIR, *AUTOMATIC)
    assert tried == [8, 4]
    said = capsys.readouterr().out
    for parts, size in ((2, 4), (4, 2)):
        line = f"{ERROR[:-1]}: --accumulate {parts}, so that each batch of 8 is computed in microbatches of {size} per "
        assert said.count(f"{line}device, of which batch norm sees one at a time\n") == 1
    assert json.loads((folder / "config.json").read_text())["accumulate"] == 4
    monkeypatch.setattr(setup, "compile_step", whole)  # there is memory for all now, and the run keeps its microbatches
    assert main(["--resume", str(folder), "--trust-run"]) == 0
    assert "--accumulate" not in capsys.readouterr().out
    assert same_run(folder, expected)


@pytest.mark.slow
@pytest.mark.trains
def test_all_seeds_and_the_dry_run_have_the_same_microbatches(here, tmp_path, lacking, capsys):
    tried = lacking(4)
    assert main([*BLOBS, *ALONE, *AUTOMATIC, "--dry-run"]) == 0
    assert "accumulate = 2\n" in capsys.readouterr().out
    folder = made(tmp_path / "run", *ALONE, *AUTOMATIC, "--seeds", "2", "--epochs", "1")
    assert tried == [8, 8], "the first seed's number is that of all"
    configs = [json.loads((folder / name / "config.json").read_text()) for name in ("", "seed-0", "seed-1")]
    assert [(one["accumulate"], one["on_oom"]) for one in configs] == [(2, "accumulate"), (2, "stop"), (2, "stop")]


@pytest.mark.slow
@pytest.mark.trains
def test_of_several_devices_none_is_left_waiting(here, monkeypatch, capsys):
    """XLA would end a process in which one device lacks memory for a step in whose collective the others wait."""
    estimate = lambda shared, start: (0, 1 << 60 if shared.config.accumulate < 4 else 8)
    monkeypatch.setattr(memory, "estimate", estimate)
    assert main([*BLOBS, *ALONE, *AUTOMATIC, "--devices", "2", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "accumulate = 4\n" in said
    assert f"Out of memory allocating {1 << 60} bytes on each of 2 devices: --accumulate 2" in said


@pytest.mark.parametrize("look", ["--dry-run", "--find-lr"])
def test_looking_ahead_without_memory_says_what_to_lower(look, here, lacking):
    lacking(0)
    with pytest.raises(MemoryError, match=f"{re.escape(ERROR)}; the step of jaxdl.sgd takes .*; try a --batch-size"):
        main([*BLOBS, *ALONE, look])


@pytest.mark.parametrize(
    ("arguments", "most", "sizes", "said"),
    [
        (["--batch-size", "12"], 2, [12, 6, 3], r"try a --batch-size below 12 or --accumulate 6 \(the same batch in 6"),
        ([], 0, [8, 4, 2, 1], "try a --batch-size below 8 or --compute-dtype bfloat16"),
    ],
)
def test_microbatches_that_cannot_be_halved_end_with_what_to_lower(
    arguments, most, sizes, said, here, tmp_path, lacking
):
    tried = lacking(most)
    with pytest.raises(MemoryError, match=f"{re.escape(ERROR)}; the step of jaxdl.sgd takes .* {said}"):
        made(tmp_path / "run", *ALONE, *arguments, *AUTOMATIC)
    assert tried == sizes
    assert not (tmp_path / "run").exists(), "nothing was written"


@pytest.mark.trains
def test_other_errors_and_runs_that_did_not_ask_are_not_halved(here, tmp_path, lacking):
    tried = lacking(0, error="INTERNAL: a bug")
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL: a bug"):
        made(tmp_path / "run", *ALONE, *AUTOMATIC)
    assert tried == [8]
    tried = lacking(0)
    with pytest.raises(MemoryError, match=r"--accumulate 2 \(the same batch in 2 parts; --on-oom accumulate finds"):
        made(tmp_path / "run", *ALONE)
    assert tried == [8]
