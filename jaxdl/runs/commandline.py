"""The command line of every experiment: parsing with tyro, resuming, errors, warnings, the compilation cache."""

import argparse
import ast
import contextlib
import dataclasses
import functools
import inspect
import itertools
import os
import pathlib
import signal
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, TextIO, TypeVar, cast, get_type_hints

import jax

from jaxdl.extras import needed
from jaxdl.runs import calling, decoding, progress, records
from jaxdl.runs import folder as folders
from jaxdl.runs.signals import Diverged
from jaxdl.texts import cut, printable, quoted, shortened

Config = TypeVar("Config")
# options of one command, which config.json does not keep
WHERE = ("out", "resume", "trust_run", "config", "dry_run", "find_lr")
NEWLINE = "\n"
FREE = (*WHERE, "data_dir")  # a resumed run may find its files elsewhere
LARGEST = 2**31 - 1  # of whole numbers: devices count steps and examples in int32
LARGEST_SEED = 2**32 - 1  # a random key keeps 32 bits of a seed


def parse(
    config_type: type[Config],
    argv: Sequence[str] | None = None,
    *,
    description: str | None = None,
    prog: str | None = None,
) -> Config:
    """Parse a command line into a frozen dataclass.

    With ``--resume DIR`` the config of that run gives the defaults, and must not change. With ``--config FILE``, a
    config.json or the folder of a run, it gives the defaults of a new run. A path may begin with ~.

    Args:
        config_type: a dataclass; the docstrings of its fields become the help of the options. Its class variable
            GROUPS, if it has one, maps titles to the names of the options below them; others come first. FOLLOWS maps
            options to the one that decides about their default: they are not taken from ``--config`` if that one is
            given otherwise. MOVABLE names options that a resumed run may change. GROWS names those that its method
            ``grown(given)`` checks and extends: it returns the resumed run's config.
        argv: the arguments; those of this process by default.
        description: text above the options, usually the module's docstring.
        prog: the command's name in the help.

    Raises:
        ValueError: for an empty argument, and for a whole number beyond `LARGEST` or, for a seed, `LARGEST_SEED`; if
            options next to ``--resume`` differ from the run's (the message has both values); or if the run names
            functions from outside of jaxdl that the command line neither repeats nor allows by ``--trust-run`` (see
            `trust`); or if `jax.distributed` connects this process with others already.
    """
    _check_alone(config_type)
    with needed("the command line", "experiments"):
        import tyro

    def cli(**more: Any) -> Any:
        found = tyro.cli(_with_help(config_type), args=argv, description=_paragraphs(description), prog=prog, **more)
        options = _flat(found)
        _check_sizes(options)
        return config_type(**options)

    argv = [_at_home(argument) for argument in (sys.argv[1:] if argv is None else argv)]
    _check_filled(argv)
    resume, given = (_found(config_type, argv, name) for name in ("resume", "config"))
    if (resume is None and given is None) or {"-h", "--help"} & {*argv}:
        return cli()
    if resume is not None and given is not None:
        why = "a resumed run keeps its own config"
        raise ValueError(f"--config {given} is not allowed beside --resume {resume}: {why}")
    if resume is not None:
        path, stored = pathlib.Path(resume) / folders.CONFIG, load_config(config_type, resume)
    else:
        path = config_path(given)
        stored = read_config(config_type, path)
    config: Any = cli(default=_nested(_with_help(config_type), vars(stored)))
    config = _resumed(stored, config, pathlib.Path(resume)) if resume is not None else _following(stored, config, argv)
    options = {name: getattr(stored, name) for name in _fields(config_type) - _free(config_type)}
    typed = {*argv, *(argument.partition("=")[2] for argument in argv)}
    kept = {name: value for name, value in options.items() if value == getattr(config, name)}
    calling.check_stored(path, options if resume is not None else kept, trust_run=config.trust_run, typed=typed)
    return config


def _check_alone(config_type: Any) -> None:
    """Raise ValueError if another program has connected this process with others: each of them would write."""
    if jax.distributed.is_initialized():
        alone = "this experiment runs in one process"
        how = "give --coordinator HOST:PORT --processes N --process I instead"
        raise ValueError(
            "jax.distributed.initialize() has been called before, and each of its processes would write into the run "
            f"folder; {how if 'coordinator' in _fields(config_type) else alone}"
        )


