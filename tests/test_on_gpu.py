"""`benchmarks.on_gpu`: parts, budget, resumption, packing and page; a dry run keeps every part working."""

import argparse
import dataclasses
import json
import os
import pathlib
import re
import subprocess
import sys
import textwrap
import time

import jax
import numpy as np
import pytest

from benchmarks.on_gpu import __main__ as command
from benchmarks.on_gpu import laws, packing, page, parts, record, reporter, runner, speedrun, steps
from benchmarks.speed import nets, rows
from jaxdl import data

ROOT = pathlib.Path(__file__).parents[1]
PARTS = list(parts.PARTS.values())


@pytest.fixture(scope="module")
def dry(tmp_path_factory):
    """Return the folder of a dry run and the command's output."""
    out = tmp_path_factory.mktemp("dry")
    told = {**os.environ, "PYTHONPATH": str(ROOT)}
    told.pop("JAXDL_DATA_DIR", None)
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks.on_gpu", "--out", str(out), "--dry-run", "--minutes", "60"],
        cwd=ROOT, env=told, capture_output=True, text=True,
    )  # fmt: skip
    failed = [one.log for one in page.load(out).values() if one.status != record.DONE]
    assert ran.returncode == 0, (ran.stdout, ran.stderr, *failed)
    return out, ran.stdout


@pytest.mark.process
@pytest.mark.slow
def test_a_dry_run_finishes_every_part(dry):
    out, printed = dry
    assert printed.splitlines()[-1] == "all parts are done"
    found = page.load(out)
    assert list(found) == list(parts.PARTS)
    for one in found.values():
        assert one.dry_run
        assert one.rows
        assert one.about["devices"] == ["cpu:0 cpu"]
        assert {"jax", "jaxlib", "flax", "optax", "python"} <= set(one.about["versions"])
    assert found["laws"].about["precision"] == "highest"
    assert found["laws"].rows[0]["passed"] > 3
    assert found["laws"].rows[0]["failed"] == []
    assert all(row["losses_apart"] < 0.1 for name in ("steps", "resnet50") for row in found[name].rows)


@pytest.mark.process
@pytest.mark.slow
def test_all_of_a_dry_run_is_there_and_is_not_repeated(dry, capsys):
    out, _ = dry
    assert runner.run(out, PARTS, 1.0, dry_run=True) == 0
    assert capsys.readouterr().out.count("done before") == len(PARTS)


@pytest.mark.process
@pytest.mark.slow
def test_the_page_of_a_dry_run_has_every_table_and_no_measurement(dry):
    out, _ = dry
    text = page.text(page.load(out))
    assert page.summary(page.load(out)) == page.UNMEASURED
    assert text.count("**A dry run with tiny sizes: no measurement.**") == len(PARTS)
    assert text.count("| not measured |") == len(page.TARGETS)
    assert text.count("| --- |") >= len(PARTS) + 1
    with pytest.raises(ValueError, match=r"devices, laws.* come from a dry run"):
        page.publish(out)


# ---------------------------------------------------------------- budget, failure and resumption, without JAX


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Return a function that makes a part of a small program; the runner runs it as a real one."""
    programs = {}
    monkeypatch.setattr(runner, "TAIL", 200)
    begin = runner.in_group

    def instead(command, environment, log, seconds):
        name = command[command.index("--here") + 1]
        return begin([sys.executable, "-c", textwrap.dedent(programs[name])], environment, log, seconds)

    monkeypatch.setattr(runner, "in_group", instead)

    def make(name, program, *, least=0.0, limit=30.0, environment=parts.UNCACHED):
        programs[name] = program.replace("HERE", repr(str(tmp_path / f"{name}.json")))
        return parts.Part(name, name, name, least, limit, environment)

    return make


WRITES = """
    import sys
    sys.path.insert(0, "")
    from benchmarks.on_gpu import record
    from pathlib import Path
    now = record.Record(Path(HERE), "{name}")
    now.add(value=1)
    {then}
    now.status = record.DONE
    now.write()
