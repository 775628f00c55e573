"""Measure jaxdl on a GPU or TPU: one command for a machine that is available for minutes and has no network.

    python -m benchmarks.on_gpu --pack DIR [--present FILE]     # at home: wheels, data and run.sh for that machine
    sh DIR/run.sh OUT [--minutes 8]                             # there, in the repository's root; or, without a pack:
    python -m benchmarks.on_gpu --out OUT [--minutes 8]
    python -m benchmarks.on_gpu --page OUT                      # at home: benchmarks/on_gpu.md and the README's line

The measurement has parts, the most valuable first. Each is a process of its own, so that it frees its memory and a
crash or a hang is contained, and it writes OUT/PART.json as it goes. Calling the command again resumes: it skips
finished parts and begins with those that were never tried. A part that does not fit into the remaining minutes is
skipped. The exit status is 0 if all parts are finished, else 1. JAX_COMPILATION_CACHE_DIR, if set, keeps the cache of
compiled programs out of OUT. `--dry-run` runs all parts with tiny sizes on CPU and measures nothing.
"""

import argparse
import sys
from pathlib import Path

from benchmarks.on_gpu import packing, page, parts, runner


def main(argv: list[str] | None = None) -> int:
    """Parse the command line, run the command and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.on_gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--out", type=Path, metavar="DIR", help="measure; write the parts' files there")
    what.add_argument("--pack", type=Path, metavar="DIR", help="collect there what another machine needs")
    what.add_argument("--page", type=Path, metavar="DIR", help="write benchmarks/on_gpu.md from the parts' files")
    parser.add_argument("--minutes", type=float, default=8.0, help="that the measurement may take (default: 8)")
    parser.add_argument("--dry-run", action="store_true", help="all parts with tiny sizes on CPU")
    parser.add_argument("--parts", nargs="+", default=[*parts.PARTS], metavar="PART", help=", ".join(parts.PARTS))
    parser.add_argument("--here", metavar="PART", help=argparse.SUPPRESS)  # one part, in this process
    parser.add_argument("--seconds", type=float, default=600.0, help=argparse.SUPPRESS)  # of that part
    packing.add_arguments(parser.add_argument_group("with --pack"))
    options = parser.parse_args(argv)
    if unknown := [name for name in options.parts if name not in parts.PARTS]:
        parser.error(f"--parts: got {', '.join(unknown)}, allowed are {', '.join(parts.PARTS)}")
    if not options.minutes > 0:
        parser.error(f"--minutes: got {options.minutes}, allowed are numbers above 0")
    if options.pack is not None:
        return packing.pack(options.pack, options)
    if options.page is not None:
        return page.publish(options.page)
    if options.here is not None:
        parts.run_here(options.here, options.out, seconds=options.seconds, dry_run=options.dry_run)
        return 0
    return runner.run(options.out, [parts.PARTS[name] for name in options.parts], options.minutes, options.dry_run)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
