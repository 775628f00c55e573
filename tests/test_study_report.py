"""The report of a study, from files of gradient descent on two bowls whose values have a closed form."""

import csv
import itertools
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from experiments import report as command
from experiments.compare_optimizers import exports, figures, judging, numbers, records, report, rows
from jaxdl import plots
from jaxdl.studies import statistics

RATES = (0.01, 0.1, 1.0, 3.0)
STEPS, EVERY, TARGET = 60, 10, 0.05
# factors on the rate: the twins are equal, the planted one is slow at any rate, the last one always diverges
SPEEDS = {"jaxdl.sgd": 1.0, "optax.sgd": 1.0, "jaxdl.sgd(slow=True)": 0.01, "my.module:wild(x=1)": 1000.0}
PROBLEMS = {"bowl_1": 1.0, "bowl_half": 0.5}
NO = ""


def descend(curvature, rate, seed):
    """Return ½·curvature·x² + .01 after 0, 10, ... steps; a step multiplies x by (1 − curvature·rate)."""
    steps = np.arange(0, STEPS + 1, EVERY)
    x = (2 + 0.1 * seed) * np.clip((1 - curvature * rate) ** steps, -1e100, 1e100)
    return steps, 0.5 * curvature * x**2 + 0.01


def runs_of(problem, optimizer):
    """Return (stage, rate, seed) of all runs."""
    speed, curvature = SPEEDS[optimizer], PROBLEMS[problem]
    finals = {rate: descend(curvature, speed * rate, 0)[1][-1] for rate in RATES}
    best = min(finals, key=finals.get)
    default = [("default", 0.01, seed) for seed in range(5)]
    return [*default, *(("tuning", rate, 0) for rate in RATES), *(("final", best, seed) for seed in range(5))]


def build(folder):
    """Write results.csv, curves.csv, plan.json and paths.csv."""
    results, curves = [], []
    for problem, curvature in PROBLEMS.items():
        for optimizer, speed in SPEEDS.items():
            for stage, rate, seed in runs_of(problem, optimizer):
                key = [problem, optimizer, stage, rate, seed]
                steps, values = descend(curvature, speed * rate, seed)
                gone = values[-1] > 1e3
                kept = values < 1e3
                reached = steps[values <= TARGET][:1]
                time = reached / 1000
                results.append([
                    *key, "diverged" if gone else "finished", STEPS, 32 * STEPS, NO if gone else values[-1],
                    values[kept].min(), NO if gone else values[-1], NO, TARGET, *(reached if reached.size else [NO]),
                    *(time if time.size else [NO]), 0.06, 0.5, 12.5, 8, "",
                ])  # fmt: skip
                curves += [
                    [*key, s, NO if s == 0 else v, v, NO, ""] for s, v in zip(steps[kept], values[kept], strict=True)
                ]
    folder.mkdir(parents=True)
    paths = [["elongated_bowl", o, t, -10 * 0.9**t, (-0.8) ** t] for o in SPEEDS for t in range(30)]
    tables = {
        "results.csv": (records.Result._fields, results),
        "curves.csv": (records.Evaluation._fields, curves),
        "paths.csv": (records.PathPoint._fields, paths),
    }
    for name, (header, lines) in tables.items():
        with (folder / name).open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([header, *lines])
    plan = {"twins": [["jaxdl.sgd", "optax.sgd"]], "planted": [["jaxdl.sgd", "jaxdl.sgd(slow=True)"]]}
    (folder / "plan.json").write_text(json.dumps(plan))
    (folder / "manifest.json").write_text(json.dumps({"command": "python -m tests.study", "versions": {"numpy": "2"}}))
    return folder


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = build(tmp_path_factory.mktemp("study") / "run")
    assert report.write(folder) == folder / "report.html"
    return folder


@pytest.fixture
def bare(tmp_path):
    return build(tmp_path / "run")


class Page(HTMLParser):
    """Collect the cells of tables, the text and the images' sources."""

    def __init__(self, path):
        super().__init__()
        self.rows, self.text, self.images, self._row = [], "", [], None
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self._row = self.rows[-1]
        elif tag == "img":
            self.images.append(dict(attrs))

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self._row = None

    def handle_data(self, data):
        self.text += data
        if self._row is not None:
            self._row[-1] += data

    def table(self, *first):
        """Return the rows that begin with these cells, without them."""
        return [row[len(first) :] for row in self.rows if tuple(row[: len(first)]) == first]


