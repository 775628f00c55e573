"""The harness of the experiments that measure claims: verdicts by hand, resuming, budgets, pages, mistakes."""

import dataclasses
import os
import re
import signal
import types
from typing import ClassVar

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy import stats

from experiments import __main__ as listing
from experiments import all as every
from experiments import catalogue, report
from jaxdl import demonstrations, runs
from jaxdl.demonstrations import claims, harness
from jaxdl.runs import commandline
from jaxdl.runs import folder as folders


@dataclasses.dataclass(frozen=True)
class Config(demonstrations.DemonstrationOptions):
    EXPERIMENT: ClassVar[str] = "toy"

    seeds: int = 3
    """Seeds of the toy."""
    gap: float = 1.0
    """Distance of the sides."""
    sizes: tuple[int, ...] = (1, 2)
    """Sizes."""


RAN = []


def run(config, loaded, case, seed):
    RAN.append((case, seed))
    return {"value": seed + (config.gap if case == "b" else 0.0), "path": np.arange(3) + seed}


def judge(config, outcomes):
    a, b = (outcomes.numbers(case, "value") for case in "ab")
    return [claims.compare("a lies below b", "A1", ("a", a), ("b", b), claimed="less", unit="m")]


def draw(config, outcomes):
    figure = Figure(figsize=(2, 2))
    figure.subplots().plot(outcomes.arrays("a", "path").mean(0))
    return [demonstrations.Drawing("path", figure, "The path of a & b.")]


def check(config):
    if config.gap < 0:
        raise ValueError(f"gap={config.gap} is not allowed: it must be at least 0")


TOY = demonstrations.Demonstration(
    Config,
    lambda config: ("numbers", None),
    lambda config: ("a", "b"),
    run,
    judge,
    draw,
    check,
    {"gap": 7.0, "seeds": 4},
)
DESCRIPTION = "A toy.\n\n    python -m experiments.toy\n\nIt *says* little."
main, write = demonstrations.commands(TOY, DESCRIPTION)


@pytest.fixture(autouse=True)
def _forget():
    RAN.clear()


def ticking(clock):
    return types.SimpleNamespace(monotonic=lambda: next(clock), process_time=lambda: 0)


def rows(folder):
    return runs.read_table(folder / harness.RESULTS, harness.ClaimRow)


# ---------------------------------------------------------------- verdicts


def compared(a, b, claimed="less"):
    return claims.compare("", "A1", ("a", a), ("b", b), claimed=claimed, unit="m")


def test_one_rule_decides_all_verdicts():
    apart, same = [1.0, 1.1, 0.9, 1.0, 1.05], [2.0, 2.1, 1.9, 2.1, 2.0]
    assert compared(apart, same).verdict == claims.HOLDS
    assert compared(apart, same, "more").verdict == claims.FAILS
    assert compared(apart, [0.9, 1.2, 0.95, 1.05, 1.0]).verdict == claims.OPEN
    assert compared([1.0], [2.0]).verdict == claims.OPEN, "one seed says nothing of its spread"
    assert compared([1.0] * 3, [np.inf] * 3).verdict == claims.HOLDS, "a run that diverged is the largest"
    paired = compared([1.0, 11.0, 101.0], [2.0, 12.0, 102.0])
    assert paired.interval == (-1.0, -1.0, -1.0)
    assert claims.described(paired.interval, paired.unit) == "−1 [−1, −1] m"
    assert paired.measured == "a 37.67, b 38.67 m"
    numbered = claims.compare("", "", ("batches of 8", [640.0]), ("all", [5.0]), claimed="less", unit="steps")
    assert numbered.measured == "batches of 8: 640, all 5 steps"
    with pytest.raises(ValueError, match="claimed='below': allowed are 'less' and 'more'"):
        compared(apart, same, "below")


