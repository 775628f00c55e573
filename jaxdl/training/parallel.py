"""One step on several devices: pmap, jit with a sharded batch, or shard_map, behind one call.

All three compute the same: the batch is split evenly, parameters are replicated, gradients and metrics are summed
over the devices. They differ in what a network sees. Under "pmap" and "shard_map" each device runs the program on its
own part: batch statistics are synchronised over the axis name, and dropout draws its own mask per device. Under "jit"
the program is written for the whole batch and XLA splits it: statistics and masks are those of one device.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from jaxdl import compat

AXIS = "devices"
STRATEGIES = ("pmap", "jit", "shard_map")


class Parallel(NamedTuple):
    """A compiled step for given devices, and the functions that put its arguments there."""

    step: Callable[..., tuple[Any, Any]]  # (state, batch, key) -> (state, metrics), state donated
    place: Callable[[Any], Any]  # state or key, replicated on all devices
    shard: Callable[[Any], Any]  # batch, split along its first axis
    size: int  # number of devices


def data_parallel(
    step: Callable[..., tuple[Any, Any]],
    *,
    strategy: str | None = None,
    devices: Sequence[Any] | int | None = None,
) -> Parallel:
    """Compile ``step(state, batch, key, *, axis_name) -> (state, metrics)`` for one or several devices.

    Args:
        step: as from `train_step`. It is called with ``axis_name=None`` under "jit".
        strategy: "pmap", "jit" or "shard_map"; None is "jit" on one device and "pmap" on several.
        devices: which, or how many of `jax.devices()`; all by default.

    Returns:
        A `Parallel`. Pass the state through ``place`` once, before the first step: a state that is not replicated
        would make the second step compile again. ``place`` copies; ``step`` donates: the state passed in is gone.

    Raises:
        ValueError: for an unknown strategy, and for no devices or more than there are; ``shard`` raises one for a
            batch that the devices do not divide.
    """
    devices = _devices(devices)
    if strategy is None:
        strategy = "jit" if len(devices) == 1 else "pmap"
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy={strategy!r} is not one of {', '.join(STRATEGIES)}")
    mesh = compat.data_mesh(devices, AXIS)
    replicated, split = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec(AXIS))

    def shard(batch: Any) -> Any:
        _check_divisible(batch, len(devices))
        if strategy == "pmap":
            batch = jax.tree.map(lambda a: a.reshape(len(devices), -1, *a.shape[1:]), batch)
        return jax.device_put(batch, split)

    return Parallel(
        _COMPILE[strategy](step, mesh, replicated, split),
        # a shard may lie in the original's own buffer, may_alias=False or not, and donating it deletes the original
        lambda tree: jax.device_put(jax.tree.map(jnp.copy, tree), replicated),
        shard,
        len(devices),
    )


def data_parallel_eval(
    step: Callable[..., tuple[Any, Any]], *, devices: Sequence[Any] | int | None = None
) -> Callable[..., tuple[Any, Any]]:
    """Compile ``step(variables, batch)``, as from `eval_step`, with the batch split over the devices.

    The devices must divide the batch size, and the variables may lie on any of them. See `data_parallel` for
    ``devices`` and its errors.
    """
    mesh = compat.data_mesh(_devices(devices), AXIS)
    replicated, split = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec(AXIS))
    compiled = jax.jit(step, out_shardings=replicated)

    def sharded(variables: Any, batch: Any) -> tuple[Any, Any]:
        _check_divisible(batch, mesh.size)
        return compiled(jax.device_put(variables, replicated), jax.device_put(batch, split))

    return sharded


def _check_divisible(batch: Any, devices: int) -> None:
    for leaf in jax.tree.leaves(batch):
        if leaf.shape[0] % devices:
            raise ValueError(f"batch size {leaf.shape[0]} is not divisible by {devices} devices")


def _devices(devices: Sequence[Any] | int | None) -> list[Any]:
    there = jax.devices()
    if devices is None:
        return there
    if isinstance(devices, Iterable):
        chosen = list(devices)
        if not chosen or len(set(chosen)) < len(chosen):
            raise ValueError(f"devices={devices}: must name at least one device and none twice")
        return chosen
    if not 1 <= devices <= len(there):
        raise ValueError(
            f"devices={devices}: must be at least 1 and at most {len(there)} ({there[0].platform}); on CPU, the "
            f"environment variable JAX_NUM_CPU_DEVICES={devices} makes that many virtual ones"
        )
    return there[:devices]


def _pmap(step, mesh, replicated, split):
    del replicated, split
    return jax.pmap(
        lambda state, batch, key: step(state, batch, key, axis_name=AXIS),
        axis_name=AXIS,
        in_axes=(None, 0, None),
        out_axes=(None, None),
        devices=list(mesh.devices.flat),
        donate_argnums=0,
    )


def _jit(step, mesh, replicated, split):
    del mesh
    return jax.jit(
        lambda state, batch, key: step(state, batch, key, axis_name=None),
        in_shardings=(replicated, split, replicated),
        out_shardings=(replicated, replicated),
        donate_argnums=0,
    )


def _shard_map(step, mesh, replicated, split):
    mapped = compat.shard_map(
        lambda state, batch, key: step(state, batch, key, axis_name=AXIS),
        mesh=mesh,
        in_specs=(PartitionSpec(), PartitionSpec(AXIS), PartitionSpec()),
        out_specs=(PartitionSpec(), PartitionSpec()),
    )
    return _jit(lambda state, batch, key, *, axis_name: mapped(state, batch, key), mesh, replicated, split)


_COMPILE = {"pmap": _pmap, "jit": _jit, "shard_map": _shard_map}
