"""Different treatment of different parameters: masks, labelled groups, frozen leaves and learning rates per group."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Final

import jax
import jax.numpy as jnp
from optax import GradientTransformation, GradientTransformationExtraArgs

from jaxdl import paths
from jaxdl.optimizers.checks import check_optimizers
from jaxdl.optimizers.contracts import ORDER, require_state, stateless
from jaxdl.optimizers.states import MaskedNode, MaskedState, PartitionState
from jaxdl.optimizers.trees import called, is_placeholder, keep_dtypes, map_updates, times, widen

Mask = Any
"""A tree of bools (or a prefix of one), or a function from a tree to such a tree; None means everything.

A tree whose class can be called, such as an equinox module of bools, is a tree.
"""


def mask_by_path(*patterns: str) -> Callable[[Any], Any]:
    """Return a mask function that selects the leaves whose path matches one of the patterns.

    A path is the leaf's keys joined by slashes, for example ``dense1/kernel``, also in the state of a flax.nnx module.
    Under ``adamw(1e-3, mask=mask_by_path("(?!head).*/kernel"))``, all kernels but the head's decay.

    Args:
        *patterns: regular expressions that must match the whole path.

    Raises:
        ValueError: there is no pattern, or one is not a regular expression.

    Examples:
        >>> optimizers.mask_by_path(".*/kernel")({"conv": {"kernel": jnp.ones(1), "bias": jnp.ones(1)}})
        {'conv': {'bias': False, 'kernel': True}}
    """
    if not patterns:
        raise ValueError("patterns is empty: give at least one regular expression such as '.*/kernel'")
    try:
        expressions = [re.compile(pattern) for pattern in patterns]
    except re.error as error:
        raise ValueError(f"patterns has {error.pattern!r}: it must be a regular expression ({error})") from error

    def select(name, leaf):
        del leaf
        return any(expression.fullmatch(name) for expression in expressions)

    return lambda tree: paths.map_named(select, tree)


def masked(inner: GradientTransformation, mask: Mask) -> GradientTransformationExtraArgs:
    """Apply a transformation to the leaves where the mask is true; the others pass through unchanged.

    Extra arguments that are functions of all parameters (``value_fn``, ``grad_fn``, ``model_fn``) become functions of
    the visible ones with the others held at ``params``, and ``grad`` shows the visible ones. Line searches and
    second-order methods therefore work on a part of the parameters.

    Args:
        inner: the transformation.
        mask: a tree of bools, a prefix of one, or a function of the tree that returns one.

    Raises:
        ValueError: at init or update, the mask does not fit the tree, or the state is not one of ``masked``.

    Examples:
        >>> params = {"w": jnp.ones(1), "b": jnp.ones(1)}
        >>> optimizer = optimizers.masked(optimizers.sgd(0.1), {"w": True, "b": False})
        >>> optimizer.update(params, optimizer.init(params), params)[0]["b"]  # the gradient itself
        Array([1.], dtype=float32)
    """
    check_optimizers(inner=inner)

    def hide(mask_tree, tree):
        return jax.tree.map(lambda keep, x: x if keep else MaskedNode(), mask_tree, tree)

    def merge(mask_tree, new, old):
        return jax.tree.map(lambda keep, x, y: x if keep else y, mask_tree, new, old)

    def init(params):
        visible = params if is_placeholder(params) else hide(_flags(mask, params), params)
        return MaskedState(inner_state=inner.init(visible))

    def update(updates, state, params=None, **extra_args):
        require_state(state, MaskedState, "masked")
        mask_tree = _filled(_flags(mask, updates), updates)
        extra_args = extra_args if isinstance(inner, GradientTransformationExtraArgs) else {}
        visible = None if params is None else hide(mask_tree, params)
        if params is not None:
            extra_args = _of_part(
                extra_args, functools.partial(hide, mask_tree), lambda part: merge(mask_tree, part, params)
            )
        inner_updates, inner_state = inner.update(hide(mask_tree, updates), state.inner_state, visible, **extra_args)
        merged = merge(mask_tree, inner_updates, updates)
        return merged, MaskedState(inner_state=keep_dtypes(inner_state, state.inner_state))

    return GradientTransformationExtraArgs(init, update)


def _filled(mask_tree, updates):
    """Set the mask to True where a function of the updates returned None because the update is None."""
    if not any(keep is None for keep in jax.tree.leaves(mask_tree, is_leaf=_is_none)):
        return mask_tree
    return jax.tree.map(
        lambda keep, u: True if keep is None and u is None else keep, mask_tree, updates, is_leaf=_is_none
    )


def _is_none(x):
    return x is None


def _of_part(extra_args, hide, whole):
    """Restrict extra arguments that are functions or trees of all parameters to a part, with the rest fixed."""

    def restricted(name, argument):
        if name == "grad":
            return hide(argument)
        if name == "grad_fn":
            return lambda part, *args, **kwargs: hide(argument(whole(part), *args, **kwargs))

        @functools.wraps(argument)  # keeps the signature, which optax's line searches inspect
        def of_part(part, *args, **kwargs):
            return argument(whole(part), *args, **kwargs)

        return of_part

    of_params = {name for name in ("grad", "value_fn", "grad_fn", "model_fn") if extra_args.get(name) is not None}
    return {name: restricted(name, x) if name in of_params else x for name, x in extra_args.items()}


NO_DECAY: Final = ("nothing would decay", "see mask_by_path, and weight_decay=0.0 for no decay")


def selecting(
    inner: GradientTransformation, mask: Mask, name: str, why: tuple[str, str] = NO_DECAY
) -> GradientTransformationExtraArgs:
    """Apply ``masked``, and refuse a mask that selects no leaf of a tree that has some.

    Args:
        inner: the transformation.
        mask: see ``masked``.
        name: the mask's argument name, for the message.
        why: what a mask that selects no leaf would do, and where to look, for the message.

    Raises:
        ValueError: at init or update, the mask selects no leaf.
    """
    plain = masked(inner, mask)

    def init(params):
        check_selects(mask, params, name, why)
        return plain.init(params)

    def update(updates, state, params=None, **extra_args):
        check_selects(mask, updates, name, why)
        return plain.update(updates, state, params, **extra_args)

    return GradientTransformationExtraArgs(init, update)


def check_selects(mask: Mask, tree: Any, name: str, why: tuple[str, str] = NO_DECAY) -> None:
    """Raise a ``ValueError`` if a mask selects no leaf of a tree that has some."""
    leaves = jax.tree.leaves(tree)
    if leaves and not any(jax.tree.leaves(_flags(mask, tree))):
        raise ValueError(
            f"{name} selects none of the {len(leaves)} leaves, so {why[0]}: it must select at least one; {why[1]}"
        )


def _flags(mask: Mask, tree: Any) -> Any:
    """Return a mask's tree of flags; a string, which is true, would select everything."""
    found = called(mask, tree)
    for leaf in jax.tree.leaves(found):
        if isinstance(leaf, str):
            raise ValueError(
                f"mask has the string {leaf!r}; allowed are True and False, trees of them, and functions of the tree, "
                f"such as mask_by_path({leaf!r})"
            )
    return found