def test_a_number_is_inside_outside_or_undecided():
    of = lambda values, **ends: claims.within("", "A1", ("x", values), unit="m", **ends)
    assert of([1.0] * 3, low=0.5, high=1.5).verdict == claims.HOLDS
    assert of([2.0] * 3, high=1.5).verdict == claims.FAILS
    assert of([1.0, 2.0, 1.5], high=1.5).verdict == claims.OPEN
    assert of([1.0, 1.0], low=0.5).measured == "x 1 m (claimed: at least 0.5)"
    with pytest.raises(ValueError, match=r"low=2 must be below high=1"):
        of([1.0], low=2, high=1)


def test_a_printed_number_is_one_more_draw():
    values = np.random.default_rng(0).normal(size=12)
    claim = claims.consistent("", "F", ("std", values), printed=0.5, unit="1")
    assert claims.described(claim.interval, claim.unit).endswith("]"), "a number without a unit"
    half = stats.t.ppf(0.975, 11) * values.std(ddof=1) * np.sqrt(1 + 1 / 12)
    np.testing.assert_allclose(claim.interval, [values.mean(), values.mean() - half, values.mean() + half])
    assert claim.verdict == claims.HOLDS
    assert claims.consistent("", "F", ("std", values), printed=5.0, unit="1").verdict == claims.FAILS
    with pytest.raises(ValueError, match="at least two finite numbers"):
        claims.consistent("", "F", ("std", [1.0]), printed=1.0, unit="1")


def test_a_claim_depends_on_conditions_with_opposite_verdicts_alone():
    yes, no = compared([1.0] * 3, [2.0] * 3), compared([2.0] * 3, [1.0] * 3)
    open_ = compared([1.0, 2.0, 3.0], [2.0] * 3)
    verdict = lambda *parts: claims.depends("", "A1", dict(zip("abc", parts, strict=False))).verdict
    assert verdict(yes, no) == claims.DEPENDS
    assert verdict(yes, yes) == claims.HOLDS
    assert verdict(no, no) == claims.FAILS
    assert verdict(yes, open_) == claims.OPEN
    assert claims.described(claims.depends("", "A1", {"x": yes, "y": no}).interval, "m") == "–"
    with pytest.raises(ValueError, match="at least two"):
        claims.depends("", "A1", {"x": yes})


# ---------------------------------------------------------------- a run


def test_a_run_fills_its_folder_and_resumes_at_the_case(tmp_path, capsys):
    folder = tmp_path / "run"
    assert main(["--out", str(folder), "--gap", "2"]) == 0
    (row,) = rows(folder)
    assert (row.verdict, row.seeds, row.data, row.command) == (
        "holds", 3, "numbers", "python -m experiments.toy --gap 2.0"
    )  # fmt: skip
    assert row[4:7] == (-2.0, -2.0, -2.0)
    text = (folder / "report.md").read_text()
    assert "# A toy\n" in text
    assert r"It \*says\* little." in text
    assert "python -m experiments.toy\n" not in text.split("## How")[0]
    assert "holds: a lies below b (a 1, b 3 m)" in capsys.readouterr().out
    table = (folder / harness.MEASUREMENTS).read_bytes()
    cut = table.index(b"b,1,value") + 4  # a kill within the second seed
    (folder / harness.MEASUREMENTS).write_bytes(table[:cut])
    RAN.clear()
    assert main(["--resume", str(folder), "--budget", "1m"]) == 0
    assert RAN == [("b", 1), ("a", 2), ("b", 2)]
    assert rows(folder)[0]._replace(cpu_seconds=0) == row._replace(cpu_seconds=0)
    with pytest.raises(ValueError, match=r"gap is 2\.0 in the run, 3\.0 here"):
        main(["--resume", str(folder), "--gap", "3"])


def test_a_signal_ends_the_run_after_the_case_under_way(tmp_path, monkeypatch, capsys):
    def stopped(*arguments):
        os.kill(os.getpid(), signal.SIGINT)
        return run(*arguments)

    code = harness.main(TOY._replace(run=stopped), "A toy.", ["--out", str(tmp_path / "run")])
    assert (code, len(RAN)) == (130, 1)
    assert f"SIGINT: resume with --resume {tmp_path / 'run'}" in capsys.readouterr().out
    with pytest.raises(ValueError, match="no seed is finished yet; resume with"):
        write(tmp_path / "run")


