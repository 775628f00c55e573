"""Lead the fuzzers of all targets, and write their table."""

import argparse
import json
import pathlib
import platform
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from benchmarks import fuzz
from benchmarks.fuzz import targets

Path = pathlib.Path
MEMORY_MB = 2048
SECONDS = 20  # for one input
LONGEST = 1 << 16  # bytes of an input
FOREIGN = ("libfuzzer exiting", "libFuzzer: timeout", "libFuzzer: out-of-memory", "libFuzzer: deadly signal")


class Result(NamedTuple):
    """What fuzzing one target gave."""

    name: str
    seconds: float
    inputs: int
    kept: int
    branches: tuple[int, int]
    findings: list[str]
    contained: int  # ends of a library that runs in a process of its own in use


def run_target(name: str, corpus: Path, minutes: float) -> Result:
    """Fuzz a target until its time is over, beginning again after each finding."""
    began, inputs, findings, contained = time.monotonic(), 0, [], 0
    (corpus / "findings").mkdir(parents=True, exist_ok=True)
    while (left := minutes * 60 - (time.monotonic() - began)) >= 1:
        options = [f"-max_total_time={left:.0f}", f"-timeout={SECONDS}", f"-rss_limit_mb={MEMORY_MB}"]
        options += [f"-max_len={LONGEST}", "-print_final_stats=1", f"-artifact_prefix={corpus / 'findings'}/{name}-"]
        done = _child("fuzz", name, str(corpus / name), *options)
        executed = re.findall(r"number_of_executed_units:\s*(\d+)|^#(\d+)", done.stderr, re.MULTILINE)
        inputs += max((int(a or b) for a, b in executed), default=0)
        if done.returncode == 0:
            break
        why = _why(done.stderr)
        if name == "hdf5" and "libFuzzer" in why:
            contained += 1
        else:
            findings.append(why)
        if not executed:  # it does not start: not worth trying again
            break
    out = corpus / f"{name}.json"
    replayed = _child("replay", name, str(corpus / name), str(out))
    if replayed.returncode:
        findings.append(_why(replayed.stderr))
    covered, there = json.loads(out.read_text()) if not replayed.returncode else (0, 0)
    kept = sum(1 for file in (corpus / name).iterdir())
    return Result(name, time.monotonic() - began, inputs, kept, (covered, there), findings, contained)


def _child(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "benchmarks.fuzz.child", *arguments], capture_output=True, text=True)


def _why(text: str) -> str:
    """Return the line of a fuzzer's output that tells why it ended."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = [line for line in lines if re.match(r"[\w.]+(Error|Exception|Exit)\b|==\d+== ?ERROR", line)]
    return (told or lines or ["no output"])[-1 if not told else 0][:200]


def page(results: list[Result], minutes: float, total: str) -> str:
    """Return the page of all results."""
    lines = [
        "# Mutated files, given to every reader",
        "",
        f"`python -m benchmarks.fuzz --minutes {minutes:g}`: {total}",
        "",
    ]
    lines += ["| reader | inputs | corpus | branches reached | findings |", "|---|---|---|---|---|"]
    for one in results:
        covered, there = one.branches
        share = f"{covered} of {there} ({100 * covered / there:.0f} %)" if there else ""
        found = "; ".join(sorted(set(one.findings))) or "none"
        found += f" ({one.contained} ends of libhdf5, which its own process contains)" if one.contained else ""
        lines.append(f"| {one.name} | {one.inputs:,} | {one.kept:,} | {share} | {found} |")
    return "\n".join([*lines, ""])


def main() -> int:
    """Fuzz, write the page, and return the exit code."""
    parser = argparse.ArgumentParser(description=fuzz.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="for each target")
    parser.add_argument("--only", default=",".join(targets.TARGETS))
    parser.add_argument("--at-once", type=int, default=2)
    parser.add_argument("--corpus", type=Path, default=Path("runs/fuzz"))
    args = parser.parse_args()
    chosen = args.only.split(",")
    if unknown := [name for name in chosen if name not in targets.TARGETS]:
        parser.error(f"--only: got {unknown[0]!r}, allowed are {', '.join(targets.TARGETS)}")
    if not args.minutes > 0:
        parser.error(f"--minutes: got {args.minutes}, allowed are numbers above 0")
    corpus = args.corpus.absolute()
    with ThreadPoolExecutor(args.at_once) as pool:
        results = list(pool.map(lambda name: run_target(name, corpus, args.minutes), chosen))
    total = (
        f"{sum(one.inputs for one in results):,} inputs in {sum(one.seconds for one in results) / 60:.0f} CPU minutes"
    )
    text = page(results, args.minutes, f"{total}, Python {platform.python_version()}.")
    print(text)
    if chosen == list(targets.TARGETS):
        Path(__file__).parent.with_suffix(".md").write_text(text)
    return 1 if any(one.findings for one in results) else 0


if __name__ == "__main__":
    sys.exit(main())