@pytest.mark.slow
def test_every_part_of_the_report_is_there(study):
    text = (study / "report.md").read_text()
    titles = """What can be concluded, Expected best value against the tuning budget, Twin pairs, Planted pairs,
    Final and best values, Time to target, Sensitivity to the learning rate, Performance profiles,
    Wins; ties and losses, Paths on landscapes, Costs, Runs that diverged, How this was made"""
    titles = [" ".join(title.replace(";", ",").split()) for title in titles.split(",")]
    assert re.findall("^## (.*)$", text, re.MULTILINE) == titles
    figures = {path.name for path in (study / "figures").iterdir()}
    drawn = ("final", "curves", "curves_overlay", "rates", "best_of", "best_of_overlay")
    kinds = [f"{kind}_{problem}.png" for kind in drawn for problem in PROBLEMS]
    wanted = {*kinds, "twin_pairs.png", "planted_pairs.png", "profiles.png", "tally.png", "paths_elongated_bowl.png"}
    assert figures == wanted == set(re.findall(r"\(figures/([^)#]+)(?:#chart)?\)", text))
    page = Page(study / "report.html")
    assert all(image["src"].startswith("data:image/png;base64,") and len(image["alt"]) > 20 for image in page.images)
    assert len(page.images) == len(figures)
    assert "72 runs" not in page.text
    assert f"{2 * 4 * 14} runs (40 default, 32 tuning, 40 final)" in page.text


def test_the_pairs_are_judged_by_their_paired_differences(study):
    page = Page(study / "report.html")
    assert page.table("bowl_1", "jaxdl.sgd", "optax.sgd") == [["0", "0 to 0", "0", "1", "1", "no difference"]]
    for problem, curvature in PROBLEMS.items():
        fast, slow = (np.array([descend(curvature, rate, seed)[1][-1] for seed in range(5)]) for rate in (1.0, 0.03))
        rows = page.table(problem, "jaxdl.sgd", "jaxdl.sgd(slow=True)")
        difference, interval, effect, p, adjusted, verdict = rows[-1]
        low, high = map(float, interval.split(" to "))
        assert float(difference) == pytest.approx((fast - slow).mean(), rel=1e-4)
        theirs = scipy.stats.ttest_rel(fast, slow)
        assert (low, high) == pytest.approx(tuple(theirs.confidence_interval()), rel=1e-4)
        assert float(effect) == pytest.approx((fast - slow).mean() / (fast - slow).std(ddof=1), rel=1e-4)
        assert float(p) == pytest.approx(theirs.pvalue, rel=0.05)
        # of four named comparisons, those of the twins have p = 1; named pairs have half of the 5 %
        assert float(adjusted) == pytest.approx(2 * (4 if float(p) < 1.1e-3 else 3) * theirs.pvalue, rel=0.35)
        assert verdict == "first is better"
    assert "0 of 2 comparisons are told apart after Holm's correction; 2 intervals contain 0" in page.text
    assert "2 of 2 comparisons are told apart after Holm's correction; 0 intervals contain 0" in page.text


def test_what_can_be_concluded(study):
    text = " ".join((study / "report.md").read_text().split())
    # 4 optimizers have 6 pairs on each of 2 problems; the twins are equal, and all others differ by far
    assert "makes 12 comparisons" in text
    assert "**10 of 12 are decided**" in text
    assert "one family and all others another, each with half of 5 %, which doubles their p after Holm." in text
    assert "About the other 2 nothing can be concluded" in text
    found = judging.judged(records.read(study))
    assert {(one.first, one.second) for one in found if not one.decided} == {("jaxdl.sgd", "optax.sgd")}
    for named in (True, False):
        family = [one for one in found if (one.second in ("optax.sgd", "jaxdl.sgd(slow=True)")
                                           and one.first == "jaxdl.sgd") == named]  # fmt: skip
        adjusted = 2 * statistics.holm([one.test.p_value for one in family])
        assert [one.adjusted for one in family] == pytest.approx(np.minimum(adjusted, 1))
    wild = next(one for one in found if one.second.startswith("my.module"))
    assert wild.verdict() == "first is better"
    assert wild.ordered() == (wild.first, wild.second, (-np.inf, -np.inf, -np.inf))


