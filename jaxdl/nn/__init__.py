"""Layers with parameters, and the combinators that build networks from them.

A `Layer` is a NamedTuple of pure functions. Every layer and every combinator of this module keeps this contract:

- ``init(key, in_shape) -> (params, state)``: nested dicts under the children's names; layers without parameters
  leave no entry. ``in_shape`` has no batch axis.
- ``apply(params, state, x, *, train=False, key=None, axis_name=None) -> (y, state)``: ``x`` has one leading batch
  axis. ``key`` is needed where a layer draws at random in training; ``axis_name`` synchronises batch statistics
  over a mapped axis.
- ``out_shape(in_shape)``: the shape of one output in Python ints, without computing anything.
- ``children``: the named parts, in order. Iterate these and never the params: jit returns dicts sorted by key.
- ``op``: what a leaf does (kind, window, stride, ...), for tables, FLOPs and receptive fields.

A random key reaches a child as ``fold_in(key, crc32(name))``, so what a layer draws depends on its path alone.

    net = serial(conv1=Conv(32, 3), relu1=activations.relu, pool1=MaxPool(2), flat=flatten, fc=Dense(10))
    params, state = net.init(jax.random.key(0), (28, 28, 1))
    logits, state = net.apply(params, state, images, train=True, key=key)
"""

from typing import TYPE_CHECKING

from jaxdl import counterparts
from jaxdl.nn.attention import Attention, MultiHeadAttention, TransformerBlock
from jaxdl.nn.combinators import WithAuxiliary, auxiliary, parallel, pick, residual, serial
from jaxdl.nn.convolution import Conv, Conv1d, ConvTranspose, ConvTranspose1d
from jaxdl.nn.embedding import ClassToken, Embedding, PositionEmbedding, SinusoidalPositions, Unembedding
from jaxdl.nn.layer import Layer, Op, child_key, function
from jaxdl.nn.leaves import Dense, flatten, identity
from jaxdl.nn.normalization import (
    BatchNorm,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    LocalContrastNorm,
    LocalResponseNorm,
    RMSNorm,
)
from jaxdl.nn.pooling import AvgPool, MaxPool, MaxUnpool, global_avg_pool
from jaxdl.nn.recurrent import GRU, LSTM, RNN
from jaxdl.nn.scaling import LayerScale, PReLU, SqueezeExcitation
from jaxdl.nn.sharing import shared
from jaxdl.nn.stochastic import (
    DropConnect,
    Dropout,
    GaussianDropout,
    Shakeout,
    SpatialDropout,
    StochasticDepth,
    Whiteout,
    Zoneout,
)
from jaxdl.nn.tree import at, paths, replace, tap
from jaxdl.nn.wrapping import compute_in, remat, sized

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Attention",
    "AvgPool",
    "BatchNorm",
    "ClassToken",
    "Conv",
    "Conv1d",
    "ConvTranspose",
    "ConvTranspose1d",
    "Dense",
    "DropConnect",
    "Dropout",
    "Embedding",
    "GaussianDropout",
    "GroupNorm",
    "InstanceNorm",
    "Layer",
    "LayerNorm",
    "LayerScale",
    "LocalContrastNorm",
    "LocalResponseNorm",
    "MaxPool",
    "MaxUnpool",
    "MultiHeadAttention",
    "Op",
    "PReLU",
    "PositionEmbedding",
    "RMSNorm",
    "Shakeout",
    "SinusoidalPositions",
    "SpatialDropout",
    "SqueezeExcitation",
    "StochasticDepth",
    "TransformerBlock",
    "Unembedding",
    "Whiteout",
    "WithAuxiliary",
    "Zoneout",
    "at",
    "auxiliary",
    "child_key",
    "compute_in",
    "flatten",
    "function",
    "global_avg_pool",
    "identity",
    "parallel",
    "paths",
    "pick",
    "remat",
    "replace",
    "residual",
    "serial",
    "shared",
    "sized",
    "tap",
]

if not TYPE_CHECKING:  # a checker of types would take every name for one of this module's
    __getattr__ = counterparts.absent(__name__, __all__)