def _found(config_type: Any, argv: Sequence[str], name: str) -> str | None:
    """Return the value of an option that is read before the others."""
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument(f"--{name}", dest="found")
    return finder.parse_known_args(argv)[0].found if name in _fields(config_type) else None


def _following(stored: Config, config: Config, argv: Sequence[str]) -> Config:
    """Give the options that follow a changed one their defaults back, unless they are given, too."""
    for name, leader in getattr(type(config), "FOLLOWS", {}).items():
        option = f"--{name.replace('_', '-')}"
        typed = any(argument == option or argument.startswith(f"{option}=") for argument in argv)
        if not typed and getattr(config, leader) != getattr(stored, leader):
            default = type(config).__dataclass_fields__[name].default  # pyright: ignore[reportAttributeAccessIssue]
            config = dataclasses.replace(config, **{name: default})  # pyright: ignore[reportArgumentType]
    return config


def _flat(found: Any) -> dict[str, Any]:
    """Return the options of a parsed command line, without the groups of `_with_help`."""
    options = {}
    for name, value in vars(found).items():
        options |= _flat(value) if dataclasses.is_dataclass(value) else {name: value}
    return options


def _nested(grouped: Any, options: Mapping[str, Any]) -> Any:
    """Return an instance of `_with_help`'s class with these options."""
    values = {
        field.name: options[field.name] if field.name in options else _nested(type(field.default), options)
        for field in dataclasses.fields(grouped)
    }
    return grouped(**values)


@functools.cache
def _with_help(config_type: Any) -> Any:
    """Copy the dataclass for tyro: each docstring on one line, where it would keep the source's breaks, and groups."""
    with needed("the command line", "experiments"):
        import tyro

    docs: dict[str, str] = {}
    for one in reversed(config_type.__mro__[:-1]):  # inherited options come with their help, unless it is replaced
        body = ast.parse(textwrap.dedent(inspect.getsource(one))).body[0].body  # pyright: ignore
        for field, text in itertools.pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
                docs[ast.unparse(field.target)] = " ".join(str(text.value.value).split())
    hints = get_type_hints(config_type, include_extras=True)
    fields = {}
    for field in dataclasses.fields(config_type):
        hint = Annotated[hints[field.name], tyro.conf.arg(help=docs.get(field.name), prefix_name=False)]
        required = field.default is dataclasses.MISSING
        fields[field.name] = (field.name, hint) if required else (field.name, hint, field.default)
    groups = []
    for title, names in getattr(config_type, "GROUPS", {}).items():
        group = dataclasses.make_dataclass(title.capitalize(), [fields.pop(name) for name in names], frozen=True)
        groups.append((title, group, group()))
    return dataclasses.make_dataclass(config_type.__name__, [*fields.values(), *groups], frozen=True)


def _check_filled(argv: Sequence[str]) -> None:
    """Raise ValueError for an empty argument: an empty path would silently mean the current folder."""
    for place, argument in enumerate(argv):
        option = argument.removesuffix("=") if argument.startswith("--") else ""
        if argument == "" or option + "=" == argument:
            before = argv[place - 1] if place else ""
            name = option or (before if before.startswith("--") else f"argument {place + 1}")
            raise ValueError(f"{name} is empty; give a value, or leave it out for the default")


def _at_home(argument: str) -> str:
    """Return an argument with the user's folder for ~, which a shell leaves in ``--out=~/runs`` and in quotes."""
    option, equals, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
    return f"{option}{equals}{os.path.expanduser(value)}" if value == "~" or value.startswith("~/") else argument


def _check_sizes(options: Mapping[str, Any]) -> None:
    """Raise ValueError for a whole number that no array could count."""
    for name, value in options.items():
        limit = LARGEST_SEED if name == "seed" else LARGEST
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, int) and not -limit <= one <= limit:
                raise ValueError(f"{name}={one} is not allowed: it must be at most {limit:,}")