def spread(mask: Mask, tree: Any) -> Any:
    """Expand a mask to one bool per leaf of the tree."""
    return jax.tree.map(lambda keep, group: jax.tree.map(lambda leaf: keep, group), _flags(mask, tree), tree)


def partition(
    transforms: Mapping[Hashable, GradientTransformation], param_labels: Any
) -> GradientTransformationExtraArgs:
    """Give every labelled group of parameters its own transformation.

    Args:
        transforms: label → transformation.
        param_labels: a tree of labels, a prefix of one, or a function of the tree that returns one.

    Raises:
        ValueError: at init or update, a label has no transformation, the labels do not fit the tree, or the state is
            not one of this ``partition``.

    See ``optax.partition``.

    Examples:
        >>> params = {"w": jnp.ones(1), "b": jnp.ones(1)}
        >>> labels = {"w": "slow", "b": "fast"}
        >>> optimizer = optimizers.partition({"fast": optimizers.sgd(1.0), "slow": optimizers.sgd(0.1)}, labels)
        >>> optimizer.update(params, optimizer.init(params), params)[0]["w"]
        Array([-0.1], dtype=float32)

    [Lecture row E10 (rates per group)]
    """
    check_optimizers(**{f"transforms[{label!r}]": one for label, one in transforms.items()})

    def groups(tree):
        labels = called(param_labels, tree)
        for label in jax.tree.leaves(labels):
            if label not in transforms:
                raise ValueError(f"param_labels has {label!r}: it must be one of {list(transforms)}")
        masks = {name: jax.tree.map(lambda label, n=name: label == n, labels) for name in transforms}
        return {name: masked(stage, masks[name]) for name, stage in transforms.items()}

    def init(params):
        if is_placeholder(params):
            return PartitionState({name: MaskedState(stage.init(params)) for name, stage in transforms.items()})
        return PartitionState({name: stage.init(params) for name, stage in groups(params).items()})

    def update(updates, state, params=None, **extra_args):
        require_state(state, PartitionState, "partition")
        if set(state.inner_states) != set(transforms):
            raise ValueError(
                f"state has the groups {list(state.inner_states)}: this partition has {list(transforms)}; {ORDER}"
            )
        inner_states = {}
        for name, stage in groups(updates).items():
            updates, inner_states[name] = stage.update(updates, state.inner_states[name], params, **extra_args)
        return updates, PartitionState(inner_states)

    return GradientTransformationExtraArgs(init, update)


