"""Different treatment for different parameters: masks, labelled groups, frozen leaves, rates per group."""

from collections.abc import Hashable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from optax import GradientTransformation, GradientTransformationExtraArgs

from jaxdl.optimizers.states import EmptyState, MaskedNode, MaskedState, PartitionState

Mask = Any
"""A tree of bools (or a prefix of one), or a function from a tree to such a tree; None means everything."""


def masked(inner: GradientTransformation, mask: Mask) -> GradientTransformationExtraArgs:
    """Apply a transformation to the leaves where the mask is true; the others pass through unchanged.

    Args:
        inner: the transformation.
        mask: a tree of bools, a prefix of one, or a function of the tree that returns one.
    """

    def resolve(tree):
        return mask(tree) if callable(mask) else mask

    def hide(mask_tree, tree):
        return jax.tree.map(lambda keep, x: x if keep else MaskedNode(), mask_tree, tree)

    def init(params):
        return MaskedState(inner_state=inner.init(hide(resolve(params), params)))

    def update(updates, state, params=None, **extra_args):
        mask_tree = resolve(updates)
        extra_args = extra_args if isinstance(inner, GradientTransformationExtraArgs) else {}
        visible = None if params is None else hide(mask_tree, params)
        inner_updates, inner_state = inner.update(hide(mask_tree, updates), state.inner_state, visible, **extra_args)
        merged = jax.tree.map(lambda keep, new, old: new if keep else old, mask_tree, inner_updates, updates)
        return merged, MaskedState(inner_state=inner_state)

    return GradientTransformationExtraArgs(init, update)


def spread(mask: Mask, tree: Any) -> Any:
    """Return the mask with one bool per leaf of the tree."""
    prefix = mask(tree) if callable(mask) else mask
    return jax.tree.map(lambda keep, group: jax.tree.map(lambda leaf: keep, group), prefix, tree)


def partition(
    transforms: Mapping[Hashable, GradientTransformation], param_labels: Any
) -> GradientTransformationExtraArgs:
    """Give every labelled group of parameters a transformation of its own.

    Args:
        transforms: label → transformation.
        param_labels: a tree of labels, a prefix of one, or a function of the tree that returns one.

    Raises:
        ValueError: at init, a label has no transformation.

    See ``optax.partition``. Lecture row E10 (rates per group).
    """

    def groups(tree):
        labels = param_labels(tree) if callable(param_labels) else param_labels
        for label in jax.tree.leaves(labels):
            if label not in transforms:
                raise ValueError(f"param_labels has {label!r}: it must be one of {list(transforms)}")
        masks = {name: jax.tree.map(lambda label, n=name: label == n, labels) for name in transforms}
        return {name: masked(stage, masks[name]) for name, stage in transforms.items()}

    def init(params):
        return PartitionState({name: stage.init(params) for name, stage in groups(params).items()})

    def update(updates, state, params=None, **extra_args):
        inner_states = {}
        for name, stage in groups(updates).items():
            updates, inner_states[name] = stage.update(updates, state.inner_states[name], params, **extra_args)
        return updates, PartitionState(inner_states)

    return GradientTransformationExtraArgs(init, update)


def freeze(mask: Mask) -> GradientTransformationExtraArgs:
    """Set the updates to zero where the mask is true. See ``masked`` for masks. Lecture row G11."""
    return masked(set_to_zero(), mask)


def set_to_zero() -> GradientTransformation:
    """Replace all updates by zeros."""

    def update(updates, state, params=None):
        del params
        return jax.tree.map(jnp.zeros_like, updates), state

    return GradientTransformation(lambda params: EmptyState(), update)


def scale_by_group(factors: Any) -> GradientTransformation:
    """Multiply the updates by a factor per group: learning rates per layer, after any optimizer.

    Args:
        factors: a tree of numbers, a prefix of one (a number for a subtree), or a function of the tree that
            returns one. Fine-tuning at a tenth of the rate: ``{"backbone": 0.1, "head": 1.0}``.

    Lecture rows E10, G11.
    """

    def update(updates, state, params=None):
        del params
        tree = factors(updates) if callable(factors) else factors
        scaled = jax.tree.map(lambda factor, group: jax.tree.map(lambda u: factor * u, group), tree, updates)
        return scaled, state

    return GradientTransformation(lambda params: EmptyState(), update)
