"""Transfer learning: a trained trunk under a new head, frozen parts, learning rates by path.

    layer = transfer.with_head(trained, "relu", nn.Dense(5))
    params, state = transfer.start(key, layer, in_shape, trained_params, trained_state)
    optimizer = transfer.by_path(optimizers.adam, 1e-3, {"head/.*": 1.0, "fc1/.*": 0.1, ".*": 0.0})
    step = training.train_step(transfer.hold(layer, "stage1", "stage2", "stage3"), optimizer)

With little data, train a linear classifier on top if the tasks are similar, and on an earlier layer if they differ.
With much data, fine-tune at a tenth of the rate: few layers if the tasks are similar, many if they differ.
[Lecture row G11]
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flax import traverse_util
from jax.typing import ArrayLike
from jaxtyping import Array
from optax import GradientTransformation

from jaxdl import nn, numerics, optimizers

__all__ = ["by_path", "hold", "start", "trunk", "with_head"]


def trunk(layer: nn.Layer, after: str) -> nn.Layer:
    """Return the first part of a network, up to and including the part at the path ``after``, with names unchanged.

    Raises:
        ValueError: for an unknown path, or one that leads through anything but `nn.serial`.
    """
    nn.at(layer, after)
    name, _, below = after.partition("/")
    if layer.op.kind != "serial":
        raise ValueError(f"after: got {after!r}, which is inside a {layer.op.kind!r}; allowed are paths through serial")
    names = list(layer.children)
    kept = {one: layer.children[one] for one in names[: names.index(name) + 1]}
    if below:
        kept[name] = trunk(kept[name], below)
    return nn.serial(**kept)


def with_head(layer: nn.Layer, after: str, head: nn.Layer, *, name: str = "head") -> nn.Layer:
    """Return the network up to ``after``, followed by a new part called ``name``. See `trunk`.

    Raises:
        ValueError: as in `trunk`, or if the trunk has a part of that name.

    Examples:
        >>> from jaxdl import nn
        >>> old = nn.serial(fc1=nn.Dense(4), act=jnp.tanh, fc2=nn.Dense(10))
        >>> params, state = old.init(jax.random.key(0), (3,))
        >>> new = transfer.with_head(old, "act", nn.Dense(2))
        >>> nn.paths(transfer.trunk(old, "act")), nn.paths(new)
        (['fc1', 'act'], ['fc1', 'act', 'head'])
        >>> new_params, _ = transfer.start(jax.random.key(1), new, (3,), params, state)
        >>> bool((new_params["fc1"]["kernel"] == params["fc1"]["kernel"]).all()), new_params["head"]["kernel"].shape
        (True, (4, 2))
    """
    kept = trunk(layer, after)
    if name in kept.children:
        raise ValueError(f"name: got {name!r}, which the trunk has already; it has {', '.join(kept.children)}")
    return nn.serial(**kept.children, **{name: head})


def start(
    key: Array, layer: nn.Layer, in_shape: Sequence[int], params: Any, state: Any, *, new: Sequence[str] = ("head",)
) -> tuple[Any, Any]:
    """Return the params and state of a trained network, with new parts initialised from ``key``.

    Args:
        key: random key for the new parts.
        layer: the network, as from `with_head`.
        in_shape: shape of one input.
        params, state: trained trees; entries that the network does not have are dropped.
        new: names of the new parts.

    Raises:
        ValueError: naming the entries that the trained trees lack or have in another shape.
    """
    numerics.check_key(key)
    fresh = layer.init(key, tuple(in_shape))
    taken = tuple(_taken(own, given, new) for own, given in zip(fresh, (params, state), strict=True))
    return taken[0], taken[1]


def hold(layer: nn.Layer, *paths: str) -> nn.Layer:
    """Return the network with parts that run in evaluation mode even in training.

    Hold frozen parts, too; otherwise their batch norms would use and track the batch's statistics, and dropout would
    drop units.

    Examples:
        >>> from jaxdl import nn
        >>> net = transfer.hold(nn.serial(drop=nn.Dropout(0.5), fc=nn.Dense(2)), "drop")
        >>> params, state = net.init(jax.random.key(0), (3,))
        >>> y, _ = net.apply(params, state, jnp.ones((1, 3)), train=True)  # nothing is dropped, so no key is needed
        >>> y.shape
        (1, 2)
    """
    for path in paths:
        layer = nn.replace(layer, path, _held(nn.at(layer, path)))
    return layer


def by_path(
    make: Callable[[Any], GradientTransformation], learning_rate: Any, factors: Mapping[str, float]
) -> GradientTransformation:
    """Return an optimizer whose learning rate depends on the parameter's path; a factor of 0 freezes.

    Args:
        make: learning rate → optimizer, such as `optimizers.adam`.
        learning_rate: a number or a schedule.
        factors: regular expression → factor of the learning rate. The first that matches a whole path, such as
            ``stage1/conv/kernel``, counts; ``{"head/.*": 1.0, ".*": 0.1}`` fine-tunes at a tenth of the rate.

    Raises:
        ValueError: for a negative factor, and at ``init`` for a parameter that no expression matches.

    Examples:
        >>> optimizer = transfer.by_path(optax.sgd, 1.0, {"head/.*": 1.0, ".*": 0.0})
        >>> params = {"head": {"bias": jnp.zeros(1)}, "trunk": {"bias": jnp.zeros(1)}}
        >>> updates, _ = optimizer.update(jax.tree.map(jnp.ones_like, params), optimizer.init(params), params)
        >>> updates["head"]["bias"], updates["trunk"]["bias"]
        (Array([-1.], dtype=float32), Array([0.], dtype=float32))
    """
    for pattern, factor in factors.items():
        if not factor >= 0:
            raise ValueError(f"factors: got {factor} for {pattern!r}, allowed are numbers from 0 on")

    def label(path: str) -> float:
        for pattern, factor in factors.items():
            if re.fullmatch(pattern, path):
                return float(factor)
        raise ValueError(f"factors: none of {list(factors)} matches the parameter {path}")

    def labels(params):
        flat = traverse_util.flatten_dict(params, sep="/")
        return traverse_util.unflatten_dict({path: label(path) for path in flat}, sep="/")

    rates = {float(factor) for factor in factors.values()}
    group = lambda factor: make(_scaled(learning_rate, factor)) if factor else optimizers.set_to_zero()
    groups: Any = {factor: group(factor) for factor in rates}
    return optimizers.partition(groups, labels)


def _taken(own: Any, given: Any, new: Sequence[str]) -> Any:
    own, given = (traverse_util.flatten_dict(tree, sep="/") for tree in (own, given))
    taken = {path: value if path.split("/")[0] in new else given.get(path) for path, value in own.items()}
    wrong = [path for path, value in taken.items() if value is None or value.shape != own[path].shape]
    if wrong:
        raise ValueError(
            f"params, state: lack or have in another shape {', '.join(wrong)}; new parts stand in new={new}"
        )
    return traverse_util.unflatten_dict(taken, sep="/")


def _held(part: nn.Layer) -> nn.Layer:
    def apply(params, state, x, *, train=False, key=None, axis_name=None):
        del train, key, axis_name
        return part.apply(params, state, x)

    rebuild = part.op.rebuild
    again = None if rebuild is None else lambda new: _held(rebuild(new))
    return part._replace(apply=apply, op=part.op._replace(rebuild=again))


def _scaled(learning_rate: ArrayLike | Callable[[Any], Any], factor: float) -> Any:
    if callable(learning_rate):
        return lambda step: factor * learning_rate(step)
    return factor * learning_rate
