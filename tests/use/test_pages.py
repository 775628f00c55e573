"""Numbers of docs/measured.md and other pages equal those of the committed files that they cite."""

import functools
import pathlib
import re

import pytest

from benchmarks import accuracy
from docs import make_study
from jaxdl.runs import names
from jaxdl.studies import sweep

ROOT = pathlib.Path(__file__).parents[2]


@functools.cache
def page(name):
    return (ROOT / name).read_text(encoding="utf-8")


def flat(name):
    return " ".join(page(name).split())


def table(name, *, columns):
    """Return the rows of a page's tables with this number of columns, as texts."""
    lines = [line.strip().strip("|") for line in page(name).splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.split(" | ")] for line in lines]
    return [row for row in rows if len(row) == columns]


def targets(pattern):
    """Return the measured numbers of `benchmarks/speed.md` by row, for targets that match the pattern."""
    found = [(row, measured.partition(" ")) for row, measured, *_ in table("benchmarks/speed.md", columns=4)]
    return {row: float(number) for row, (number, _, what) in found if re.search(pattern, what)}


def median(row, who):
    """Return the milliseconds of one line of `benchmarks/speed.md`."""
    (found,) = [float(cells[2]) for cells in table("benchmarks/speed.md", columns=9) if cells[:2] == [row, who]]
    return found


def shown(values, digits):
    return {f"{min(values):.{digits}f}", f"{max(values):.{digits}f}"}


def test_the_measured_page_has_the_lines_of_the_accuracy_table():
    ours = [line for line in page("docs/measured.md").splitlines() if line.startswith("|") and "--seed N" in line]
    assert ours == page("benchmarks/accuracy.md").removeprefix(accuracy.HEADER).splitlines()


def test_the_zoo_has_accuracies_of_networks_of_that_size_alone():
    measured = {(row[1], row[2]) for row in table("benchmarks/accuracy.md", columns=6)}
    rows = [row for row in table("docs/zoo.md", columns=10) if "%" in row[8]]
    assert len(rows) == len(accuracy.ROWS)
    for row in rows:
        assert (row[2], row[8].partition(" (")[0] if "±" not in row[8] else row[8].rpartition(" (")[0]) in measured, row


def test_speed_beside_other_libraries():
    text = flat("docs/measured.md")
    jax, torch, compiling = (
        re.search(pattern, text).groups()
        for pattern in (
            r"([\d.]+) to ([\d.]+) times as fast as the best of flax.linen, flax.nnx, equinox and Keras on eight",
            r"([\d.]+) to ([\d.]+) of PyTorch's speed",
            r"A step compiles in ([\d.]+) to ([\d.]+) of flax.linen's time",
        )
    )
    steps = [
        [value for row, value in targets(what).items() if row.startswith("step ")]
        for what in ("best JAX peer's speed", "PyTorch's speed")
    ]
    assert [len(found) for found in steps] == [8, 8]
    assert {*jax} == shown(steps[0], 1)
    assert {*torch} == shown(steps[1], 2)
    assert {*compiling} == shown(targets("flax.linen's time to compile").values(), 1)
    peers = ("flax.linen", "flax.nnx", "equinox", "Keras")
    mlp = re.search(r"on an MLP \(([\d.]+) against ([\d.]+) ms of the best\)", text)
    assert float(mlp[1]) == round(median("step mlp", "jaxdl"), 3)
    assert float(mlp[2]) == round(min(median("step mlp", peer) for peer in peers), 3)
    assert median("step mlp", "jaxdl") < median("step mlp", "PyTorch")
    without = re.search(r"Without oneDNN, steps take ([\d.]+) to ([\d.]+) times as long", text)
    slower = [
        median(row, "jaxdl, no oneDNN") / median(row, "jaxdl")
        for row in targets("PyTorch's speed")
        if row[:5] == "step "
    ]
    assert [float(without[1]), float(without[2])] == [round(min(slower), 2), round(max(slower), 1)]


def test_the_steps_of_fast_on_cpu():
    names = {
        "LeNet-5": "lenet5",
        "ResNet-20": "resnet20",
        "ResNet-18 at 64×64": "resnet18",
        "MobileNet at 96×96": "mobilenet",
    }
    jax, torch = (targets(f"{what}'s speed") for what in ("best JAX peer", "PyTorch"))
    rows = table("docs/fast_on_cpu.md", columns=5)[1:]
    assert len(rows) == 8
    for name, *cells in rows:
        net = name.rpartition(",")[0]
        row = f"step {names.get(net, net)}"
        times = [f"{float(f'{median(row, who):.3g}'):g}" for who in ("jaxdl", "jaxdl, no oneDNN")]
        assert cells == [*times, f"{jax[row]:.1f}", f"{torch[row]:.2f}"], row


def also(what):
    """Return the value of a row of "also measured"."""
    (value,) = [row[1] for row in table("docs/measured.md", columns=3) if row[0].startswith(what)]
    return value


def test_the_also_measured_rows():
    beyond = median("import", "jaxdl") - median("import", "flax.linen, optax")
    assert also("imports of a training script") == f"{beyond / 1000:.2f} s"
    names = ("jaxdl, cold", "jaxdl, with cache", "flax.linen, cold", "flax.linen, with cache")
    cold, cached, theirs, theirs_cached = (f"{median('first step', name) / 1000:.1f}" for name in names)
    said = f"{cold} s, {cached} s with a compilation cache; flax.linen {theirs} and {theirs_cached}"
    assert also("from the imports to the end") == said
    share = targets("share of an epoch")["pipeline"]
    assert also("the batches of an epoch").startswith(f"{share:.1%}".replace("%", " %"))