def freeze(mask: Mask) -> GradientTransformationExtraArgs:
    """Set the updates to zero where the mask is true. See ``masked`` for masks.

    In front of a chain it also keeps gradients of frozen parameters out of the norm of clipping, as PyTorch's
    ``requires_grad=False`` does; behind the optimizer it also stops weight decay.

    Raises:
        ValueError: at init or update, the mask selects no leaf.

    Examples:
        >>> params = {"w": jnp.ones(1), "b": jnp.ones(1)}
        >>> optimizer = optimizers.chain(optimizers.sgd(0.1), optimizers.freeze({"w": True, "b": False}))
        >>> optimizer.update(params, optimizer.init(params), params)[0]["w"]
        Array([0.], dtype=float32)

    [Lecture row G11]
    """
    return selecting(set_to_zero(), mask, "mask", ("nothing would be frozen", "see mask_by_path"))


def set_to_zero() -> GradientTransformation:
    """Replace all updates by zeros.

    Examples:
        >>> params, grads = jnp.array([1.0, 2.0]), jnp.array([0.5, -0.1])
        >>> optimizer = optimizers.set_to_zero()
        >>> optimizer.update(grads, optimizer.init(params), params)[0]
        Array([0., 0.], dtype=float32)
    """

    return stateless("set_to_zero", lambda updates, params: jax.tree.map(jnp.zeros_like, updates))


def scale_by_group(factors: Any) -> GradientTransformation:
    """Multiply the updates by a factor per group, for example to give layers their own learning rates.

    Args:
        factors: a tree of numbers, a prefix of one (a number for a subtree), or a function of the tree that returns
            one. ``{"backbone": 0.1, "head": 1.0}`` fine-tunes the backbone at a tenth of the learning rate.

    Examples:
        >>> params = {"w": jnp.ones(1), "b": jnp.ones(1)}
        >>> optimizer = optimizers.scale_by_group({"w": 0.5, "b": 2.0})
        >>> optimizer.update(params, optimizer.init(params), params)[0]["b"]
        Array([2.], dtype=float32)

    [Lecture rows E10, G11]
    """

    def scale(factor, group):
        return map_updates(lambda u: times(factor, widen(u)).astype(jnp.result_type(u)), group)

    return stateless("scale_by_group", lambda updates, params: jax.tree.map(scale, called(factors, updates), updates))
