"""A pack for a machine without network: wheels that it lacks, data, and the command to run there."""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ("jaxdl", "experiments", "benchmarks", "tests", "docs")  # travels beside the pack
# what the parts and the chosen tests import
NEEDED = ("flax", "optax", "jaxtyping", "beartype", "chex", "equinox", "hypothesis", "pytest", "pytest-xdist")
NEEDED += ("orbax-checkpoint", "tyro", "rich", "pooch", "scikit-learn", "matplotlib", "markdown-it-py", "pillow")
# comes with JAX, which must be there: its build depends on the machine
WITH_JAX = ("jax", "jaxlib", "ml-dtypes", "numpy", "opt-einsum", "scipy")
DATA = {"mnist": "mnist", "fashion_mnist": "fashion[-_]?mnist", "cifar10": "cifar[-_]?10(?!\\d)"}
PLATFORMS = [f"manylinux_2_{n}_x86_64" for n in (39, 35, 34, 31, 28, 27, 24, 17, 12, 5)]
PLATFORMS += ["manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64"]
RUN = """#!/bin/sh
# In the repository's root: sh {pack}/run.sh OUT [--minutes 8] [--parts ...] [--dry-run]
set -eu
pack=$(cd "$(dirname "$0")" && pwd)
out=$1
shift
if [ -d "$pack/wheels" ]; then
  site=$(mktemp -d)
  trap 'rm -rf "$site"' EXIT
  python3 -m pip install --quiet --no-index --no-deps --no-compile --find-links "$pack/wheels" --target "$site" \\
    "$pack"/wheels/*.whl
  PYTHONPATH=$site${PYTHONPATH:+:$PYTHONPATH}
fi
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
export JAXDL_DATA_DIR="$pack/data"
python3 -m benchmarks.on_gpu --out "$out" "$@"
"""


def add_arguments(group) -> None:
    """Add the options that go with --pack."""
    group.add_argument(
        "--present", type=Path, metavar="FILE", help="there: `pip list`, `pip freeze` or names, a line each"
    )
    group.add_argument("--python", default="3.12", metavar="VERSION", help="there (default: 3.12)")
    group.add_argument("--data", nargs="*", choices=[*DATA], default=["fashion_mnist", "cifar10"], help="to take along")
    group.add_argument("--limit", type=float, default=64.0, metavar="MIB", help="of pack and source (default: 64)")


def pack(folder: Path, options: argparse.Namespace) -> int:
    """Fill a new folder; returns 0.

    Raises:
        ValueError: if the folder is not empty, data are not there, or pack and source are larger than the limit.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"--pack {folder}: is not empty")
    there = present(options.present.read_text(encoding="utf-8")) if options.present is not None else {}
    folder.mkdir(parents=True, exist_ok=True)
    copy_data(folder / "data", options.data)
    fetch(folder / "wheels", missing(there, options.python), options.python)
    (folder / "run.sh").write_text(RUN.replace("{pack}", folder.name), encoding="utf-8")
    (folder / "README.md").write_text(readme(folder, options.python), encoding="utf-8")
    sizes = {part: size(folder / part) for part in ("wheels", "data")}
    sizes["source"] = sum(size(ROOT / part) for part in SOURCE)
    said = ", ".join(f"{part} {bytes_ / 2**20:.1f} MiB" for part, bytes_ in sizes.items())
    if sum(sizes.values()) > options.limit * 2**20:
        raise ValueError(
            f"{said}: more than --limit {options.limit:g} MiB. --present names what is there already, --data what to "
            "take along; CIFAR-10 fits as an archive of JPEG files"
        )
    print(f"{folder}: {said}\nin the repository's root there: sh {folder.name}/run.sh OUT")
    return 0


def present(text: str) -> dict[str, str]:
    """Names and versions, "" where there is none, from a list in any form that pip prints, or of names alone."""
    found = {}
    for line in re.split(r"[\n,]", text):
        match = re.match(r"\s*([A-Za-z0-9][\w.-]*)\s*(?:==|\s)?\s*(\d\S*)?\s*$", line)
        if match and match[1].lower() != "package":
            found[plain(match[1])] = match[2] or ""
    return found


def plain(name: str) -> str:
    """Return a package's normalized name."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pip(*arguments: str) -> str:
    """Run pip and return its output.

    Raises:
        ValueError: if it fails.
    """
    ran = subprocess.run([sys.executable, "-m", "pip", *arguments], capture_output=True, text=True, check=False)
    if ran.returncode:
        raise ValueError(f"pip {arguments[0]} failed: {ran.stderr.strip()[-2000:]}")
    return ran.stdout


