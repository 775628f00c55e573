"""One step on several devices: pmap, jit with a sharded batch, or shard_map, behind one call.

All three split the batch evenly, replicate the parameters, and sum gradients and metrics over the devices. They differ
in what a network sees. Under "pmap" and "shard_map", each device runs the program on its own part: batch statistics
are synchronised over the axis name, and dropout draws a mask per device. Under "jit", the program is written for the
whole batch and XLA splits it: statistics and masks are those of one device.

The devices may belong to several processes that `join` has connected. Each process then passes its own part of every
batch to ``shard`` (`own_part`), and equal states and keys to ``place``.
"""

import collections
from collections.abc import Callable, Iterable, Sequence
from numbers import Integral
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from jaxdl import compat, data
from jaxdl.data.splits import count_of
from jaxdl.training.resident import on_rows

AXIS = "devices"
STRATEGIES = ("pmap", "jit", "shard_map")


class Parallel(NamedTuple):
    """A compiled step for given devices, and the functions that put its arguments there."""

    step: Callable[..., tuple[Any, Any]]  # (state, batch, key) -> (state, metrics), state donated
    place: Callable[[Any], Any]  # state or key, replicated on all devices
    shard: Callable[[Any], Any]  # batch or rows, or this process's part of them, split along the first axis
    size: int  # number of devices
    lower: Callable[..., jax.stages.Lowered]  # takes the arguments of ``step``, or their shapes, and runs nothing


def data_parallel(
    step: Callable[..., tuple[Any, Any]],
    *,
    strategy: str | None = None,
    devices: Sequence[Any] | int | None = None,
    examples: data.Examples | None = None,
) -> Parallel:
    """Compile ``step(state, batch, key, *, axis_name) -> (state, metrics)`` for one or several devices.

    Args:
        step: as from `train_step`. It is called with ``axis_name=None`` under "jit".
        strategy: "pmap", "jit" or "shard_map"; None selects "jit" on one device, "pmap" on several, and "shard_map" on
            those of several processes, where "pmap" is not available.
        devices: the devices, or how many of `jax.devices()`; all by default.
        examples: a data set to keep on the devices, whole on each; see `replicate`. The compiled step then takes
            `data.Rows` of it instead of a batch, of shape (B,) for one step or (B, K) for up to K steps in one call.
            Metrics of the latter have a leading axis of K, with zeros for unused columns.

    Returns:
        A `Parallel`. Pass the state through ``place`` once, before the first step: a state that is not replicated
        would make the second step compile again. ``place`` copies; ``step`` donates the state that it receives. On
        several CPU devices, ``step`` waits for the step before.

    Raises:
        ValueError: for an unknown strategy, for "pmap" on devices of several processes, for no devices or more than
            exist, and for devices of which this process or another has none or fewer; ``shard`` raises it for a batch
            size that the number of devices does not divide, and for rows out of range.

    Examples:
        >>> def step(state, batch, key, *, axis_name=None):
        ...     return state + batch.sum(), {"sum": batch.sum()}
        >>> parallel = training.data_parallel(step, devices=1)
        >>> state, batch = parallel.place(jnp.zeros(())), parallel.shard(np.array([1.0, 2.0]))
        >>> state, metrics = parallel.step(state, batch, jax.random.key(0))
        >>> state
        Array(3., dtype=float32)
    """
    devices = _devices(devices)
    here = _local(devices)
    strategy = _strategy(strategy, len(devices), here)
    mesh = compat.data_mesh(devices, AXIS)
    replicated, split = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec(AXIS))
    # one CPU device reads host memory in the call itself, faster than after a separate transfer
    at_hand = strategy == "jit" and len(devices) == 1 and devices[0].platform == "cpu"

    def shard(batch: Any) -> Any:
        _check_divisible(batch, here)
        if examples is not None:
            _check_rows(batch, count_of(examples))
        if at_hand:
            return batch
        if strategy == "pmap":
            batch = jax.tree.map(lambda a: a.reshape(len(devices), -1, *a.shape[1:]), batch)
        return _put_parts(batch, split)

    if examples is None:
        compiled = _COMPILE[strategy](step, mesh, resident=False)
        lower = compiled.lower
    else:
        placed, on_placed = replicate(examples, devices), _COMPILE[strategy](on_rows(step), mesh, resident=True)
        compiled = lambda state, rows, key: on_placed(state, (placed, rows), key)
        lower = lambda state, rows, key: on_placed.lower(state, (placed, rows), key)
    return Parallel(
        _alone(compiled) if _virtual(devices) else compiled,
        # a shard may share the original's buffer, even with may_alias=False, and donating it would delete the original
        lambda tree: _put_whole(jax.tree.map(jnp.copy, tree), replicated),
        shard,
        len(devices),
        lower,
    )


