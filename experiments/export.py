"""Write the network of a run into files for other programs, with a model card.

    python -m experiments.export runs/train_cnn/2025-01-31_12-00-00
    python -m experiments.export RUN --format stablehlo safetensors linen --batch-size 64

- model.stablehlo: the network with its weights and its preprocessing, for CPU and CUDA, as `jax.export` writes it. It
  maps raw images to the network's outputs, and needs nothing but JAX where it is loaded.
- model.safetensors: the weights, by the paths of their leaves.
- linen.msgpack: the variables of a flax module, which `jaxdl.interop.to_linen` makes of the network.
- README.md: the model card: data, settings, scores per class, and how to load each file.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import jax
import jax.numpy as jnp
import tyro
from flax import serialization

from experiments import cards
from jaxdl import data, disk, interop, runs
from jaxdl.data.reading.archives import readable
from jaxdl.extras import need
from jaxdl.runs import commandline
from jaxdl.texts import printable

Format = Literal["stablehlo", "safetensors", "linen"]
PLATFORMS: Final = ("cpu", "cuda")


@dataclasses.dataclass(frozen=True)
class Config:
    """The run and the files to write."""

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of a run; of an unfinished one, the newest checkpoint counts."""
    format: tuple[Format, ...] = ("stablehlo", "safetensors")
    """Files to write: stablehlo, safetensors, linen."""
    optimizer: str | None = None
    """The optimizer whose weights to write, in a run with several; the first by default."""
    batch_size: int = 0
    """Number of images in a call of the StableHLO program. 0: any."""
    out: Path | None = None
    """Folder of the files; by default export/OPTIMIZER in the run folder."""
    trust_run: bool = False
    """Import and call a network that the run's config names as package.module:function. It can be any code, so use this
    only for folders that you trust, such as your own."""


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line, write the files, and return the exit code."""
    config = commandline.parse(Config, argv, description=__doc__, prog="python -m experiments.export")
    if not config.format:
        raise ValueError(f"format: give at least one of {', '.join(WRITERS)}")
    if config.batch_size < 0:
        raise ValueError(f"batch_size={config.batch_size} is not allowed: it must be at least 0")
    run = runs.load(config.run, optimizer=config.optimizer, trust_run=config.trust_run)
    out = config.out or config.run / "export" / runs.optimizer_folder(run.optimizer)
    out.mkdir(parents=True, exist_ok=True)
    for one in dict.fromkeys(config.format):
        WRITERS[one](out, run, config.batch_size)
    disk.write_whole(out / cards.FILE, cards.card(config.run, run, out, dict.fromkeys(config.format)))
    for path in sorted(out.iterdir()):
        print(printable(f"{readable(str(path))}: {path.stat().st_size:,} bytes"))
    return 0


@functools.cache
def any_number() -> Any:
    """Return the symbolic number of images: one per process, since JAX caches traces and refuses to mix scopes."""
    from jax import export

    return export.symbolic_shape("n")[0]


def program(run: runs.Run, batch_size: int) -> Any:
    """Return ``raw images -> outputs`` as `jax.export.Exported`, with weights and preprocessing, for `PLATFORMS`.

    Args:
        run: the run.
        batch_size: number of images in a call; 0 for any.

    Raises:
        ValueError: if the network cannot be lowered for any number of images.
    """
    from jax import export

    def outputs(images: jax.Array) -> jax.Array:
        return run.layer.apply(run.params, run.state, data.normalize(images, run.preprocessing))[0]

    images = jax.ShapeDtypeStruct((batch_size or any_number(), *run.in_shape), jnp.float32)
    try:
        return export.export(jax.jit(outputs), platforms=PLATFORMS)(images)
    except (jax.errors.InconclusiveDimensionOperation, TypeError, ValueError) as error:
        if batch_size:
            raise
        why = str(error).partition("\n")[0]
        raise ValueError(
            f"batch_size=0: the network {run.config['model']!r} cannot be written for any number of images ({why}); "
            "give a number, such as --batch-size 1"
        ) from error


def write_stablehlo(out: Path, run: runs.Run, batch_size: int) -> None:
    """Write the program."""
    need("flatbuffers", purpose="writing StableHLO")
    disk.write_whole(out / cards.FILES["stablehlo"], bytes(program(run, batch_size).serialize()))


def write_safetensors(out: Path, run: runs.Run, batch_size: int) -> None:
    """Write the weights by their paths."""
    del batch_size
    interop.save(out / cards.FILES["safetensors"], run.params, run.state)


def write_linen(out: Path, run: runs.Run, batch_size: int) -> None:
    """Write the variables of the module that `interop.to_linen` makes."""
    del batch_size
    variables = jax.device_get({"params": run.params, "batch_stats": run.state})
    disk.write_whole(out / cards.FILES["linen"], serialization.msgpack_serialize(variables))


WRITERS: Final[dict[str, Callable[[Path, runs.Run, int], None]]] = {
    "stablehlo": write_stablehlo,
    "safetensors": write_safetensors,
    "linen": write_linen,
}


if __name__ == "__main__":
    commandline.run_main(main)
