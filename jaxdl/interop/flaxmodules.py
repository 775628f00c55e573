"""flax modules as layers, and layers as flax modules."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import core, linen

from jaxdl import nn
from jaxdl.nn.layer import abstract_batch

# names of the argument with which flax modules are told to train, or not to
_ON = ("train", "training", "is_training", "is_train")
_OFF = ("deterministic", "use_running_average", "inference", "is_inference", "eval", "is_eval", "evaluate", "test",
        "is_test")  # fmt: skip
_GIVEN = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
STATE = "batch_stats"


def from_linen(
    module: Any, *, mode: str | None = None, rngs: Sequence[str] = ("dropout",), input_dtype: Any = jnp.float32
) -> nn.Layer:
    """Turn a flax module into a layer, which trains in every experiment of this library.

    The layer's params are the module's, and its state is all other collections, such as ``{"batch_stats": ...}``. It is
    a leaf: the module's own parts cannot be tapped or replaced.

    Args:
        module: an instance of `flax.linen.Module` whose call takes one batch of arrays.
        mode: the argument of its call that turns training on or off. By default it is the one called train, training,
            is_training or is_train, or an opposite: deterministic, use_running_average, inference, eval, evaluate,
            test (also with is_ before), if the module has any of them. Another one is True in training.
        rngs: the names under which the module asks for random keys in training.
        input_dtype: dtype of the batch, as in `nn.function`: ``jnp.int32`` for tokens.

    Raises:
        ValueError: if the module is not a flax module, or its call does not take ``mode`` or needs more.

    Examples:
        >>> import flax.linen
        >>> layer = interop.from_linen(flax.linen.Dense(4))
        >>> params, state = layer.init(jax.random.key(0), (3,))
        >>> params["kernel"].shape
        (3, 4)
    """
    if not isinstance(module, linen.Module):
        raise ValueError(f"module: got {type(module).__name__}, allowed are instances of flax.linen.Module")
    options = _mode_options(module, mode)

    def one_of(in_shape):
        return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), abstract_batch(in_shape, 1, input_dtype))

    def init(key, in_shape):
        keys = dict(zip(("params", *rngs), jax.random.split(key, 1 + len(rngs)), strict=True))
        variables = core.unfreeze(module.init(keys, one_of(in_shape), **options(False)))
        return variables.pop("params", {}), variables

    def apply(params, state, x, *, train=False, key=None, axis_name=None):
        del axis_name  # a flax module has its own
        keys = {} if key is None else dict(zip(rngs, jax.random.split(key, len(rngs)), strict=True))
        variables = {"params": params, **state}
        if not (train and state):
            return module.apply(variables, x, rngs=keys, **options(train)), state
        y, changed = module.apply(variables, x, rngs=keys, mutable=list(state), **options(train))
        return y, core.unfreeze(changed)

    def out_shape(in_shape):
        run = lambda: apply(*init(jax.random.key(0), in_shape), one_of(in_shape))[0]
        return jax.tree.map(lambda y: tuple(y.shape[1:]), jax.eval_shape(run))

    return nn.Layer(init, apply, out_shape, {}, nn.Op(f"linen {type(module).__name__}", input_dtype=input_dtype))


def to_linen(layer: nn.Layer, *, axis_name: str | None = None) -> linen.Module:
    """Turn a layer into a flax module, called as ``module.apply(variables, x, train=True, rngs={"dropout": key})``.

    The collection params has the tree of the layer's params, and batch_stats holds its state.

    Args:
        layer: the network or part of one.
        axis_name: name of the mapped axis over which batch statistics are synchronised.

    Examples:
        >>> from jaxdl import nn
        >>> module = interop.to_linen(nn.serial(fc=nn.Dense(2)))
        >>> variables = module.init(jax.random.key(0), jnp.ones((1, 3)))
        >>> module.apply(variables, jnp.ones((1, 3))).shape
        (1, 2)
    """
    return _LayerModule(layer.init, layer.apply, axis_name)


class _LayerModule(linen.Module):
    """A flax module around a layer's two functions."""

    init_layer: Callable[..., tuple[Any, Any]]
    apply_layer: Callable[..., tuple[Any, Any]]
    axis_name: str | None = None

    @linen.compact
    def __call__(self, x, *, train: bool = False):
        """Apply the layer and, in training with a mutable collection batch_stats, update its state."""
        if self.is_initializing():
            in_shape = jax.tree.map(lambda one: tuple(one.shape[1:]), x)
            params, state = self.init_layer(self.make_rng("params"), in_shape)
            for name, value in params.items():
                self.param(name, lambda key, value=value: value)
            for name, value in state.items():
                self.variable(STATE, name, lambda value=value: value)
        held: Any = core.unfreeze(dict(self.variables))
        key = self.make_rng("dropout") if train and self.has_rng("dropout") else None
        options = {"train": train, "key": key, "axis_name": self.axis_name}
        y, new_state = self.apply_layer(held.get("params", {}), held.get(STATE, {}), x, **options)
        if self.is_mutable_collection(STATE) and not self.is_initializing():
            for name, value in new_state.items():
                self.put_variable(STATE, name, value)
        return y


def _mode_options(module: linen.Module, mode: str | None) -> Callable[[bool], dict[str, Any]]:
    takes = inspect.signature(type(module).__call__).parameters
    if mode is None:
        mode = next((name for name in (*_ON, *_OFF) if name in takes), None)
        needed = [name for name, one in [*takes.items()][2:] if one.default is one.empty and one.kind in _GIVEN]
        if unknown := [name for name in needed if name != mode]:
            said = f"module: its call needs {', '.join(unknown)}, allowed is one batch"
            raise ValueError(f"{said}, and mode={unknown[0]!r} if that turns training on")
    elif mode not in takes:
        raise ValueError(f"mode: got {mode!r}, which is no argument of the module's call; it takes {list(takes)[1:]}")
    if mode is None:
        return lambda train: {}
    return lambda train: {mode: train != (mode in _OFF)}