def test_few_seeds_and_an_interval_alone_carry_no_verdict():
    few = judging.Judged("p", "a", "b", statistics.paired_test([1.0, 2.0], [2.0, 4.0]), np.nan)
    assert (few.decided, few.verdict()) == (False, "too few seeds")
    test = statistics.paired_test([1.0, 2.0, 3.0], [2.0, 3.1, 4.2])
    assert judging.Judged("p", "a", "b", test, 0.06).verdict() == "not after Holm's correction"
    assert judging.Judged("p", "a", "b", test, 0.04).verdict() == "first is better"
    assert "carry no interval" in judging.coverage(2)
    assert "with 15 seeds" in judging.coverage(19)


def test_the_coverage_that_the_report_prints_is_the_committed_one():
    lines = (Path(__file__).parents[1] / "benchmarks" / "coverage.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    table = {int(r[0]): (*map(float, r[1:4]),) for r in rows if len(r) == 7 and r[0].isdigit()}
    assert {n: row for n, row in table.items() if n >= statistics.MIN_SEEDS} == judging.COVERAGE


def test_values_times_and_costs_are_those_of_the_runs(study):
    page = Page(study / "report.html")
    rows = [row for row in page.rows if row[:2] == ["jaxdl.sgd", "1"]]
    assert rows[0][2].startswith("0.01")
    at_default = np.mean([descend(1.0, 0.01, seed)[1][-1] for seed in range(5)])
    # Student's t of 4 degrees of freedom at 97.5 %
    half = 2.776445 * np.std([descend(1.0, 0.01, seed)[1][-1] for seed in range(5)], ddof=1) / 5**0.5
    assert rows[0][3:5] == ["0.01", f"{at_default:.5g} ± {half:.2g}"]
    target = page.table("bowl_1 ≤ 0.05", "jaxdl.sgd")
    assert target == [["5 of 5", "10", "320", "0.01", "7"]]
    costs = page.table("bowl_1", "jaxdl.sgd")
    assert ["12.5", "8", "4", "240", "0.24", "14", "0.84", "7"] in costs


def test_the_line_of_an_optimizer_says_that_its_spread_is_a_standard_deviation(study):
    finals = [descend(1.0, 0.01, seed)[1][-1] for seed in range(5)]
    runs = records.read(study).select("bowl_1", "jaxdl.sgd")
    said = rows.describe(runs, "bowl_1", "jaxdl.sgd")
    assert f"default rate 0.01: {np.mean(finals):.5g} (SD {np.std(finals, ddof=1):.2g}); best rate 1: " in said
    assert "±" not in said  # which is half an interval, in the report


def test_remarks_name_what_speaks_against_a_tuned_rate(study):
    page = Page(study / "report.html")
    header = ["optimizer", "tuned rate", "final value", "default rate", "at the default rate", "best value", "remarks"]
    assert page.rows.count(header) == 2
    lines = {row[0]: row for row in page.rows if len(row) == len(header) and row[3] == "0.01"}
    assert (lines["jaxdl.sgd"][1], lines["jaxdl.sgd"][-1]) == ("1", "")
    assert (lines["jaxdl.sgd(slow=True)"][1], lines["jaxdl.sgd(slow=True)"][-1]) == (
        "3†",
        "tuned rate at the end of the range",
    )
    assert "Of 8 tuned optimizers, 4 have a rate at the end of the range (†)" in page.text
    assert "try the same learning rates with the first seed (tuning)" in page.text
    runs = records.read(study).select("bowl_1", "jaxdl.sgd")
    final, default, tuning = ([run for run in runs if run.stage == stage] for stage in ("final", "default", "tuning"))
    lost = [run._replace(final=run.final + 9) for run in final]
    assert numbers.remarks(lost, default, tuning) == "worse than at the default rate"
    assert (numbers.flags(lost, default, tuning), numbers.flags(final, default, tuning)) == ("‡", "")
    assert numbers.flags(lost, default, [run for run in tuning if run.rate <= final[0].rate]) == "†‡"
    assert numbers.remarks(final, default, []) == "not tuned"
    assert numbers.remarks(final, [], tuning) == ""


def test_tables_for_papers(study):
    with (study / "tables" / "final.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["problem"], row["optimizer"]) for row in rows] == [(p, o) for p in PROBLEMS for o in SPEEDS]
    ended = [descend(1.0, 1.0, seed)[1][-1] for seed in range(5)]
    assert float(rows[0]["final"]) == pytest.approx(np.mean(ended))
    assert (rows[3]["final"], rows[0]["accuracy"], rows[0]["seeds"]) == ("inf", "", "5")
    assert rows[2]["remarks"] == "tuned rate at the end of the range"
    text = (study / "tables" / "final.tex").read_text()
    assert text.count(r"\toprule") == text.count(r"\midrule") == text.count(r"\bottomrule") == 2
    assert r"jaxdl.sgd(slow=True) & 3$^\dagger$ & " in text
    assert re.search(r"^wild\(x=1\) & .* & \$\\infty\$ & .* \\\\$", text, re.MULTILINE)
    lines = [line for line in text.splitlines() if "&" in line]
    assert {line.count("&") for line in lines} == {5}, "every line has the columns of tabular"
    assert r"\begin{tabular}{lrrrrr}" in text
    decided = (study / "tables" / "comparisons.tex").read_text()
    assert sum("&" in line for line in decided.splitlines()) == 1 + 10
    assert "$-$" in decided
    with (study / "tables" / "comparisons.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    assert len(found) == 12
    assert [row["verdict"] for row in found].count("no difference") == 2


def test_where_nothing_is_decided_the_table_for_papers_says_so(bare):
    lines = [line.split(",") for line in (bare / "results.csv").read_text().splitlines()]
    optimizer = lines[0].index("optimizer")
    kept = [line for line in lines if line[optimizer] in ("optimizer", "jaxdl.sgd", "optax.sgd")]
    (bare / "results.csv").write_text("".join(",".join(line) + "\n" for line in kept))
    report.write(bare)
    text = (bare / "tables" / "comparisons.tex").read_text()
    assert text.startswith("% no comparison is decided"), text
    assert len(text.splitlines()) == 1, "a table of no rows"


def test_names_cannot_introduce_commands_of_latex():
    hostile = "\\input{/etc/passwd} $x_1^2$ 50% #a & b~c <d|e> {f} -3 a-b"
    expected = r"\textbackslash{}input\{/etc/passwd\} \$x\_1\textasciicircum{}2\$ 50\% \#a \& b\textasciitilde{}c "
    expected += r"\textless{}d\textbar{}e\textgreater{} \{f\} $-$3 a-b"
    assert exports.escaped(hostile) == expected


def test_curves_are_means_with_the_intervals_of_tables(study):
    contents = records.read(study)
    steps, means, low, high = figures.over_steps(contents, "bowl_1", "jaxdl.sgd(slow=True)")
    values = np.array([descend(1.0, 0.03, seed)[1] for seed in range(5)])
    np.testing.assert_array_equal(steps, np.arange(0, 61, 10))
    np.testing.assert_allclose(means, values.mean(0), rtol=1e-12)
    half = scipy.stats.t.ppf(0.975, 4) * scipy.stats.sem(values, 0)
    np.testing.assert_allclose((low, high), (values.mean(0) - half, values.mean(0) + half), rtol=1e-9)
    _, gone, *_ = figures.over_steps(contents, "bowl_1", "my.module:wild(x=1)")
    assert np.isinf(gone[1:]).all(), "a run that diverged is infinite from then on"


def test_the_budget_is_drawn_without_replacement(study):
    """Of 4 rates, all subsets of k are equally likely."""
    found, best = figures.over_tries(records.read(study), "bowl_1", "jaxdl.sgd")
    untrained = np.median([descend(1.0, 0, seed)[1][0] for seed in range(5)] * 2 + [descend(1.0, 0, 0)[1][0]] * 4)
    values = [min(descend(1.0, rate, 0)[1][-1], untrained) for rate in RATES]
    expected = [np.mean([min(some) for some in itertools.combinations(values, k)]) for k in range(1, 5)]
    assert found.tolist() == [1, 2, 3, 4]
    np.testing.assert_allclose(best, expected, rtol=1e-6)


def test_an_overlay_has_at_most_eight_without_second_twins(study):
    contents = records.read(study)
    assert figures.leading(contents, "bowl_1", contents.optimizers)[:2] == ["jaxdl.sgd", "optax.sgd"]
    copies = [run._replace(optimizer=f"{run.optimizer}{i}") for run in contents.runs for i in range(3)]
    twins = [(f"jaxdl.sgd{i}", f"optax.sgd{i}") for i in range(3)]
    many = contents._replace(runs=copies, twins=twins)
    chosen = figures.leading(many, "bowl_1", many.optimizers)
    assert len(chosen) == 8
    assert not {second for _, second in twins} & {*chosen}
    assert {*chosen} >= {first for first, _ in twins}


@pytest.mark.slow
def test_figures_in_other_formats_have_the_same_bytes_each_time(bare, capsys):
    command.main([str(bare), "--svg"])
    names = {path.stem for path in (bare / "figures").glob("*.png")}
    assert {path.stem for path in (bare / "figures").glob("*.svg")} == names
    before = {path: path.read_bytes() for path in (bare / "figures").glob("*.svg")}
    assert all(b"<svg" in content for content in before.values())
    command.main([str(bare), "--svg"])
    assert {path: path.read_bytes() for path in before} == before
    assert not [path for path in bare.rglob("*") if ":" in path.name]
    pdf = plots.vector(plots.intervals({"a": (1.0, 0.0, 2.0)}, xlabel="x"), "pdf")
    assert pdf.startswith(b"%PDF")
    with pytest.raises(ValueError, match="kind='eps' is not allowed: it must be 'svg' or 'pdf'"):
        plots.vector(plots.intervals({"a": (1.0, 0.0, 2.0)}, xlabel="x"), "eps")


def test_tuning_has_means_over_its_seeds_and_the_report_says_which(bare):
    study = records.read(bare)
    runs = [run for run in study.select("bowl_1", "jaxdl.sgd", "tuning") if run.rate < 3]
    rates, means = numbers.by_rate([*(run._replace(seed=7, final=run.final + 2) for run in runs), *runs])
    assert tuple(rates) == RATES[:3]
    np.testing.assert_allclose(means, [descend(1.0, rate, 0)[1][-1] + 1 for rate in rates], rtol=1e-5)
    apart = [run._replace(seed=7) if run.stage == "tuning" else run for run in study.runs]
    said = report._tuned_with(study._replace(runs=apart, validated=["bowl_1"]))
    assert said == r"and their own with 1 seed that no other stage has, judged on a validation part of bowl\_1"


def test_divergence_is_counted_and_is_no_crash(study):
    page = Page(study / "report.html")
    assert ["0 of 5", "1 of 4", "0 of 5", "3"] not in page.table("bowl_1", "wild(x=1)")
    assert page.table("bowl_1", "wild(x=1)")[-1] == ["5 of 5", "4 of 4", "5 of 5", "0.01"]
    assert "0 of 5" in page.table("bowl_1 ≤ 0.05", "wild(x=1)")[0]
    rows = [row for row in page.rows if row[0] == "wild(x=1)" and row[2].startswith("∞")]
    assert len(rows) == 2
    scores = {row[0]: float(row[1]) for row in page.rows if len(row) == 3 and re.fullmatch(r"[01]\.\d{3}", row[1])}
    assert scores["wild(x=1)"] == 0
    assert scores["jaxdl.sgd"] == scores["optax.sgd"] == 1


@pytest.mark.slow
def test_remade_by_the_command_from_the_tables_alone_with_the_same_bytes(study, bare, capsys):
    for name in ("plan.json", "paths.csv", "manifest.json"):
        (bare / name).unlink()
    command.main([str(bare)])
    assert capsys.readouterr().out.strip() == str(bare / "report.html")
    page = Page(bare / "report.html")
    assert page.table("bowl_1", "jaxdl.sgd", "optax.sgd") == [["0", "0 to 0", "0", "1", "1", "no difference"]]
    before = {path: path.read_bytes() for path in bare.rglob("*") if path.is_file()}
    command.main([str(bare)])
    assert {path: path.read_bytes() for path in bare.rglob("*") if path.is_file()} == before


def test_an_unfinished_study_with_one_seed_has_a_report(bare):
    rows = (bare / "results.csv").read_text().splitlines(keepends=True)
    (bare / "results.csv").write_text("".join(rows[:11]))  # of one optimizer: default, tuning, one final
    page = Page(report.write(bare))
    assert "10 runs (5 default, 4 tuning, 1 final)" in page.text
    (bare / "results.csv").write_text("".join(rows[:3]))
    report.write(bare)


def edited(name, old, new, count=1):
    return lambda folder: (folder / name).write_text((folder / name).read_text().replace(old, new, count))


FAULTS = {
    "results.csv: is missing": lambda f: (f / "results.csv").unlink(),
    "curves.csv: is missing": lambda f: (f / "curves.csv").unlink(),
    "results.csv: there is no run": lambda f: (f / "results.csv").write_text(",".join(records.Result._fields) + "\n"),
    "results.csv: the first line lacks the columns state_bytes": edited("results.csv", ",state_bytes", ""),
    "results.csv, line 2: has 21 fields, the header has 20": edited("results.csv", "bowl_1,", "bowl_1,,"),
    "results.csv, line 2: stage must be default or tuning or final": edited("results.csv", "default", "first"),
    "results.csv, line 2: seed must be a whole number, got 'a'": edited("results.csv", "0.01,0,", "0.01,a,"),
    "results.csv, line 2: rate must be a number or empty, got 'x'": edited("results.csv", "0.01,0,", "x,0,"),
    "results.csv, line 2: problem must be a name, got ''": edited("results.csv", "bowl_1", ""),
    "results.csv: the run bowl_1, jaxdl.sgd, default, 0.01, 0 is there twice": edited(
        "results.csv", "0.01,1,", "0.01,0,"
    ),
    "curves.csv: no rows of the run bowl_1, jaxdl.sgd, default, 0.01, 0": edited("curves.csv", "0.01,0,", "0.01,9,", 7),
    "curves.csv, line 605: is cut off": lambda f: (f / "curves.csv").write_text((f / "curves.csv").read_text()[:-4]),
    "curves.csv: is no table of text": lambda f: (f / "curves.csv").write_bytes(b"\xff\xfe\n"),
    "plan.json: is not valid JSON": lambda f: (f / "plan.json").write_text("{"),
    "plan.json: twins[0] must be a list of 2": lambda f: (f / "plan.json").write_text('{"twins": [["a"]]}'),
    "manifest.json: must hold an object": lambda f: (f / "manifest.json").write_text("[]"),
}


@pytest.mark.parametrize("message", FAULTS)
def test_a_faulty_file_is_named(bare, message):
    FAULTS[message](bare)
    with pytest.raises(ValueError, match=re.escape(message)):
        records.read(bare)


def test_the_figures_refuse_nothing_to_draw_and_draw_the_extremes(tmp_path):
    with pytest.raises(ValueError, match="at least one panel"):
        plots.panels([], xlabel="x", ylabel="y")
    with pytest.raises(ValueError, match="at least one interval"):
        plots.intervals({}, xlabel="x")
    with pytest.raises(ValueError, match="at least one panel"):
        plots.contours(np.zeros(2), np.zeros(2), np.zeros((2, 2)), [])
    infinite = {"a": (np.inf, np.inf, np.inf), "b": (0.0, -np.inf, np.inf), "c": (np.nan,) * 3}
    plots.save(plots.intervals(infinite, xlabel="x", line=0), tmp_path / "a.png")
    nothing = (np.arange(3), np.full(3, np.nan))
    plots.save(plots.panels([{"$a": nothing, "_b": nothing}], xlabel="x", ylabel="y", logy=True), tmp_path / "b.png")
    plots.save(plots.panels([{"a": (np.arange(3), np.ones(3))}], xlabel="x", ylabel="y"), tmp_path / "c.png")
    x = np.array([1, 2])
    with pytest.raises(ValueError, match="1 to 8 curves, got 9"):
        plots.overlay({str(i): (x, x) for i in range(9)}, xlabel="x", ylabel="y")
    eight = plots.overlay({str(i): (x, x + i, x, x + 2 * i) for i in range(8)}, xlabel="x", ylabel="y", line=3.0)
    assert [text.get_text() for text in eight.legends[0].get_texts()] == [*"76543210"], "in the order of the ends"
    styles = {(line.get_color(), str(line.get_linestyle())) for line in eight.axes[0].lines[:8]}
    assert len(styles) == 8
    rates = (np.array([1.0, 2.0, 3.0]), np.array([5.0, 6.0, np.inf]))
    marked = plots.panels([{"a": rates}], xlabel="x", ylabel="y", markers={"a": 2.0})
    _, dots, ring, up, no_ring = marked.axes[0].lines
    assert dots.get_xdata().tolist() == [1, 2]
    assert (ring.get_xdata().tolist(), ring.get_ydata().tolist()) == ([2], [6])
    assert (up.get_marker(), up.get_xdata().tolist(), up.get_ydata().tolist()) == ("^", [3], [0.97])
    assert no_ring.get_xdata().size == 0
    figure = plots.panels([{"a": (x, x + 2)}, {"b": (x, x + 4)}], xlabel="x", ylabel="y")
    lines = [line.get_ydata().tolist() for line in figure.axes[0].lines]
    assert lines == [[5, 6], [3, 4]]  # the other panel's curve in grey, then its own
    assert Path(tmp_path / "c.png").stat().st_size > 1000
