"""Fuzz one target in this process, or replay its corpus: ``python -m benchmarks.fuzz.child fuzz|replay ...``."""

import importlib
import json
import logging
import pathlib
import sys
import tempfile

Path = pathlib.Path
INSTRUMENTED = ["jaxdl.data", "jaxdl.interop", "jaxdl.runs", "jaxdl.disk", "jaxdl.training.checkpoints"]
INSTRUMENTED += ["experiments.train_cnn.records", "PIL", "numpy.lib"]


def seed(name: str, corpus: Path) -> None:
    """Write a target's whole files into its corpus."""
    from benchmarks.fuzz import targets

    corpus.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as here:
        for number, content in enumerate(targets.TARGETS[name].seeds(Path(here))):
            (corpus / f"seed-{number}").write_bytes(content)


def fuzz(name: str, corpus: str, *options: str) -> None:
    """Fuzz a target with libFuzzer's options until one of its limits, or the first finding."""
    import atheris  # pyright: ignore[reportMissingImports]

    with atheris.instrument_imports(include=INSTRUMENTED):  # pyright: ignore[reportAttributeAccessIssue]
        from benchmarks.fuzz import targets
    logging.disable(logging.CRITICAL)
    seed(name, Path(corpus))
    with tempfile.TemporaryDirectory() as here:
        target = targets.TARGETS[name]
        path = Path(here) / target.name
        atheris.Setup(["fuzz", corpus, *options], lambda content: targets.one_input(target, path, content))
        atheris.Fuzz()


def replay(name: str, corpus: str, out: str) -> None:
    """Write the covered and all branches of a target's modules, reached by its corpus."""
    import coverage  # pyright: ignore[reportMissingImports]

    from benchmarks.fuzz import targets

    logging.disable(logging.CRITICAL)
    target = targets.TARGETS[name]
    sources = [str(importlib.import_module(module).__file__) for module in target.modules]
    # the modules are imported already; their definitions count as not reached, and only branches are reported
    measure = coverage.Coverage(  # pyright: ignore[reportAttributeAccessIssue]
        branch=True, include=sources, data_file=None
    )
    with tempfile.TemporaryDirectory() as here:
        measure.start()
        for file in sorted(Path(corpus).iterdir()):
            if file.is_file():
                targets.one_input(target, Path(here) / target.name, file.read_bytes())
        measure.stop()
    measure.json_report(outfile=out)
    totals = json.loads(Path(out).read_text())["totals"]
    Path(out).write_text(json.dumps([totals["covered_branches"], totals["num_branches"]]))


if __name__ == "__main__":
    {"fuzz": fuzz, "replay": replay}[sys.argv[1]](*sys.argv[2:])
