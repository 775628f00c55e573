"""The first weights of a run: fresh ones, or with ``--start-from`` those of another run or of a file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import traverse_util

from jaxdl import interop, nn, runs
from jaxdl.runs import folder as folders
from jaxdl.runs import records

Named = dict[str, Any]  # path, such as params/fc/kernel -> array


def variables(given: str, fresh: tuple[Any, Any], layer: nn.Layer, *, model: str, trust_run: bool) -> tuple[Any, Any]:
    """Return params and state with given arrays in place of the fresh ones of the same path and shape.

    Only the last layer with parameters, the head, may be absent from the given ones or have another shape there, as
    with another number of classes; then it stays fresh.

    Args:
        given: folder of a finished run, or a file that `interop.save` wrote.
        fresh: params and state as from ``layer.init``.
        layer: the network.
        model: the name that `layer` was made by; a folder that names the same one needs no consent.
        trust_run: see `runs.load`.

    Raises:
        ValueError: naming the arrays that do not fit.
    """
    own, found = _named(*fresh), _read(given, model, trust_run)
    fits = {name for name, leaf in own.items() if name in found and jnp.shape(found[name]) == jnp.shape(leaf)}
    head = _head(layer, fresh[0])
    wrong = sorted(name for name in own.keys() - fits if not name.split("/", 1)[1].startswith(f"{head}/"))
    if wrong or not fits:
        differ = [f"{name} {_about(own[name])}, there {_about(found.get(name))}" for name in (wrong or sorted(own))[:5]]
        more = f"; and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise ValueError(f"start_from={given!r} does not fit the network: {'; '.join(differ)}{more}")
    taken = {name: jnp.asarray(found[name], leaf.dtype) if name in fits else leaf for name, leaf in own.items()}
    tree = traverse_util.unflatten_dict(taken, sep="/")
    return tuple(_like(old, tree.get(name, {})) for name, old in zip(("params", "state"), fresh, strict=True))  # pyright: ignore


def _read(given: str, model: str, trust_run: bool) -> Named:
    if Path(given).is_dir():
        stored = records.read_json(folders.open_folder(given) / folders.CONFIG)
        run = runs.load(given, trust_run=trust_run or stored.get("model") == model)
        return _named(run.params, run.state)
    return dict(interop.read(given))


def _named(params: Any, state: Any) -> Named:
    return traverse_util.flatten_dict({"params": params, "state": state}, sep="/")


def _like(old: Any, new: Mapping[str, Any]) -> Any:
    """Return the new leaves in the structure of the old tree, empty parts included."""
    return jax.tree.unflatten(jax.tree.structure(old), jax.tree.leaves({**new} if new else old))


def _head(layer: nn.Layer, params: Any) -> str:
    """Return the path of the last layer with parameters."""
    names = {name.rpartition("/")[0] for name in traverse_util.flatten_dict(params, sep="/")}
    return [path for path in nn.paths(layer) if path in names][-1]


def _about(leaf: Any) -> str:
    return "nothing" if leaf is None else str(tuple(jnp.shape(leaf)))