def _paragraphs(text: str | None) -> str | None:
    """Put each paragraph on one line, except indented ones, such as commands."""
    paragraphs = (text or "").strip().split("\n\n")
    return "\n\n".join(one if one.startswith(" ") else " ".join(one.split()) for one in paragraphs) or None


def resuming(folder: str | os.PathLike, config: Any) -> str:
    """Return the arguments that resume a run: ``--resume DIR``, with ``--trust-run`` if its config needs it."""
    foreign = any(calling.is_foreign(text) for value in vars(config).values() for text in calling.texts(value))
    return f"--resume {quoted(folder)}{' --trust-run' if foreign else ''}"


def _resumed(stored: Any, config: Any, resume: pathlib.Path) -> Any:
    """Return the config of a resumed run, which may have grown.

    Raises:
        ValueError: for options that it must not change.
    """
    config = stored.grown(config) if hasattr(stored, "grown") else config
    _check_same(stored, config, resume)
    return config


def _check_same(stored: Any, config: Any, resume: pathlib.Path) -> None:
    """Raise ValueError for options that a resumed run must not change; its ``check_extension`` decides on epochs."""
    if hasattr(stored, "check_extension") and stored.epochs != config.epochs:
        try:
            stored.check_extension(config.epochs)
        except ValueError as error:
            raise ValueError(f"--resume {resume}: {error}") from error
        stored = dataclasses.replace(stored, epochs=config.epochs)
    names = sorted(_fields(type(config)) - _free(type(config)) - {*getattr(config, "GROWS", ())})
    pairs = [(name, getattr(stored, name), getattr(config, name)) for name in names]
    differ = [f"{name} is {was!r} in the run, {now!r} here" for name, was, now in pairs if not _same(was, now)]
    if differ:
        raise ValueError(f"--resume {resume}: a resumed run keeps its config, but {'; '.join(differ)}")
    if config.out is not None and config.out.resolve() != resume.resolve():
        raise ValueError(f"--resume {resume}: a resumed run stays in its folder, but --out is {config.out}")


def _same(was: Any, now: Any) -> bool:
    """Compare two values of an option; one learning rate stands for several equal ones."""
    stands_for_all = isinstance(was, tuple) and isinstance(now, tuple) and len(now) == 1 and {*was} == {*now}
    return was == now or stands_for_all


def _passing(config_type: Any) -> set[str]:
    """Return the options of one command: `WHERE`, and those in the class variable PASSING of the config."""
    return {*WHERE, *getattr(config_type, "PASSING", ())}


def _free(config_type: Any) -> set[str]:
    """Return the options that a resumed run may change: `FREE`, and those in the class variable MOVABLE."""
    return {*FREE, *getattr(config_type, "MOVABLE", ())} | _passing(config_type)


def _kind(config_type: Any) -> str | None:
    """Return the experiment's name, the class variable EXPERIMENT of its config."""
    return getattr(config_type, "EXPERIMENT", None)


def _fields(config_type: Any) -> set[str]:
    return {field.name for field in dataclasses.fields(config_type)}


def load_config(config_type: type[Config], folder: str | os.PathLike) -> Config:
    """Read the config of an existing run.

    Raises:
        ValueError: if the folder is not a run of this experiment.
    """
    return read_config(config_type, folders.open_folder(folder) / folders.CONFIG)


def config_path(given: str | os.PathLike | None) -> pathlib.Path:
    """Return the path of a config.json that is given itself, or by the folder of its run."""
    path = pathlib.Path(given or "")
    return path / folders.CONFIG if path.is_dir() else path


def read_config(config_type: type[Config], path: pathlib.Path) -> Config:
    """Read a config.json.

    Raises:
        ValueError: if the file is missing, or is not the config of this experiment.
    """
    read = records.read_json(path)
    kind = read.pop("experiment", None)  # older folders have none
    if kind not in (None, _kind(config_type)):
        raise ValueError(f"{path}: is the config of the experiment {shortened(kind)}, not of {_kind(config_type)!r}")
    added = {*getattr(config_type, "ADDED", ())} - {*read}  # since that folder was written
    if foreign := sorted({*read} ^ (_fields(config_type) - _passing(config_type) - added)):
        differ = ", ".join(shortened(name) for name in foreign[:20])
        raise ValueError(f"{path}: is the config of another experiment or version; {differ} differ")
    hints = get_type_hints(config_type) | {"data_dir": str | None}  # JSON has no paths
    options = {name: decoding.decode(value, hints[name], path, name) for name, value in read.items()}
    if options.get("data_dir") is not None:
        options["data_dir"] = pathlib.Path(options["data_dir"])
    return config_type(**options)