def target(python: str) -> list[str]:
    """Return the options that make pip choose wheels for that machine."""
    platforms = [option for name in PLATFORMS for option in ("--platform", name)]
    return ["--only-binary=:all:", "--implementation", "cp", "--python-version", python, *platforms]


def missing(there: dict[str, str], python: str) -> list[str]:
    """Resolve the requirements against the versions present there, and return NAME==VERSION of the missing ones."""
    without = {*there, *WITH_JAX}
    wanted = [name for name in NEEDED if plain(name) not in without]
    if not wanted:
        return []
    with tempfile.TemporaryDirectory() as place:
        constraints, report = Path(place) / "constraints.txt", Path(place) / "report.json"
        pinned = [f"{name}=={version}" for name, version in there.items() if version and not name.startswith("nvidia")]
        constraints.write_text("\n".join(pinned), encoding="utf-8")
        # --ignore-installed: the packages of this machine do not matter there
        options = ["--dry-run", "--ignore-installed", "--quiet", "--target", place, "--report", str(report)]
        pip("install", *options, *target(python), "--constraint", str(constraints), *wanted)
        found = [one["metadata"] for one in json.loads(report.read_text(encoding="utf-8"))["install"]]
    return sorted(f"{one['name']}=={one['version']}" for one in found if plain(one["name"]) not in without)


def fetch(folder: Path, wanted: list[str], python: str) -> None:
    """Download wheels without their dependencies."""
    if wanted:
        pip("download", "--quiet", "--no-deps", "--dest", str(folder), *target(python), *wanted)


def copy_data(folder: Path, names: list[str]) -> None:
    """Copy data sets from JAXDL_DATA_DIR, and read the copies once.

    Raises:
        ValueError: if one is not there.
    """
    from jaxdl import data
    from jaxdl.data.reading import fetching

    source = fetching.data_folder()
    folder.mkdir()
    for name in names:
        inside = sorted(source.iterdir()) if source.is_dir() else []
        found = [path for path in inside if re.match(DATA[name], path.name.lower())]
        if not found:
            raise ValueError(f"--data {name}: {source} has no such file or folder; JAXDL_DATA_DIR says where to look")
        for path in found:
            copy = shutil.copytree if path.is_dir() else shutil.copyfile
            copy(path, folder / path.name)
        data.load(name, data_dir=folder, download=False)


def size(path: Path) -> int:
    """Return the bytes of a folder's files, without Python's caches."""
    return sum(one.stat().st_size for one in path.rglob("*") if one.is_file() and "__pycache__" not in one.parts)


def readme(folder: Path, python: str) -> str:
    """Return the instructions for that machine."""
    wheels = sorted(path.name for path in (folder / "wheels").glob("*.whl"))
    lines = "\n".join(f"* {name}" for name in wheels) or "none"
    return (
        f"Copy the repository and this folder to a machine with Python {python} and JAX for its accelerator; there, in "
        f"the repository's root:\n\n    sh {folder.name}/run.sh OUT --minutes 8\n\nNothing is downloaded. "
        f"Bring back OUT/*.json, and at home `python -m benchmarks.on_gpu --page OUT`.\n\nWheels:\n\n{lines}\n"
    )