"""


@pytest.mark.process
def test_a_part_that_fails_says_why_and_the_next_goes_on(fake, tmp_path, capsys):
    bad = fake("bad", WRITES.format(name="bad", then="raise RuntimeError('no such kernel')"))
    dead = fake("dead", "import os, signal; os.kill(os.getpid(), signal.SIGABRT)")
    good = fake("good", WRITES.format(name="good", then=""))
    assert runner.run(tmp_path, [bad, dead, good], 1.0, dry_run=False) == 1
    found = {name: record.read(tmp_path / f"{name}.json") for name in ("bad", "dead", "good")}
    assert (found["bad"].status, found["bad"].error) == (record.FAILED, "(RuntimeError: no such kernel)")
    assert "Traceback" in found["bad"].log or "no such kernel" in found["bad"].log
    assert found["bad"].rows == [{"value": 1}]
    assert (found["dead"].status, found["dead"].error) == (record.FAILED, "(killed by SIGABRT)")
    assert found["good"].status == record.DONE
    assert capsys.readouterr().out.splitlines()[-1] == "not done: bad, dead; the same command goes on"


@pytest.mark.slow
@pytest.mark.process
def test_a_part_that_hangs_is_stopped_with_all_it_started_and_keeps_its_rows(fake, tmp_path):
    hang = """import subprocess, sys, time
    child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])
    now.add(pid=child.pid)
    time.sleep(600)"""
    part = fake("hang", WRITES.format(name="hang", then=hang), limit=8.0)
    began = time.monotonic()
    assert runner.run(tmp_path, [part], 1.0, dry_run=False) == 1
    assert time.monotonic() - began < 40
    found = record.read(tmp_path / "hang.json")
    assert found.status == record.STOPPED
    assert found.rows[0] == {"value": 1}
    state = pathlib.Path(f"/proc/{found.rows[1]['pid']}/stat")
    assert not state.exists() or state.read_text().split()[2] == "Z"


@pytest.mark.process
def test_parts_over_budget_are_skipped_and_finished_ones_not_repeated(fake, tmp_path, capsys):
    good, large = fake("good", WRITES.format(name="good", then="")), fake("large", "raise SystemExit(3)", least=1e6)
    assert runner.run(tmp_path, [large, good], 1.0, dry_run=False) == 1
    out = capsys.readouterr().out
    assert re.search(r"large: skipped, \d+ s are left and it needs 1000000", out)
    assert not (tmp_path / "large.json").exists()
    before = (tmp_path / "good.json").read_bytes()
    assert runner.run(tmp_path, [good], 1.0, dry_run=False) == 0
    assert "good: done before" in capsys.readouterr().out
    assert (tmp_path / "good.json").read_bytes() == before


@pytest.mark.process
def test_untried_parts_come_first(fake, tmp_path, capsys):
    bad, good = fake("bad", "raise SystemExit(3)"), fake("good", WRITES.format(name="good", then=""))
    runner.run(tmp_path, [bad], 1.0, dry_run=False)
    runner.run(tmp_path, [bad, good], 1.0, dry_run=False)
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()][2:4] == ["good", "bad"]


@pytest.mark.process
def test_a_file_of_a_dry_run_is_no_measurement(fake, tmp_path):
    good = fake("good", WRITES.format(name="good", then=""))
    record.Record(tmp_path / "good.json", "good", dry_run=True, status=record.DONE, rows=[{"value": 0}]).write()
    assert runner.run(tmp_path, [good], 1.0, dry_run=False) == 0
    assert record.read(tmp_path / "good.json").rows == [{"value": 1}]


def test_a_part_is_told_to_take_memory_as_it_needs_it_and_where_the_cache_is(tmp_path, monkeypatch):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    told = runner.environment(tmp_path, parts.PARTS["laws"], dry_run=False)
    assert told["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"
    assert told["JAX_COMPILATION_CACHE_DIR"] == str(tmp_path / "cache")
    assert told["JAX_DEFAULT_MATMUL_PRECISION"] == "highest"
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "elsewhere")
    assert runner.environment(tmp_path, parts.PARTS["laws"], False)["JAX_COMPILATION_CACHE_DIR"] == "elsewhere"
    assert runner.environment(tmp_path, parts.PARTS["steps"], False)["JAX_ENABLE_COMPILATION_CACHE"] == "false"


def test_a_cpu_is_not_measured(tmp_path, capsys):
    with pytest.raises(ValueError, match="no accelerator here, only cpu"):
        parts.run_here("devices", tmp_path, seconds=10, dry_run=False)
    assert not list(tmp_path.iterdir())


def test_rows_of_an_earlier_try_are_kept(tmp_path, monkeypatch):
    record.Record(tmp_path / "calls.json", "calls", dry_run=True, status=record.STOPPED, rows=[{"net": "a"}]).write()
    seen = []
    monkeypatch.setattr("benchmarks.on_gpu.calls.measure", lambda now, dry: seen.append((now.has(net="a"), dry)))
    parts.run_here("calls", tmp_path, seconds=10, dry_run=True)
    assert seen == [(True, True)]
    assert record.read(tmp_path / "calls.json").status == record.DONE


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "laws.json").write_text("{")
    with pytest.raises(ValueError, match=r"laws\.json: is no file of a part"):
        page.load(tmp_path)


def test_wrong_options_are_named(tmp_path, capsys):
    for options, said in ((["--parts", "lows"], "--parts: got lows"), (["--minutes", "0"], "--minutes: got 0.0")):
        with pytest.raises(SystemExit):
            command.main(["--out", str(tmp_path), *options])
        assert said in capsys.readouterr().err


# ---------------------------------------------------------------- parts


def test_the_chosen_tests_exist():
    assert [name for name in laws.FILES if not (ROOT / name).is_file()] == []


@pytest.mark.slow
@pytest.mark.process
def test_the_reporter_counts_and_stops_when_the_time_is_up(tmp_path):
    (tmp_path / "test_it.py").write_text("def test_a(): pass\ndef test_b(): assert 1 == 2\ndef test_c(): pass\n")
    command_line = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "benchmarks.on_gpu.reporter"]

    def run(seconds, *options):
        counts = tmp_path / "counts.json"
        told = {"JAXDL_TESTS_FILE": str(counts), "JAXDL_TESTS_SECONDS": seconds, "PYTHONPATH": str(ROOT)}
        subprocess.run(
            [*command_line, *options, "test_it.py"], cwd=tmp_path, env={**os.environ, **told}, capture_output=True
        )
        return json.loads(counts.read_text())

    whole = run("60")
    assert (whole["passed"], whole["collected"], whole["time_was_up"]) == (2, 3, False)
    assert [(one["test"], "assert 1 == 2" in one["said"]) for one in whole["failed"]] == [("test_it.py::test_b", True)]
    assert run("60", "-n", "2") | {"failed": []} == whole | {"failed": []}
    many = run("0", "-n", "1", "--maxschedchunk", "1")
    assert many["time_was_up"]
    assert many["passed"] < 3
    cut = run("0")
    assert (cut["passed"], cut["collected"], cut["time_was_up"]) == (1, 3, True)
    assert page.failures([whole]) == 1
    assert page.failures([cut]) is None


@pytest.fixture
def unoptimised():
    """Turn optimisations off, as compiling takes most of the time."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.mark.slow