def test_a_budget_ends_between_seeds_and_the_row_says_so(tmp_path, monkeypatch, capsys):
    clock = iter(range(0, 10_000, 20))  # every look at the clock takes 20 seconds
    monkeypatch.setattr(harness, "time", types.SimpleNamespace(monotonic=lambda: next(clock), process_time=lambda: 0))
    assert main(["--out", str(tmp_path / "run"), "--seeds", "9", "--budget", "2m"]) == 0
    assert 1 <= rows(tmp_path / "run")[0].seeds < 9
    assert "of 9 seeds; more with --resume" in capsys.readouterr().out
    with pytest.raises(harness.OutOfBudget, match=r"budget=10s is too small for one seed of toy: .* 1 of 2"):
        main(["--out", str(tmp_path / "none"), "--budget", "10s"])
    assert not (tmp_path / "none").exists()


def test_full_sets_what_the_command_line_leaves(tmp_path):
    config = harness.checked(TOY, Config(full=True, seeds=2))
    assert (config.gap, config.seeds) == (7.0, 2)
    assert harness.command_of(config) == "python -m experiments.toy --seeds 2 --full --gap 7.0"
    wide = Config(sizes=(3, 4), out=tmp_path, budget="1s")
    assert harness.command_of(wide) == "python -m experiments.toy --sizes 3 4"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seeds", "0"], "seeds=0 is not allowed: it must be at least 1"),
        (["--budget", "3x"], "budget='3x' is not allowed: it must be a time above 0"),
        (["--budget", "0s"], "budget='0s' is not allowed"),
        (["--gap", "-1"], "gap=-1.0 is not allowed: it must be at least 0"),
    ],
)
def test_mistakes_are_named_and_leave_nothing(options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        main([*options, "--out", str(tmp_path / "run")])
    assert not (tmp_path / "run").exists()


def test_an_error_before_the_first_number_leaves_what_was_there(tmp_path):
    def failing(config, loaded, case, seed):
        raise ValueError("photo.png: is no image")

    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".mine").write_text("kept")
    with pytest.raises(ValueError, match=r"photo\.png"):
        harness.main(TOY._replace(run=failing), None, ["--out", str(tmp_path / "run")])
    assert [path.name for path in (tmp_path / "run").iterdir()] == [".mine"]


def test_a_folder_in_which_another_process_begins_is_left_alone(tmp_path):
    (tmp_path / "run").mkdir()
    with folders.lock(tmp_path / "run", new=True), pytest.raises(ValueError, match="another process is training into"):
        main(["--out", str(tmp_path / "run")])
    assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]


