"""flax.nnx modules as layers, and layers as flax.nnx modules."""

import copy
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxdl import nn
from jaxdl.nn.layer import abstract_batch, checked


def from_nnx(module: Any, *, input_dtype: Any = jnp.float32) -> nn.Layer:
    """Turn a flax.nnx module into a layer, which trains in every experiment of this library.

    The layer's params are the module's `nnx.Param`, nested by attribute, and its state is all other variables, such as
    running statistics. It is a leaf: the module's own parts cannot be tapped or replaced. Training calls
    ``module.train()``, evaluation ``module.eval()``. Random streams start from the key of each call, so they are not
    part of the state.

    Args:
        module: a function ``rngs -> module``, such as ``lambda rngs: Net(10, rngs=rngs)``, whose parameters ``init``
            draws; or a module, whose present parameters ``init`` returns for any key. Its call takes one batch.
        input_dtype: dtype of the batch, as in `nn.function`.

    Raises:
        ValueError: if ``module`` is neither.

    Examples:
        >>> from flax import nnx
        >>> layer = interop.from_nnx(lambda rngs: nnx.Linear(3, 4, rngs=rngs))
        >>> layer.out_shape((3,))
        (4,)
    """
    if isinstance(module, nnx.Module):
        make = lambda rngs: module
    elif callable(module) and not isinstance(module, type):
        make = module
    else:
        what = module.__name__ if isinstance(module, type) else type(module).__name__
        raise ValueError(f"module: got {what}, allowed are flax.nnx modules and functions rngs -> module")
    abstract = nnx.eval_shape(lambda: make(nnx.Rngs(0)))
    if not isinstance(abstract, nnx.Module):
        raise ValueError("module: got a function that returns no module, allowed are functions rngs -> flax.nnx module")
    parts = {}
    for train in (False, True):
        (abstract.train if train else abstract.eval)()
        parts[train] = nnx.split(abstract, nnx.Param, nnx.RngState, ...)

    def init(key, in_shape):
        del in_shape
        _, params, _, state = nnx.split(make(nnx.Rngs(key)), nnx.Param, nnx.RngState, ...)
        # copies, because a step may donate them
        return jax.tree.map(jnp.array, nnx.to_pure_dict(params)), jax.tree.map(jnp.array, nnx.to_pure_dict(state))

    def apply(params, state, x, *, train=False, key=None, axis_name=None):
        del axis_name  # an nnx module has its own
        graph, *empty = parts[train]
        if train and key is None and jax.tree.leaves(empty[1]):
            raise ValueError("key: got None, but the module draws at random: apply(..., train=True) needs a key")
        filled = (_filled(empty[0], params), _streams(empty[1], key), _filled(empty[2], state))
        running = nnx.merge(graph, *filled)
        y = running(x)  # pyright: ignore[reportCallIssue]
        _, _, _, moved = nnx.split(running, nnx.Param, nnx.RngState, ...)
        return y, nnx.to_pure_dict(moved) if train else state

    def out_shape(in_shape):
        run = lambda x: apply(*init(jax.random.key(0), in_shape), x)[0]
        return jax.tree.map(lambda y: tuple(y.shape[1:]), jax.eval_shape(run, abstract_batch(in_shape, 1, input_dtype)))

    op = nn.Op(f"nnx {type(abstract).__name__}", input_dtype=input_dtype)
    return checked(nn.Layer(init, apply, out_shape, {}, op))


def to_nnx(layer: nn.Layer, in_shape: Any, *, rngs: nnx.Rngs, axis_name: str | None = None) -> nnx.Module:
    """Turn a layer into a flax.nnx module, called as ``module(x)``, with ``module.train()`` and ``module.eval()``.

    Its attribute ``params`` holds the layer's params as `nnx.Param`, and ``state`` the layer's state as
    `nnx.BatchStat`, which a call in training updates.

    Args:
        layer: the network or part of one.
        in_shape: shape of one input, without a batch axis.
        rngs: source of random keys: its stream params draws the parameters, its stream dropout serves training.
        axis_name: name of the mapped axis over which batch statistics are synchronised.

    Examples:
        >>> from flax import nnx
        >>> from jaxdl import nn
        >>> module = interop.to_nnx(nn.serial(fc=nn.Dense(2)), (3,), rngs=nnx.Rngs(0))
        >>> module(jnp.ones((1, 3))).shape
        (1, 2)
    """
    return _LayerModule(layer, in_shape, rngs, axis_name)


class _LayerModule(nnx.Module):
    """A flax.nnx module around a layer."""

    def __init__(self, layer: nn.Layer, in_shape: Any, rngs: nnx.Rngs, axis_name: str | None):
        params, state = layer.init(rngs.params(), in_shape)
        self.params = nnx.data(jax.tree.map(nnx.Param, params))
        self.state = nnx.data(jax.tree.map(nnx.BatchStat, state))
        self.apply_layer = layer.apply
        self.axis_name = axis_name
        self.rngs = rngs
        self.deterministic = False

    def __call__(self, x):
        """Apply the layer and, in training, update its state."""
        train = not self.deterministic
        values = (jax.tree.map(lambda one: one[...], tree, is_leaf=_is_variable) for tree in (self.params, self.state))
        key = self.rngs.dropout() if train and hasattr(self.rngs, "dropout") else None  # a layer that draws says so
        y, new_state = self.apply_layer(*values, x, train=train, key=key, axis_name=self.axis_name)
        if train:
            variables = jax.tree.leaves(self.state, is_leaf=_is_variable)
            for variable, value in zip(variables, jax.tree.leaves(new_state), strict=True):
                variable[...] = value
        return y


def _is_variable(value: Any) -> bool:
    return isinstance(value, nnx.Variable)


def _filled(empty: Any, values: Any) -> Any:
    """Return a state with the values of a nested dict."""
    filled = copy.deepcopy(empty)
    nnx.replace_by_pure_dict(filled, values)
    return filled


def _streams(empty: Any, key: jax.Array | None) -> Any:
    """Return the state of the random streams at the start of a call; evaluation draws nothing."""
    start = jax.random.key(0) if key is None else key
    if not jnp.issubdtype(start.dtype, jax.dtypes.prng_key):
        start = jax.random.wrap_key_data(start)

    def one(path, abstract):
        if not jnp.issubdtype(abstract.dtype, jax.dtypes.prng_key):
            return jnp.zeros(abstract.shape, abstract.dtype)  # number of draws
        own = nn.child_key(start, jax.tree_util.keystr(path))
        return own if abstract.shape == () else jax.random.split(own, abstract.shape)

    return jax.tree_util.tree_map_with_path(one, empty)