def replicate(tree: Any, devices: Sequence[Any] | int | None = None) -> Any:
    """Put arrays on devices, whole on each, without copying what is there already. See `data_parallel`.

    On CPU, arrays of numpy may keep their memory, as with `jax.device_put`: change none in place afterwards.
    """
    return _put_whole(tree, NamedSharding(compat.data_mesh(_devices(devices), AXIS), PartitionSpec()))


def data_parallel_eval(
    step: Callable[..., tuple[Any, Any]], *, devices: Sequence[Any] | int | None = None
) -> Callable[..., tuple[Any, Any]]:
    """Compile ``step(variables, batch)``, as from `eval_step`, with the batch split over the devices.

    The number of devices must divide the batch size; the variables may be on any of them. Where the devices belong to
    several processes, each passes its own part of the batch, and gets the outputs of all. See `data_parallel` for
    ``devices`` and its errors.
    """
    devices = _devices(devices)
    here, mesh = _local(devices), compat.data_mesh(devices, AXIS)
    replicated, split = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec(AXIS))
    compiled = jax.jit(step, out_shardings=replicated)

    run = _alone(compiled) if _virtual(devices) else compiled

    def sharded(variables: Any, batch: Any) -> tuple[Any, Any]:
        _check_divisible(batch, here)
        return run(_put_whole(variables, replicated), _put_parts(batch, split))

    return sharded


def _virtual(devices: Sequence[Any]) -> bool:
    """Return whether these are several CPU devices."""
    return len(devices) > 1 and devices[0].platform == "cpu"


def _alone(compiled: Callable[..., Any]) -> Callable[..., Any]:
    """Return a program that begins once what it gets is there, as when the call before has ended.

    XLA's CPU devices share a pool of threads. Those that wait in a collective keep theirs, so that with several calls
    in flight none may be left for the device that they wait for, and XLA ends the process after 40 seconds.
    """

    def run(*args: Any) -> Any:
        return compiled(*jax.block_until_ready(args))

    return run


def _put_whole(tree: Any, sharding: NamedSharding) -> Any:
    """Put arrays whole on each device of the sharding, those of other processes included."""
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)

    def put(leaf: Any) -> Any:
        if isinstance(leaf, jax.Array) and leaf.sharding == sharding:
            return leaf
        if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(put(jax.random.key_data(leaf)), impl=jax.random.key_impl(leaf))
        whole = np.asarray(leaf)
        return jax.make_array_from_callback(whole.shape, sharding, lambda index: whole[index])

    return jax.tree.map(put, tree)


def _put_parts(batch: Any, sharding: NamedSharding) -> Any:
    """Split this process's part of a batch over its devices."""
    if sharding.is_fully_addressable:
        return jax.device_put(batch, sharding)
    return jax.tree.map(lambda a: jax.make_array_from_process_local_data(sharding, np.asarray(a)), batch)