def test_inherited_options_have_their_help(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "Seeds of the toy" in said
    assert "Time after which no further seed begins" in said


def test_a_number_that_a_case_lacks_is_named(tmp_path):
    assert main(["--out", str(tmp_path / "run"), "--seeds", "1"]) == 0
    outcomes = demonstrations.Outcomes(tmp_path / "run", "ab")
    with pytest.raises(ValueError, match="'a' has no 'speed' for seed 0; it has CPU seconds, value"):
        outcomes.numbers("a", "speed")
    with pytest.raises(ValueError, match="has no array 'speed'; it has path"):
        outcomes.arrays("a", "speed")


@pytest.mark.parametrize(("seeds", "said"), [(2, True), (3, False)])
def test_the_report_says_that_so_few_seeds_show_nothing(seeds, said, tmp_path):
    assert main(["--out", str(tmp_path / "run"), "--seeds", str(seeds)]) == 0
    text = (tmp_path / "run" / "report.md").read_text()
    assert ("Fewer than 3 have no interval, so that most claims are not shown." in text) == said


@pytest.mark.parametrize(("options", "said"), [(["--gap", "2.5"], "--gap 2.5"), (["--seeds", "4"], "")])
def test_the_description_is_of_the_default_options_and_the_report_says_where_others_came(options, said, tmp_path):
    assert main(["--out", str(tmp_path / "run"), *options]) == 0
    text = (tmp_path / "run" / "report.md").read_text().replace("\\", "")
    described = f"It *says* little.\n\nThe text above describes the default options. This run has others: {said}.\n"
    assert (described in text) == bool(said)
    assert ("default options" in text) == bool(said)


def test_numbers_that_are_edited_are_missed_and_rows_are_made_again(tmp_path):
    folder = tmp_path / "run"
    assert main(["--out", str(folder), "--seeds", "3"]) == 0
    (folder / "results.csv").write_text("of,an,older,version\n")
    assert main(["--resume", str(folder)]) == 0
    assert len(rows(folder)) == 1
    table = folder / "measurements.csv"
    whole = table.read_text()
    table.write_text(whole.replace("b,1,value,2.0\n", ""))
    with pytest.raises(ValueError, match=r"measurements\.csv: 'b' has no 'value' for seed 1; it has CPU seconds$"):
        main(["--resume", str(folder)])
    table.write_text(whole.replace("b,1,value,2.0\n", "b,1,value,2.0\nb,1,value,7.0\n"))
    with pytest.raises(ValueError, match=r"measurements\.csv: has 'value' of 'b' and seed 1 twice"):
        main(["--resume", str(folder)])


# ---------------------------------------------------------------- all of them


@pytest.fixture
def toys(monkeypatch):
    """Replace the experiments by three toys, of which the second fails."""

    def failing(config, loaded, case, seed):
        raise ValueError("there are no data")

    def module(name, **changed):
        config = dataclasses.make_dataclass(name, [], bases=(Config,), frozen=True, namespace={"EXPERIMENT": name})
        made = TOY._replace(config=config, **changed)
        return types.SimpleNamespace(DEMONSTRATION=made, write=demonstrations.commands(made, DESCRIPTION)[1])

    modules = {"one": module("one"), "two": module("two", run=failing), "three": module("three")}
    monkeypatch.setattr(catalogue, "demonstrations", lambda: [*modules])
    monkeypatch.setattr(catalogue, "names", lambda: [*modules])
    monkeypatch.setattr(catalogue, "first_line", lambda name: f"The toy {name}.")
    monkeypatch.setattr(catalogue, "load", lambda name: modules[name])


def test_all_experiments_run_once_and_make_the_pages(toys, tmp_path, capsys):
    options = ["--docs", str(tmp_path / "docs"), "--runs", str(tmp_path / "runs")]
    assert every.main(options) == 1
    assert "failed: two: there are no data" in capsys.readouterr().out
    assert not (tmp_path / "runs" / "two").exists()
    page = (tmp_path / "docs" / "results.md").read_text()
    assert "2 claims by 2 experiments: 2 holds, 0 does not hold" in page
    assert page.index("## one") < page.index("## three")
    assert "| a lies below b | A1 | a 1, b 2 m | −1 \\[−1, −1\\] m | holds |" in page
    assert "![The path of a \\& b.](results/one/path.png)" in (tmp_path / "docs" / "gallery.md").read_text()
    assert (tmp_path / "docs" / "results" / "one" / "path.png").stat().st_size > 1000
    RAN.clear()
    assert every.main([*options, "--only", "three,one"]) == 0
    assert RAN == []
    assert (tmp_path / "docs" / "results.md").read_text() == page


def test_a_budget_that_ends_is_continued_by_the_same_command(toys, tmp_path, monkeypatch, capsys):
    options = ["--docs", str(tmp_path / "docs"), "--runs", str(tmp_path / "runs"), "--only", "one,three"]
    clock = iter([0.0, *range(0, 10_000, 25)])
    with monkeypatch.context() as patch:
        patch.setattr(harness, "time", types.SimpleNamespace(monotonic=lambda: next(clock), process_time=lambda: 0))
        assert every.main([*options, "--budget", "1m"]) == 0
    assert "left: one, for which the budget of 1m was too short" in capsys.readouterr().out
    assert every.main(options) == 0
    assert {row.seeds for name in ("one", "three") for row in rows(tmp_path / "runs" / name)} == {3}


def test_names_and_times_that_all_cannot_use(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="only='nothing': 'nothing' measures no claims; there are "):
        every.main(["--only", "nothing", "--docs", str(tmp_path)])
    with pytest.raises(ValueError, match="budget='3 hours' is not allowed"):
        every.main(["--budget", "3 hours", "--docs", str(tmp_path)])
    assert not any(tmp_path.iterdir())


def test_all_refuses_a_run_with_other_options(toys, tmp_path, capsys):
    options = ["--docs", str(tmp_path / "docs"), "--runs", str(tmp_path / "runs"), "--only", "one"]
    assert every.main(options) == 0
    config = tmp_path / "runs" / "one" / "config.json"
    config.write_text(config.read_text().replace('"seeds": 3', '"seeds": 2'))
    assert every.main(options) == 1
    said = r"failed: one: .*one holds a run of python -m experiments\.one --seeds 2, not of python -m experiments\.one;"
    assert re.search(said, capsys.readouterr().out)


@pytest.mark.parametrize("option", ["runs", "docs"])
def test_all_refuses_a_file_as_folder_before_it_runs(toys, tmp_path, option):
    (tmp_path / "file").write_text("mine")
    RAN.clear()
    with pytest.raises(ValueError, match=rf"{option}=.*file/deep is not allowed: .*file is no folder"):
        every.main([f"--{option}", str(tmp_path / "file" / "deep")])
    assert RAN == []


def test_all_names_no_pages_that_it_did_not_make(toys, tmp_path, capsys):
    options = ["--docs", str(tmp_path / "docs"), "--runs", str(tmp_path / "runs")]
    assert every.main([*options, "--budget", "0.5s"]) == 0
    assert "pages:" not in capsys.readouterr().out


def test_the_list_names_every_experiment_and_what_it_is_for(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["experiments"])
    assert listing.main() == 0
    said = capsys.readouterr().out
    for name in ("train_cnn", "transfer", "compare_optimizers", "cifar10_speedrun", *catalogue.demonstrations()):
        assert f"{name} " in said
    monkeypatch.setattr("sys.argv", ["experiments", "transfer"])
    with pytest.raises(ValueError, match=r"run python -m experiments\.transfer"):
        listing.main()
    with pytest.raises(ValueError, match=r"experiment 'nothing' does not exist; there are .*cifar10_speedrun, "):
        catalogue.load("nothing")


def test_reports_of_all_demonstrations_can_be_made_again():
    assert {*catalogue.demonstrations(), "train_cnn", "transfer", "compare_optimizers"} == {*catalogue.with_a_report()}
    for name in catalogue.demonstrations():
        module = catalogue.load(name)
        assert name == module.DEMONSTRATION.config.EXPERIMENT
        assert callable(module.main)
    assert report.experiment.__doc__


# ---------------------------------------------------------------- the committed pages


def test_the_committed_pages_are_made_from_the_committed_results():
    docs = every.ROOT / "docs"
    found = every.results(docs)
    assert (docs / "results.md").read_text(encoding="utf-8") == every.results_page(found)
    assert (docs / "gallery.md").read_text(encoding="utf-8") == every.gallery_page(found)
    for one in found:
        for caption in one.captions:
            assert 1000 < (docs / "results" / one.name / caption.file).stat().st_size <= 200_000


def test_every_demonstration_has_committed_results():
    names = {one.name for one in every.results(every.ROOT / "docs")}
    at_full_size = {name for name in names if name.endswith(every.FULL)}
    assert names - at_full_size == {*catalogue.demonstrations()}
    assert {name.removesuffix(every.FULL) for name in at_full_size} <= names


def test_commands_of_committed_results_parse():
    for one in every.results(every.ROOT / "docs"):
        name = one.name.removesuffix(every.FULL)
        module, command = catalogue.load(name), one.rows[0].command.split()
        assert command[:3] == ["python", "-m", f"experiments.{name}"]
        config = commandline.parse(module.DEMONSTRATION.config, command[3:])
        assert harness.command_of(config) == one.rows[0].command
        assert config.full == one.name.endswith(every.FULL)
