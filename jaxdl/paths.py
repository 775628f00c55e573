"""Names of leaves by their place in a tree, for trees of dicts, of modules and of flax's variables alike."""

import functools
import sys
from collections.abc import Callable
from typing import Any

import jax
import optax

_BOXES = (("flax.nnx", "Variable"), ("flax.core.meta", "AxisMetadata"))


def of_leaves(tree: Any) -> list[tuple[tuple[Any, ...], Any]]:
    """Return the path and the leaf of each leaf, as `jax.tree_util.tree_leaves_with_path` does, without boxes.

    A box is a variable of flax, which holds one array and adds a key of its own to the path: the kernel of a module is
    at conv/kernel here, whether the tree is a dict or the module's `flax.nnx.State`.
    """
    return [
        (path + inner[1:], leaf)
        for path, node in jax.tree_util.tree_leaves_with_path(tree, is_leaf=_is_box)
        for inner, leaf in (jax.tree_util.tree_leaves_with_path(node) if _is_box(node) else [((), node)])
    ]


def map_named(function: Callable[[str, Any], Any], tree: Any) -> Any:
    """Map a function of (name, leaf), where the name joins the keys of `of_leaves` by slashes."""
    values = [function(slashed(path), leaf) for path, leaf in of_leaves(tree)]
    return jax.tree.unflatten(jax.tree.structure(tree), values)


def through_variables(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Let a function of (state, params) that returns a tree like params also take those of `flax.nnx`.

    A `flax.nnx.Optimizer` holds variables of another class than the module's, so that their trees differ.
    """

    @functools.wraps(function)
    def of_variables(state, params):
        if not any(map(_is_variable, jax.tree.leaves(params, is_leaf=_is_variable))):
            return function(state, params)
        arrays = function(*(_without_variables(tree) for tree in (state, params)))
        like = jax.tree.structure(params.fast if isinstance(params, optax.LookaheadParams) else params)
        return jax.tree.unflatten(like, jax.tree.leaves(arrays))

    return of_variables


def _without_variables(tree: Any) -> Any:
    only = lambda node: jax.tree.leaves(node)[0] if _is_variable(node) else node
    return jax.tree.map(only, tree, is_leaf=_is_variable)


def _is_variable(node: Any) -> bool:
    module = sys.modules.get("flax.nnx")
    return module is not None and isinstance(node, module.Variable)


def slashed(path: tuple[Any, ...]) -> str:
    """Return the keys of a path joined by slashes, such as conv/kernel."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def apart(tree: Any, like: Any) -> str:
    """Say how a tree's structure departs from another's, as "got" in a message.

    Examples:
        >>> paths.apart({"kernel": 1.0}, {"kernel": 1.0, "bias": 0.0})
        'a tree without bias'
    """
    ours, theirs = ([slashed(path) or "the array itself" for path, _ in of_leaves(one)] for one in (tree, like))
    said = [
        f"{word} {', '.join(only[:10])}{', …' * (len(only) > 10)}"
        for word, only in (
            ("without", [name for name in theirs if name not in ours]),
            ("with", [name for name in ours if name not in theirs]),
        )
        if only
    ]
    return "a tree " + (" and ".join(said) or f"of other nodes, {jax.tree.structure(tree)}")


def _is_box(node: Any) -> bool:
    """Tell whether a node is a variable of flax, which was then imported by whoever made it."""
    loaded = ((sys.modules.get(module), name) for module, name in _BOXES)
    kinds = tuple(getattr(module, name) for module, name in loaded if module is not None)
    return isinstance(node, kinds)
