"""The calls that differ between versions of JAX. No other module makes them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh

__all__ = ["coordination", "data_mesh", "gather", "shard_map", "vary_alike", "varying_like", "whole"]


def coordination() -> Any:
    """Return the client of JAX's coordination service, which has the key-value store of all connected processes."""
    from jax.experimental import multihost_utils

    return multihost_utils.distributed.global_state.client  # pyright: ignore[reportPrivateImportUsage]


def gather(values: np.ndarray) -> np.ndarray:
    """Return the arrays that all connected processes call this with, stacked in the order of processes."""
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.process_allgather(values))


def data_mesh(devices: list, axis_name: str) -> Mesh:
    """Return a one-axis mesh whose sharding the compiler propagates.

    Since version 0.9, `jax.make_mesh` makes Explicit axes by default.
    """
    return jax.make_mesh((len(devices),), (axis_name,), axis_types=(AxisType.Auto,), devices=devices)


def shard_map(f, *, mesh: Mesh, in_specs, out_specs):
    """Call `jax.shard_map` with the old meaning of psum under differentiation.

    With the default ``check_vma=True``, JAX silently sums the gradient with respect to a replicated argument over the
    devices once more (jax issue 36886).
    """
    return jax.shard_map(f, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False)


def varying_like(tree: Any, like: Any) -> Any:
    """Return a tree whose arrays vary over the devices of a `jax.shard_map` as those of `like` do, too.

    The carry of a loop must do so from its start. Elsewhere the tree comes back as it is.
    """
    if not jax.sharding.get_abstract_mesh().manual_axes:
        return tree
    leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(like)]
    keys = [jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) for leaf in leaves]
    leaves = [jax.random.key_data(leaf) if key else leaf for leaf, key in zip(leaves, keys, strict=True)]
    never = jnp.any(jnp.stack([jnp.any(leaf.ravel()[:0] != 0) for leaf in leaves]))  # false: the compiler drops it
    return jax.tree.map(lambda leaf: jnp.where(never, leaf, leaf), tree)


def vary_alike(x: Any, y: Any) -> tuple[Any, Any]:
    """Return two arrays, each varying over the devices of a `jax.shard_map` as either does."""
    if jax.typeof(x).manual_axis_type == jax.typeof(y).manual_axis_type:
        return x, y
    return varying_like(x, y), varying_like(y, x)


def whole(context: Any) -> bool:
    """Return whether a primitive lowered in this `LoweringRuleContext` sees whole arrays, in a program for this
    process.

    It does not where XLA partitions the program over several devices, since XLA would gather the operands of a foreign
    call. A program for `jax.export` may run in a process without the code of that call.
    """
    module = context.module_context
    if module.lowering_parameters.for_export:
        return False
    axes = module.axis_context
    if isinstance(manual := getattr(axes, "manual_axes", None), frozenset):  # within shard_map
        return manual == frozenset(axes.mesh.axis_names)
    return getattr(axes, "num_devices", 1) == 1