@pytest.mark.process
def test_hanging_tests_are_cut_and_finished_ones_count(tmp_path):
    (tmp_path / "test_it.py").write_text("import time\ndef test_a(): pass\ndef test_b(): time.sleep(600)\n")
    told = {"JAXDL_TESTS_FILE": str(tmp_path / "counts"), "JAXDL_TESTS_SECONDS": "60", "PYTHONPATH": str(ROOT)}
    pytest_ = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "benchmarks.on_gpu.reporter"]
    run = lambda *more: laws.counted([*pytest_, str(tmp_path), *more], {**os.environ, **told}, tmp_path / "counts", 15)
    found = run()
    assert (found["passed"], found["failed"], found["time_was_up"]) == (1, [], True)
    with pytest.raises(ValueError, match="no test ran; pytest: 5"):
        run("-k", "none")


@pytest.mark.slow
@pytest.mark.usefixtures("unoptimised")
def test_a_small_resnet50_is_the_same_net_in_both_libraries():
    net = steps.imagenet(True)
    params, state = net.layer().init(jax.random.key(0), net.in_shape)
    batch = nets.batch(net, 2)
    firsts = {n: build(net, params, state, batch, compilations=1).first() for n, build in steps.PEERS.items()}
    assert set(firsts) == {"jaxdl", "flax.linen"}
    rows.agree(firsts, 1e-3)


