"""Layers as functions of arrays: each takes its input and its parameters and returns its output."""

from jaxdl.layers.convolution import conv1d, conv2d
from jaxdl.layers.linear import dense
from jaxdl.layers.normalization import batch_norm, batch_statistics
from jaxdl.layers.pooling import avg_pool2d, global_avg_pool2d, max_pool2d
from jaxdl.layers.stochastic import dropout

__all__ = [
    "avg_pool2d",
    "batch_norm",
    "batch_statistics",
    "conv1d",
    "conv2d",
    "dense",
    "dropout",
    "global_avg_pool2d",
    "max_pool2d",
]