def test_the_cost_and_the_precision_of_updates():
    cost = [row for row in table("benchmarks/optimizer_cost.md", columns=6) if row[0] not in ("optimizer", "---")]
    ratios = [float(row[3]) for row in cost]
    assert also("cost of an update").startswith(f"{min(ratios):.2f} to {max(ratios):.2f} of optax's time")
    assert {row[5] for row in cost} == {"same"}
    rows = [row for row in table("benchmarks/optimizer_precision.md", columns=7) if row[0] not in ("optimizer", "---")]
    numbers = {6: "six", 15: "fifteen"}
    assert all("zero" not in row[1] for row in rows)
    bad = numbers[sum("zero" in row[2] for row in rows)]
    assert f"{bad} of optax's {numbers[len(rows)]} in" in also("half precision")


def test_the_mutants():
    (total,) = [row for row in table("benchmarks/mutants.md", columns=6) if row[0] == "all"]
    gradient, raises, oracle, survived, drawn = map(int, total[1:])
    said = f"of {drawn} mechanical mutants {gradient + raises + oracle} are killed and each of the {survived} survivors"
    assert said in also("hand-written gradients")
    explained = page("benchmarks/mutants.md").partition("## Survivors")[2].partition("\n## ")[0]
    assert explained.count("\n* ") == len(re.findall(r"^\* .+: .+: \S", explained, re.M)) == survived


def test_when_sweeps_are_looped():
    rows = {
        row[0]: float(row[4]) for row in table("benchmarks/sweeps.md", columns=7) if row[0] not in ("problem", "---")
    }
    text = " ".join(sweep.choose_method.__doc__.split())
    convolve = ("fashion_mnist_2c2d", "cifar10_3c3d", "cifar10_resnet20")
    looped = [1 / rows[f"{name}, no oneDNN"] for name in convolve]
    assert "the loop was {:.1f}, {:.1f} and {:.1f} times as fast (2c2d, 3c3d, ResNet-20)".format(*looped) in text
    assert all(1 <= rows[name] < 1.2 for name in convolve)
    small = [rows[name] for name in ("digits_softmax", "digits_mlp", "quadratic_deep")]
    assert f"one program was {min(small):.0f} to {max(small):.0f} times as fast (digits, quadratic_deep)" in text


@pytest.mark.parametrize(
    "name", ["README.md", "docs/zoo.md", "docs/measured.md", "docs/parts.md", "docs/reliability.md"]
)
def test_files_that_a_page_links_to_are_there(name):
    links = re.findall(r"\]\(([^)#]+)", page(name))
    here = (ROOT / name).parent
    assert [link for link in links if "://" not in link and not (here / link).exists()] == []


def test_every_fault_of_the_page_on_reliability_has_its_test():
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")]
    there = set(re.findall(r"^def (test_\w+)", "".join(sources), re.M))
    rows = table("docs/reliability.md", columns=3)[2:]
    assert len(rows) > 15
    for fault, promise, tests in rows:
        named = re.findall(r"`(test_\w+)`", tests)
        assert named, (fault, promise)
        assert set(named) <= there, fault


def test_the_kills_of_the_page_on_reliability_are_the_committed_ones():
    ended, killed = re.search(r"^(\d+) of (\d+) runs, killed with SIGKILL", page("benchmarks/kills.md"), re.M).groups()
    calls = re.search(r"a run of (\d+) calls that change its folder", page("benchmarks/kills.md"))[1]
    assert f"of its {calls} calls that change files" in flat("docs/reliability.md")
    assert f"[{ended} of {killed}](../benchmarks/kills.md) resumed runs" in flat("docs/reliability.md")


def test_every_named_problem_has_its_cost():
    rows = [row[0] for row in table("docs/guides/compare_optimizers.md", columns=7) if row[0] not in ("problem", "---")]
    assert rows == [*names.PROBLEMS]


def test_the_study_of_twelve_is_that_of_its_tables():
    study = make_study.read(make_study.KEPT)
    text = page("docs/optimizer_study.md")
    assert (len(study.problems), len(study.optimizers), len(study.comparisons)) == (6, 12, 6 * 66)
    assert make_study.page(text, study) == text
    words = " ".join(text.split())
    for name, said in {
        "rmsprop": "RMSprop wins {0} and loses {2} of its 66",
        "schedule_free_adamw": "schedule-free AdamW {0} and {2}",
        "lion": "{0} wins and {2} losses",
    }.items():
        assert said.format(*make_study.tally(study, f"jaxdl.{name}")) in words
    behind = [make_study.tally(study, f"jaxdl.{name}") for name in ("sgd", "nesterov")]
    assert "They lose {2} and {5} comparisons, and win {0} and {3}.".format(*behind[0], *behind[1]) in words
    decided = sum(row["verdict"].endswith(make_study.DECIDED) for row in study.comparisons)
    assert f"Nothing about the other {len(study.comparisons) - decided} pairs" in words


def test_who_is_best_and_who_wins_by_hand():
    final = [{"problem": "p", "optimizer": name, "final": value} for name, value in (("a", "2"), ("b", "1"), ("c", ""))]
    comparisons = [
        {"problem": "p", "first": "a", "second": "b", "verdict": "second is better"},
        {"problem": "p", "first": "b", "second": "c", "verdict": "not after Holm's correction"},
        {"problem": "p", "first": "a", "second": "c", "verdict": "first is better"},
    ]
    study = make_study.Study(final, comparisons)
    assert make_study.best(study, "p") == ["b", "c"]
    assert [make_study.tally(study, name) for name in "abc"] == [(1, 0, 1), (1, 1, 0), (0, 1, 1)]