@contextlib.contextmanager
def naming_config(config: Any) -> Iterator[None]:
    """Name config.json in a ValueError about options that a resumed run has read from it."""
    try:
        yield
    except ValueError as error:
        if config.resume is None:
            raise
        raise ValueError(f"{config.resume / folders.CONFIG}: {cut(str(error))}") from error


def spelled(value: Any) -> str:
    """Write the value of an option as on the command line."""
    if isinstance(value, list | tuple):
        return " ".join(map(spelled, value)) or "()"
    return str(value)


def save_config(folder: pathlib.Path, config: Any) -> None:
    """Write config.json: the experiment's name and all options except those of one command."""
    kind = _kind(type(config))
    about = {} if kind is None else {"experiment": kind}
    values = about | {name: v for name, v in dataclasses.asdict(config).items() if name not in _passing(type(config))}
    values["data_dir"] = str(values["data_dir"]) if values.get("data_dir") is not None else None
    records.write_json(folder / folders.CONFIG, values)


def run_main(main: Callable[[], int]) -> None:
    """Run an experiment and exit: with code 2 and a message after a user's mistake, with code 1 if the run diverged.

    A warning is one line on stderr, ``warning: text``, without the line of the library that raised it. Exceptions other
    than `ValueError`, `OSError`, `ImportError` and a lack of memory are bugs and keep their traceback. If the
    environment variable JAXDL_TRACEBACK is set, every exception does.
    """
    progress.show_any_text()
    try:
        named = cast(TextIO, progress.NamedOutput(sys.stdout))
        with warnings.catch_warnings(), contextlib.redirect_stdout(named):
            warnings.showwarning = _show_warning
            _check_here()
            code = main()
            sys.stdout.flush()  # here, where its error is reported like any other
            sys.exit(code)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    except (ValueError, OSError, ImportError, MemoryError, jax.errors.JaxRuntimeError) as error:
        device = isinstance(error, jax.errors.JaxRuntimeError)
        if os.environ.get("JAXDL_TRACEBACK") or (device and "RESOURCE_EXHAUSTED" not in str(error)):
            raise
        diverged = isinstance(error, Diverged)
        said = f"stopped: {printable(str(error), keep=NEWLINE)}" if diverged else f"error: {_describe(error)}"
        print(said, file=sys.stderr)
        try:
            sys.stdout.flush()
        except OSError:  # reported already; Python would complain again at the end, and exit with 120
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1 if diverged else 2)


def _check_here() -> None:
    """Raise ValueError if the current folder, which relative paths begin at, has been removed."""
    try:
        os.getcwd()
    except OSError as error:
        raise ValueError(f"the current folder cannot be used ({error.strerror}); change to another one") from error


def _show_warning(message: Warning | str, category: type[Warning], *where: Any) -> None:
    del category, where
    print(f"warning: {printable(str(message), keep=NEWLINE)}", file=sys.stderr)


def _describe(error: Exception) -> str:
    text = printable(str(error), keep=NEWLINE) or type(error).__name__
    if isinstance(error, MemoryError | jax.errors.JaxRuntimeError):
        text = f"there is not enough memory ({text.partition(NEWLINE)[0]})"
    if isinstance(error, ModuleNotFoundError):
        text += "; pip install 'jaxdl[experiments]' brings what experiments need"
    return f"{text}\n(JAXDL_TRACEBACK=1 shows where)"


def use_compilation_cache() -> None:
    """Cache compiled programs in a per-user folder, unless the user has configured a cache.

    If that folder cannot be written, there is no cache: it saves seconds and is not worth an error.
    """
    if jax.config.jax_compilation_cache_dir is not None:  # pyright: ignore[reportAttributeAccessIssue]
        return
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = pathlib.Path(base) / "jaxdl" / "xla"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    if os.access(folder, os.W_OK):
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
