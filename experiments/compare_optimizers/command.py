"""Compare optimizers: which one is better on these problems, and how certain is that?

    python -m experiments.compare_optimizers            # the default study: jaxdl's optimizers and optax's twins
    python -m experiments.compare_optimizers --problems digits_mlp rosenbrock --optimizer jaxdl.adam optax.adam \\
        "optax.adam(eps=1e-3)" --seeds 5 --budget 5m

All optimizers start from the same parameters, see the same batches and try the same learning rates. Each one runs with
its default rate (all seeds), with every rate of the grid and its own (tuning: other seeds, judged on a validation part
where the problem has one), and with the best of these (all seeds). Methods that need no tuning run at their own rate.
results.csv has a row per run and curves.csv a row per evaluation. Resume an interrupted study with --resume DIR.
Beside it, more --seeds, other --optimizer names and other --problems extend a study: it keeps its runs and makes those
that it lacks. An optimizer that raises an error loses its own runs alone. Studies of several machines become one by
`python -m experiments.compare_optimizers.merge OUT DIR DIR`.
report.md, report.html, tables and figures are made from these files at the end, and again by
`python -m experiments.report DIR`.

--space joint tunes weight decay, momentum, warm-up and schedule together with the rate, by --points quasi-random points
that are the same for all.

The default study compares 45 optimizers on digits (softmax regression, MLP) and DeepOBS's quadratic_deep with 5 seeds
and 13 rates, 4,680 runs in 5.4 CPU minutes. Expected: each of jaxdl's optimizers ends where its optax twin ends,
and the planted pairs, Adam with eps 1e-8 against 1e-3 and with decoupled against coupled decay, do not.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, NamedTuple

import jax

from experiments.compare_optimizers import contenders, growing, rows, spaces, study
from experiments.compare_optimizers.contenders import Contender
from experiments.compare_optimizers.records import Pair
from jaxdl import runs, studies
from jaxdl.runs import commandline
from jaxdl.runs.names import problem as named_problem
from jaxdl.runs.names import twin
from jaxdl.runs.progress import seconds_of

EPS: Final = ("jaxdl.adam", "jaxdl.adam(eps=0.001)")
DECAY: Final = ("jaxdl.adamw(weight_decay=0.1)", "experiments.compare_optimizers:adam_l2(weight_decay=0.1)")
PLANTED: Final = (EPS, DECAY)  # pairs that a trustworthy study tells apart


@dataclasses.dataclass(frozen=True)
class Config:
    """All options of a study."""

    EXPERIMENT: ClassVar[str] = "compare_optimizers"
    ADDED: ClassVar[tuple[str, ...]] = ("tuning_seeds", "space")
    GROWS: ClassVar[tuple[str, ...]] = ("problems", "optimizer", "seeds")
    PASSING: ClassVar[tuple[str, ...]] = ("diagnose", "workers")

    problems: tuple[str, ...] = ("digits_softmax", "digits_mlp", "quadratic_deep")
    """elongated_bowl, rosenbrock, beale, saddle, quadratic_deep, quadratic_deep_repeated (the same batches in every
    epoch, as in the published runs), digits_softmax, digits_mlp, mnist_softmax, mnist_mlp, fashion_mnist_2c2d,
    fashion_mnist_lenet5, cifar10_3c3d, cifar10_resnet20, cifar10_vit, char_transformer, char_lstm (the next character
    of licence texts), matrix_factorization (digits), heat_pinn (a differential equation), or package.module:function
    that returns a studies.Problem or (init, loss, batches)."""
    optimizer: tuple[str, ...] = ()
    """NAME or jaxdl.NAME, optax.NAME, optax.contrib.NAME or package.module:function, optionally with keywords:
    "optax.adam(eps=1e-3)". By default 21 first-order optimizers of jaxdl, their optax twins and the planted pairs."""
    seeds: int = 5
    """Number of runs with the default rate and with the best one; seeds 0, 1, ... set parameters and batch order."""
    rates: tuple[float, float] = (1e-4, 100.0)
    """Smallest and largest learning rate of tuning."""
    tuning_seeds: int = 2
    """Number of runs with each learning rate of tuning; their seeds are none of those above."""
    points: int = 13
    """Number of learning rates in tuning, the same for all optimizers."""
    search: Literal["grid", "quasi_random"] = "grid"
    """Spacing of the rates, uniform in the logarithm. Any first few of quasi_random are spread evenly."""
    space: Literal["rate", "joint"] = "rate"
    """What is tuned: the learning rate alone, or jointly with weight decay, momentum, warm-up and schedule."""
    budget: str = ""
    """Time for the whole study, such as 90s, 5m or 1h: problems get equal time, and all optimizers of a problem equal
    steps. Or steps per run, such as 500steps. By default each problem's own number of steps."""
    method: Literal["auto", "vmap", "loop"] = "auto"
    """vmap: all runs of a sweep in one program. loop: one after another. auto chooses per problem and says why."""
    devices: int = 1
    """Number of devices to split a sweep over. On CPU JAX_NUM_CPU_DEVICES makes virtual ones."""
    diagnose: bool = False
    """Measure the Hessian's largest eigenvalue, sharpness, the gradient's noise scale and the updates of each layer
    along the final run of the first seed, which is made again. A finished study takes it with --resume."""
    workers: int = 1
    """Processes of this machine that share the study, an optimizer on a problem at a time: each on a GPU of its own, or
    all on the CPU. The results are those of one process. A worker that is killed costs its unfinished runs, which
    --resume makes, with any number of workers."""
    data_dir: Path | None = None
    """Folder of the data sets' files; by default the variable JAXDL_DATA_DIR, else a per-user cache."""
    out: Path | None = None
    """Folder of this study; by default runs/compare_optimizers/TIME."""
    resume: Path | None = None
    """Resume the study in this folder."""
    trust_run: bool = False
    """With --resume: import and call functions that the run's config names as package.module:function. They can be any
    code, so use this only for folders that you trust, such as your own."""

    def grown(self, given: "Config") -> "Config":
        """Return the config of this study after it was resumed with other options.

        Raises:
            ValueError: if it cannot grow that way.
        """
        return growing.grown(self, given)


