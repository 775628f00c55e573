"""Layers as pure functions of arrays: each maps an input and its parameters to an output.

`sizes` computes shapes, parameter counts and multiply-adds in Python ints.
"""

from jaxdl import sizes
from jaxdl.layers.capsule import capsule_length, dynamic_routing, squash
from jaxdl.layers.convolution import conv1d, conv2d, conv_transpose2d, convolve1d, convolve2d
from jaxdl.layers.linear import dense
from jaxdl.layers.normalization import (
    batch_norm,
    batch_statistics,
    group_norm,
    instance_norm,
    layer_norm,
    local_contrast_norm,
    local_response_norm,
)
from jaxdl.layers.pooling import (
    avg_pool2d,
    global_avg_pool2d,
    global_max_pool2d,
    l2_pool2d,
    max_pool2d,
    max_pool2d_argmax,
    max_unpool2d,
    weighted_pool2d,
)
from jaxdl.layers.recurrent import lstm, lstm_cell, rnn, rnn_cell
from jaxdl.layers.stochastic import (
    dropconnect,
    dropout,
    gaussian_dropout,
    shakeout,
    spatial_dropout,
    whiteout,
    zoneout,
)

__all__ = [
    "avg_pool2d",
    "batch_norm",
    "batch_statistics",
    "capsule_length",
    "conv1d",
    "conv2d",
    "conv_transpose2d",
    "convolve1d",
    "convolve2d",
    "dense",
    "dropconnect",
    "dropout",
    "dynamic_routing",
    "gaussian_dropout",
    "global_avg_pool2d",
    "global_max_pool2d",
    "group_norm",
    "instance_norm",
    "l2_pool2d",
    "layer_norm",
    "local_contrast_norm",
    "local_response_norm",
    "lstm",
    "lstm_cell",
    "max_pool2d",
    "max_pool2d_argmax",
    "max_unpool2d",
    "rnn",
    "rnn_cell",
    "shakeout",
    "sizes",
    "spatial_dropout",
    "squash",
    "weighted_pool2d",
    "whiteout",
    "zoneout",
]