def _local(devices: Sequence[Any]) -> int:
    """Return the number of devices that belong to this process, which must be the same for all processes."""
    counts = collections.Counter(device.process_index for device in devices)
    if len(counts) > 1 and (len(counts) < jax.process_count() or len(set(counts.values())) > 1):
        raise ValueError(
            f"devices: processes {sorted(counts)} of {jax.process_count()} have {[counts[i] for i in sorted(counts)]} "
            "of them; several processes must take part with all, and with equal numbers"
        )
    here = counts[jax.process_index()]
    if not here:
        raise ValueError(f"devices: got {list(devices)}, none of which belongs to process {jax.process_index()}")
    return here


def _strategy(strategy: str | None, devices: int, here: int) -> str:
    if strategy is None:
        return "jit" if devices == 1 else "pmap" if here == devices else "shard_map"
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy={strategy!r} is not one of {', '.join(STRATEGIES)}")
    if strategy == "pmap" and here < devices:
        raise ValueError("strategy='pmap': these devices belong to several processes; allowed are jit, shard_map")
    return strategy


def _check_divisible(batch: Any, devices: int) -> None:
    for leaf in jax.tree.leaves(batch):
        if leaf.shape[0] % devices:
            raise ValueError(f"batch size {leaf.shape[0]} is not divisible by {devices} devices")


def _check_rows(rows: data.Rows, count: int) -> None:
    """Raise ValueError for rows out of range, for which a device would silently read the nearest example."""
    row = np.asarray(rows.row)
    columns = row.reshape(len(row), -1)
    real = columns[:, : np.count_nonzero(columns[0] >= 0)]
    if not (real.size and real.min() >= 0 and real.max() < count and (columns[:, real.shape[1] :] == -1).all()):
        raise ValueError(
            f"rows: must lie in [0, {count - 1}], with any whole columns of -1 at the end; got values in "
            f"[{row.min()}, {row.max()}], of shape {row.shape}"
        )


def _devices(devices: Sequence[Any] | int | None) -> list[Any]:
    there = jax.devices()
    if devices is None:
        return there
    if isinstance(devices, Iterable) and not isinstance(devices, str):
        chosen = list(devices)
        if wrong := [one for one in chosen if not isinstance(one, jax.Device)]:
            raise ValueError(f"devices={devices}: {wrong[0]!r} is a {type(wrong[0]).__name__}, not a device")
        if not chosen or len(set(chosen)) < len(chosen):
            raise ValueError(f"devices={devices}: must name at least one device and none twice")
        return chosen
    if isinstance(devices, bool) or not isinstance(devices, Integral):
        raise ValueError(f"devices={devices!r}: must be a whole number, or a sequence of devices")
    count = int(devices)
    if not 1 <= count <= len(there):
        raise ValueError(
            f"devices={devices}: must be at least 1 and at most {len(there)} ({there[0].platform}); on CPU, the "
            f"environment variable JAX_NUM_CPU_DEVICES={devices} makes that many virtual ones"
        )
    return there[:count]


def _pmap(step, mesh, *, resident: bool):
    return jax.pmap(
        lambda state, batch, key: step(state, batch, key, axis_name=AXIS),
        axis_name=AXIS,
        in_axes=(None, (None, 0) if resident else 0, None),
        out_axes=(None, None),
        devices=list(mesh.devices.flat),
        donate_argnums=0,
    )


def _jit(step, mesh, *, resident: bool):
    replicated, split = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec(AXIS))
    return jax.jit(
        lambda state, batch, key: step(state, batch, key, axis_name=None),
        in_shardings=(replicated, (replicated, split) if resident else split, replicated),
        out_shardings=(replicated, replicated),
        donate_argnums=0,
    )


def _shard_map(step, mesh, *, resident: bool):
    whole, part = PartitionSpec(), PartitionSpec(AXIS)
    mapped = compat.shard_map(
        lambda state, batch, key: step(state, batch, key, axis_name=AXIS),
        mesh=mesh,
        in_specs=(whole, (whole, part) if resident else part, whole),
        out_specs=(whole, whole),
    )
    return _jit(lambda state, batch, key, *, axis_name: mapped(state, batch, key), mesh, resident=resident)


_COMPILE = {"pmap": _pmap, "jit": _jit, "shard_map": _shard_map}