def test_resnet50_as_operations_has_the_model_s_parameters():
    net = steps.imagenet(False)
    params, _ = jax.eval_shape(lambda key: net.layer().init(key, net.in_shape), jax.random.key(0))
    kernels = [own["kernel"].shape for _, own in nets.leaves(net.layer(), params) if "kernel" in own]

    def written(operations, channels):
        found = []
        for kind, *options in operations:
            if kind == "projected":
                body, after = written(options[0], channels)
                found, channels = found + body + written(options[1], channels)[0], after
            elif kind == "conv":
                found, channels = [*found, (options[1], options[1], channels, options[0])], options[0]
            elif kind == "dense":
                found = [*found, (channels, options[0])]
        return found, channels

    assert written(net.operations, 3)[0] == kernels


@pytest.mark.slow
def test_losses_that_differ_make_an_error_of_the_row_and_of_the_part(tmp_path, monkeypatch):
    now = record.Record(tmp_path / "steps.json", "steps")
    monkeypatch.setattr(steps, "disagreement", lambda built: 0.5)
    monkeypatch.setattr(steps, "PEERS", {"jaxdl": lambda *args, **options: None})
    now.add(net="lenet5", **steps.compare(nets.NETS["lenet5"], 2, "float32", 0.0))
    with pytest.raises(ValueError, match=r"lenet5 float32: losses differ by 0.5, allowed is 0.02"):
        steps.check(now)
    assert "losses differ by 0.5" in page.steps_table(now.rows)


def test_the_speedrun_s_sizes_are_the_recipe_s():
    assert speedrun.RUNS >= 5
    assert speedrun.FORMS == ("nesterov", "muon")


# ---------------------------------------------------------------- packing

LISTS = {
    "pip list": "Package    Version\n---------- -------\nflax       0.12.8\njaxlib 0.11.2\nPyYAML     6.0",
    "pip freeze": "flax==0.12.8\njaxlib==0.11.2\nPyYAML==6.0\n",
    "names": "flax, jaxlib, pyyaml",
}


@pytest.mark.parametrize("form", LISTS)
def test_a_list_of_installed_packages_is_read(form):
    found = packing.present(LISTS[form])
    assert set(found) == {"flax", "jaxlib", "pyyaml"}
    assert found["flax"] == ("" if form == "names" else "0.12.8")


@pytest.fixture
def pip(monkeypatch):
    """Replace pip by one that resolves three packages and downloads empty wheels."""
    calls = []

    def instead(*arguments):
        calls.append(arguments)
        if arguments[0] == "install":
            found = [{"metadata": {"name": name, "version": "1.0"}} for name in ("Flax", "typing_extensions", "jaxlib")]
            pathlib.Path(arguments[arguments.index("--report") + 1]).write_text(json.dumps({"install": found}))
        else:
            folder = pathlib.Path(arguments[arguments.index("--dest") + 1])
            folder.mkdir()
            for name in arguments[-1:]:
                (folder / f"{name.replace('==', '-')}-py3-none-any.whl").write_bytes(b"wheel")
        return ""

    monkeypatch.setattr(packing, "pip", instead)
    return calls


def test_only_missing_packages_are_fetched(pip):
    there = {"typing-extensions": "1.0", **dict.fromkeys(map(packing.plain, packing.NEEDED), "")}
    assert packing.missing(there, "3.12") == []
    assert not pip
    del there["flax"]
    assert packing.missing(there, "3.12") == ["Flax==1.0"]
    assert pip[0][-1] == "flax"


def options(**given):
    return argparse.Namespace(**{"present": None, "python": "3.12", "data": [], "limit": 64.0, **given})


@pytest.mark.process
def test_a_pack_has_data_wheels_and_a_command(pip, tmp_path, monkeypatch, capsys):
    source = tmp_path / "data"
    folder = source / "cifar10"
    for number in range(10):
        where = folder / "train" / data.load("digits").classes[number]
        where.mkdir(parents=True)
    monkeypatch.setenv("JAXDL_DATA_DIR", str(source))
    monkeypatch.setattr(data, "load", lambda name, **_: name)
    (folder / "train" / "0" / "a.png").write_bytes(b"1234")
    out = tmp_path / "pack"
    assert packing.pack(out, options(data=["cifar10"])) == 0
    assert (out / "data" / "cifar10" / "train" / "0" / "a.png").read_bytes() == b"1234"
    assert [path.name for path in (out / "wheels").iterdir()] == ["typing_extensions-1.0-py3-none-any.whl"]
    script = (out / "run.sh").read_text()
    assert "--no-index" in script
    assert subprocess.run(["sh", "-n", out / "run.sh"], check=False).returncode == 0
    assert "run.sh OUT --minutes 8" in (out / "README.md").read_text()
    with pytest.raises(ValueError, match="is not empty"):
        packing.pack(out, options())
    with pytest.raises(ValueError, match=r"source .* MiB: more than --limit 0.1 MiB"):
        packing.pack(tmp_path / "other", options(limit=0.1))
    with pytest.raises(ValueError, match=r"--data mnist: .* has no such file or folder"):
        packing.pack(tmp_path / "third", options(data=["mnist"]))