def default_optimizers() -> tuple[str, ...]:
    """Return the first-order optimizers of jaxdl but for `contenders.ON_REQUEST`, their twins and the planted pairs."""
    ours = [f"jaxdl.{name}" for name in contenders.FIRST_ORDER if name not in contenders.ON_REQUEST]
    pairs = [name for one in ours for name in (one, twin(one)) if name is not None]
    return tuple(dict.fromkeys([*pairs, *EPS, *DECAY]))


def resolve(config: Config) -> Config:
    """Fill in defaults and check all options.

    Raises:
        ValueError: for an option out of range; the message names it, its value and the allowed ones.
    """
    config = dataclasses.replace(config, optimizer=config.optimizer or default_optimizers())
    labels = [contenders.contender(name).label for name in config.optimizer]
    for option, given in (("problems", config.problems), ("optimizer", labels)):
        _check(given and len({*given}) == len(given), option, given, "at least one name, and none twice")
    _check(config.tuning_seeds >= 1, "tuning_seeds", config.tuning_seeds, "at least 1")
    _check(config.seeds >= 1, "seeds", config.seeds, "at least 1")
    there = len(jax.devices())
    _check(1 <= config.devices <= there, "devices", config.devices, f"from 1 to {there}, which is how many there are")
    _check(config.devices == 1 or config.method != "loop", "devices", config.devices, "1 with --method loop")
    _check(config.workers >= 1, "workers", config.workers, "at least 1")
    _check(
        config.devices == 1 or config.workers == 1, "devices", config.devices, "1 with --workers, which have one each"
    )
    timed = "budget_seconds" in budget(config.budget)
    _check(config.workers == 1 or not timed, "budget", config.budget, "steps, as 500steps, with --workers")
    rows.points(*config.rates, config.points, search=config.search)
    return config


def budget(text: str) -> dict[str, Any]:
    """Parse a budget into the keywords of `study.StudySettings`: seconds of the study or steps of each run."""
    if not text:
        return {}
    steps, seconds = re.fullmatch(r"(\d+(?:\.\d+)?)steps", text), seconds_of(text)
    _check(steps or seconds is not None, "budget", text, "a time as 90s, 5m or 1h, or steps as 500steps")
    number = float(steps[1]) if steps else seconds or 0.0
    _check(number > 0 and (not steps or number.is_integer()), "budget", text, "above 0, and whole steps")
    return {"budget_steps": int(number)} if steps else {"budget_seconds": number}


class Prepared(NamedTuple):
    """The options of a study, and what they name."""

    config: Config
    problems: list[studies.Problem]
    contenders: list[Contender]
    spaces: dict[str, spaces.Space] | None  # of a joint study
    broken: dict[Pair, str]  # errors of first trials

    def study(self, folder: Path, **more: Any) -> study.Study:
        """Return the study in a folder; ``more`` are arguments of `study.Study`."""
        config = self.config
        settings = study.StudySettings(
            rates=rows.points(*config.rates, config.points, search=config.search),
            seeds=config.seeds,
            tuning_seeds=config.tuning_seeds,
            method=None if config.method == "auto" else config.method,
            devices=config.devices,
            diagnose=config.diagnose,
            **budget(config.budget),
        )
        labels = {one.label for one in self.contenders}
        more |= {"planted": [pair for pair in PLANTED if {*pair} <= labels], "spaces": self.spaces}
        return study.Study(folder, self.problems, self.contenders, settings, broken=self.broken, **more)


