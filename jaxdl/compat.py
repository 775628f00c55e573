"""Calls that differ between versions of JAX stand here and nowhere else."""

import jax
from jax.sharding import AxisType, Mesh

__all__ = ["data_mesh", "shard_map"]


def data_mesh(devices: list, axis_name: str) -> Mesh:
    """A one-axis mesh whose sharding the compiler propagates; `jax.make_mesh` defaults to Explicit axes since 0.9."""
    return jax.make_mesh((len(devices),), (axis_name,), axis_types=(AxisType.Auto,), devices=devices)


def shard_map(f, *, mesh: Mesh, in_specs, out_specs):
    """`jax.shard_map` with the old meaning of psum under differentiation.

    With the default ``check_vma=True`` the gradient with respect to a replicated argument is summed over devices once
    more, silently (jax issue 36886).
    """
    return jax.shard_map(f, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False)
