"""What every experiment's command line shares: parsing, resuming, errors, progress."""

import argparse
import dataclasses
import os
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax

from jaxdl.runs import folder as folders
from jaxdl.runs.member import Diverged

Config = TypeVar("Config")
FREE = ("out", "resume", "data_dir")  # where things lie is not what is computed


def parse(config_type: type[Config], argv: Sequence[str] | None = None, **options: Any) -> Config:
    """Parse a command line into a frozen dataclass; with ``--resume DIR`` the run's own config is the default.

    Raises:
        ValueError: if an option given beside ``--resume`` differs from the run's, naming the option and both values.
    """
    import tyro

    argv = sys.argv[1:] if argv is None else list(argv)
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--resume")
    resume = finder.parse_known_args(argv)[0].resume
    if resume is None:
        return tyro.cli(config_type, args=argv, **options)
    stored = load_config(config_type, resume)
    config = tyro.cli(config_type, args=argv, default=stored, **options)
    for field in dataclasses.fields(config_type):  # pyright: ignore[reportArgumentType]
        was, now = getattr(stored, field.name), getattr(config, field.name)
        if field.name not in FREE and was != now:
            raise ValueError(
                f"--resume {resume}: {field.name} differs: the run has {was!r}, the command line {now!r}; "
                "a resumed run keeps its config"
            )
    return config


def load_config(config_type: type[Config], folder: str | os.PathLike) -> Config:
    """The config of an existing run.

    Raises:
        ValueError: if the folder is no run of this experiment.
    """
    path = folders.open_folder(folder) / folders.CONFIG
    stored = {name: tuple(v) if isinstance(v, list) else v for name, v in folders.read_json(path).items()}
    if stored.get("data_dir") is not None:
        stored["data_dir"] = pathlib.Path(str(stored["data_dir"]))
    known = {field.name for field in dataclasses.fields(config_type)}  # pyright: ignore[reportArgumentType]
    if foreign := sorted({*stored} ^ (known - {"out", "resume"})):
        raise ValueError(f"{path}: is the config of another experiment or version; {', '.join(foreign)} differ")
    return config_type(**stored)


def save_config(folder: pathlib.Path, config: Any) -> None:
    """Write what `load_config` reads: all fields but where the run lies."""
    values = {name: v for name, v in dataclasses.asdict(config).items() if name not in ("out", "resume")}
    values["data_dir"] = str(values["data_dir"]) if values.get("data_dir") is not None else None
    folders.write_json(folder / folders.CONFIG, values)


def run_main(main: Callable[[], int]) -> None:
    """Run an experiment and exit: a user's error is one line and code 2, a diverged run code 1."""
    try:
        sys.exit(main())
    except Diverged as error:
        print(f"stopped: {error}", file=sys.stderr)
        sys.exit(1)
    except ValueError as error:
        if os.environ.get("JAXDL_TRACEBACK"):
            raise
        print(f"error: {error}\n(JAXDL_TRACEBACK=1 shows where)", file=sys.stderr)
        sys.exit(2)


def use_compilation_cache() -> None:
    """Let XLA's programs outlive the process, in a per-user folder, unless the user has configured a cache."""
    if jax.config.jax_compilation_cache_dir is None:  # pyright: ignore[reportAttributeAccessIssue]
        base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
        jax.config.update("jax_compilation_cache_dir", str(pathlib.Path(base) / "jaxdl" / "xla"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