def prepare(config: Config) -> Prepared:
    """Check all options and try all optimizers, so that mistakes show up before anything is written.

    Raises:
        ValueError: see `resolve`, `choose_problems` and `try_all`.
    """
    with commandline.naming_config(config):
        config = resolve(config)
        problems = choose_problems(config)
        chosen = [contenders.contender(name) for name in config.optimizer]
        tuned = joint_spaces(config, chosen)
        return Prepared(config, problems, chosen, tuned, try_all(problems, chosen, tuned))


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line, run, and return the exit code."""
    config = commandline.parse(Config, argv, description=__doc__, prog="python -m experiments.compare_optimizers")
    commandline.use_compilation_cache()
    from experiments.compare_optimizers import workers  # which imports this module

    places = workers.places(config.workers) if config.workers > 1 else []
    prepared = prepare(config)
    if config.resume is not None:
        folder = runs.open_folder(config.resume)
    else:
        parent = Path("runs") / "compare_optimizers"
        folder = runs.create_dated(parent) if config.out is None else runs.create(config.out)
    with runs.lock(folder, new=config.resume is None):
        workers.gather(folder, argv)  # those of a command that was killed
        if places:
            growing.keep_config(folder, prepared.config, argv)
            return workers.share(prepared.config, folder, places, argv) or report_on(folder)
        devices = jax.devices()[: config.devices]
        growing.describe_folder(folder, prepared.config, prepared.problems, devices=devices, argv=argv)
        return run(prepared, folder) or report_on(folder)


def choose_problems(config: Config) -> list[studies.Problem]:
    """Return the problems that the options name.

    Raises:
        ValueError: if two problems have one name.
    """
    problems = [named_problem(name, config.data_dir) for name in config.problems]
    names = [problem.name for problem in problems]
    _check(len({*names}) == len(names), "problems", names, "of different names")
    return problems


def joint_spaces(config: Config, chosen: Sequence[Contender]) -> dict[str, spaces.Space] | None:
    """Return what each optimizer tries in a joint study; None if the rate alone is tuned."""
    if config.space == "rate":
        return None
    return {one.label: spaces.space(one, config.rates, config.points) for one in chosen}


def try_all(
    problems: Sequence[studies.Problem], chosen: Sequence[Contender], tuned: Mapping[str, spaces.Space] | None
) -> dict[Pair, str]:
    """Return the errors of those optimizers that do not work on a problem, by the names of both.

    Raises:
        ValueError: if no optimizer works on any problem.
    """
    broken, errors = {}, []
    for problem in problems:
        params, _ = jax.eval_shape(problem.init, jax.random.key(0))
        for one in chosen:
            found = one if tuned is None else one._replace(build=tuned[one.label].build)
            tried = () if tuned is None else tuned[one.label].points
            try:
                contenders.check(found, params, settings=len(tried[0].values) + 1 if tried else 0)
            except ValueError as error:
                broken[problem.name, one.label] = contenders.error_line(error.__cause__ or error)
                errors.append(error)
    if len(errors) == len(problems) * len(chosen):
        raise errors[0]
    return broken


def run(prepared: Prepared, folder: Path) -> int:
    """Make all runs that the folder lacks, and return the exit code."""
    with runs.StudyProgress() as progress, runs.catch_stop() as request:
        whole = prepared.study(
            folder, line=progress.line, advance=progress.advance, stop=lambda: request.signal is not None
        )
        progress.begin(whole.groups)
        try:
            whole.run()
        except study.Stopped:
            name = request.signal.name if request.signal else "asked to stop"
            again = resuming(folder, prepared.config)
            progress.line(f"{name}: all finished runs are in {folder}; resume with {again}")
            return request.exit_code
    return 0


def resuming(folder: Path, config: Config) -> str:
    """Return the arguments that resume a study, with the option of this command that its folder does not keep."""
    return f"{commandline.resuming(folder, config)}{' --diagnose' if config.diagnose else ''}"


def report_on(folder: Path) -> int:
    """Write the report, and return the exit code."""
    from experiments.compare_optimizers import report  # matplotlib takes a second to import

    print(f"results: {folder / 'results.csv'}")
    print(f"report: {report.write(folder)}")
    return 0


def _check(right: Any, name: str, value: Any, allowed: str) -> None:
    if not right:
        raise ValueError(f"{name}={value!r} is not allowed: it must be {allowed}")