def test_nothing_on_the_other_machine_names_a_place_to_download_from():
    for path in (ROOT / "benchmarks" / "on_gpu").glob("*.py"):
        assert "http" not in path.read_text(encoding="utf-8"), path


# ---------------------------------------------------------------- page


def measured(tmp_path, **changes):
    about = {"command": "c", "devices": ["gpu:0 NVIDIA X"], "machine": "m", "versions": {"jax": "1"}, "precision": "p"}
    peers = {name: {"milliseconds": 2.0, "low": 1.0, "high": 3.0} for name in ("jaxdl", "flax.linen")}
    row = {"net": "lenet5", "dtype": "float32", "batch": 64, "ratio": 1.25, "peers": peers, "peak_bytes": 2**30}
    one = record.Record(tmp_path / "steps.json", "steps", status=record.DONE, about=about, rows=[row])
    return {"steps": dataclasses.replace(one, **changes)}


def test_a_measured_page_says_on_what_and_how_many_targets_are_met(tmp_path):
    records = measured(tmp_path)
    assert page.summary(records) == f"measured on NVIDIA X, 1 of {len(page.TARGETS)} targets met"
    text = page.text(records)
    assert "| lenet5, float32: × flax.linen's steps per second | 1.25 | ≥ 1 | met |" in text
    assert "`c` on gpu:0 NVIDIA X; m; jax 1. Matrix precision: p." in text
    assert "1 GiB" in text
    assert "not complete" not in text
    assert "This part is not complete: stopped (why)." in page.text(
        measured(tmp_path, status=record.STOPPED, error="(why)")
    )


def test_publishing_writes_the_page_and_the_readme_s_line(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "PAGE", tmp_path / "on_gpu.md")
    monkeypatch.setattr(page, "README", tmp_path / "README.md")
    page.README.write_text(f"before\n{page.LINE.format(page.UNMEASURED)}\nafter\n", encoding="utf-8")
    with pytest.raises(ValueError, match="holds no part's file"):
        page.publish(tmp_path)
    records = measured(tmp_path)
    records["steps"].write()
    assert page.publish(tmp_path) == 0
    expected = f"before\n{page.LINE.format(page.summary(records))}\nafter\n"
    assert page.README.read_text(encoding="utf-8") == expected
    assert page.PAGE.read_text(encoding="utf-8") == page.text(records)


def test_the_readme_says_what_the_committed_page_says():
    said = page.PAGE.read_text(encoding="utf-8").split("\n\n")[1].rstrip(".")
    said = said[0].lower() + said[1:]
    assert page.LINE.format(said) in page.README.read_text(encoding="utf-8")
    if said == page.UNMEASURED:
        assert page.PAGE.read_text(encoding="utf-8") == page.text({}), "run: page.PAGE.write_text(page.text({}))"


def test_targets_are_those_of_the_nets_and_forms():
    named = {target.what.split(",")[0] for target in page.TARGETS if target.part == "steps"}
    assert named == set(steps.NETS) == set(page.SIX)
    best = {"ratio": 25.0, "accuracy": 0.945, "mean_seconds": 1.9}
    sweep = next(target for target in page.TARGETS if target.part == "sweep")
    assert sweep.met(sweep.value([best]))
    runs = [target for target in page.TARGETS if target.part == "speedrun"]
    assert all(
        one.met(one.value([{**best, "form": form}])) for form in speedrun.FORMS for one in runs if form in one.what
    )
    assert np.isclose(runs[0].value([{**best, "form": "nesterov"}]), 94.5)


def test_the_plugin_is_silent_in_a_worker():
    assert reporter.pytest_configure(argparse.Namespace(workerinput={})) is None
