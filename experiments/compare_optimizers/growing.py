"""How a study grows when it is resumed with more seeds, optimizers or problems, and what its folder says about it."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.compare_optimizers.rows import checksums
from jaxdl import studies
from jaxdl.runs import commandline, names, records
from jaxdl.runs import folder as folders
from jaxdl.runs.progress import seconds_of

if TYPE_CHECKING:
    from experiments.compare_optimizers.command import Config


def grown(stored: "Config", given: "Config") -> "Config":
    """Return the config of a study that is resumed with further seeds, optimizers and problems.

    Names that the study has already need not be repeated. The other options decide what its runs mean, so they stay;
    `commandline.parse` compares them.

    Raises:
        ValueError: if there are fewer seeds than before, or further problems in a study with a budget of time.
    """
    if given.seeds < stored.seeds:
        raise ValueError(
            f"--resume {given.resume}: seeds is {stored.seeds} in the run, {given.seeds} here; a study keeps its runs, "
            "so it may have more seeds and not fewer"
        )
    problems = _union("problem", stored.problems, given.problems)
    if problems != stored.problems and seconds_of(stored.budget) is not None:
        raise ValueError(
            f"--resume {given.resume}: problems is {stored.problems!r} in the run, {given.problems!r} here; its budget "
            f"{stored.budget!r} is divided among its problems, so a study of more problems has fewer steps of each; "
            "start a new one, or give steps as the budget"
        )
    optimizer = _union("optimizer", stored.optimizer, given.optimizer)
    return dataclasses.replace(given, problems=problems, optimizer=optimizer)


def _union(argument: str, before: Sequence[str], given: Sequence[str]) -> tuple[str, ...]:
    """Return the names of before and those given that are not among them, however these are spelled."""
    spelled = names.optimizer_label if argument == "optimizer" else lambda text: str(names.parse(argument, text))
    known = [spelled(text) for text in before]
    return (*before, *(text for text in given if spelled(text) not in known))


def describe_folder(
    folder: Path,
    config: "Config",
    problems: Sequence[studies.Problem],
    *,
    devices: Sequence[Any],
    argv: Sequence[str] | None = None,
) -> None:
    """Write config and manifest of a new study, and those of a resumed one if it grows.

    Raises:
        ValueError: if the arrays of a problem that the study has already are not those that it began with; see
            `folder.check_same_data`.
    """
    sums, path = checksums(problems), folder / folders.MANIFEST
    source = folders.DataSource(", ".join(sums), "of the arrays and the first epoch's batches", sums)
    begun = records.read_record(path, folders.Manifest) if path.exists() else None
    if begun is not None:
        before = begun.data.sha256 if begun.data is not None else {}
        folders.check_same_data(folder, {name: digest for name, digest in sums.items() if name in before})
    keep_config(folder, config, argv)
    if begun is None:
        folders.write_manifest(folder, seed=0, devices=devices, source=source, argv=argv)
    elif begun.data is not None and begun.data.sha256 != sums:
        records.write_json(path, records.read_record(path, folders.Manifest)._replace(data=source))


def keep_config(folder: Path, config: "Config", argv: Sequence[str] | None = None) -> None:
    """Write the config of a new study, or of a resumed one if it grows."""
    if config.resume is None:
        commandline.save_config(folder, config)
    elif (stored := commandline.load_config(type(config), folder)) != (grew := _with_growth(stored, config)):
        commandline.save_config(folder, grew)
        folders.note_command(folder, argv)


def _with_growth(stored: "Config", config: "Config") -> "Config":
    return dataclasses.replace(stored, **{name: getattr(config, name) for name in config.GROWS})
