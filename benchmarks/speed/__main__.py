"""jaxdl compared with flax.linen, flax.nnx, equinox, Keras and PyTorch: one command, one table, one figure.

    python -m benchmarks.speed [--rows "step lenet5" "pool" ...] [--seconds 6] [--check]

Each row compiles its programs, checks their numbers against jaxdl's (the loss and every gradient of the first step; a
difference is an error), then runs all of them in turn, a few calls each, and takes the median. Earlier rows are kept,
so a slow machine can be measured in parts. The command writes benchmarks/speed.csv and, from it, speed.md and
speed.png. With `--check` it writes nothing, compares the ratios with the targets, and fails if one is missed by more
than a third. `pip install jaxdl[bench]` installs the peers; the table names missing ones. The process asks for huge
pages, as the experiments do (`experiments.restart_with_huge_pages`), which helps all peers on JAX.
"""

import argparse
import sys

import experiments

experiments.restart_with_huge_pages()  # before what is slow to import

from benchmarks.speed import report, rows, table  # noqa: E402


def main() -> int:
    """Measure the given rows, write the report, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="*", default=list(rows.ROWS), help=f"any of: {', '.join(rows.ROWS)}")
    parser.add_argument("--seconds", type=float, default=6.0, help="of measuring, for each row")
    parser.add_argument("--check", action="store_true", help="fail where a target is missed by more than a third")
    args = parser.parse_args()
    unknown = [name for name in args.rows if name not in rows.ROWS]
    if unknown:
        parser.error(f"--rows: got {unknown}, allowed are {', '.join(rows.ROWS)}")
    known = [] if args.check else table.read()
    for name in args.rows:
        measured = rows.ROWS[name](args.seconds)
        known = [one for one in known if one["row"] != name] + [{"row": name, **one} for one in measured]
        known.sort(key=lambda one: list(rows.ROWS).index(one["row"]))
        print(
            name, *(f"{one['peer']}: {one['milliseconds'] or one['note']}" for one in measured), sep="\n  ", flush=True
        )
        if not args.check:
            table.write(known)
    if args.check:
        return report.check(known)
    report.write(table.read())
    return 0


if __name__ == "__main__":
    sys.exit(main())
