"""The calls that differ between versions of JAX. No other module makes them."""

from typing import Any

import jax
from jax.sharding import AxisType, Mesh

__all__ = ["data_mesh", "shard_map", "whole"]


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
