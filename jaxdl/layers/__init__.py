"""Layers as pure functions of arrays: each maps an input and its parameters to an output.

`sizes` computes shapes, parameter counts and multiply-adds in Python ints, and `filters` holds the fixed kernels of
image processing.
"""

from typing import TYPE_CHECKING

from jaxdl import counterparts, sizes
from jaxdl.layers import filters
from jaxdl.layers.attention import cached_attention, multi_head_attention, scaled_dot_product_attention
from jaxdl.layers.capsule import capsule_length, dynamic_routing, squash
from jaxdl.layers.convolution import conv1d, conv2d, conv_transpose1d, conv_transpose2d, convolve1d, convolve2d
from jaxdl.layers.embedding import embed, rotary, sinusoidal_positions
from jaxdl.layers.linear import dense
from jaxdl.layers.normalization import (
    batch_norm,
    batch_statistics,
    group_norm,
    instance_norm,
    layer_norm,
    local_contrast_norm,
    local_response_norm,
    rms_norm,
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
from jaxdl.layers.recurrent import gru, gru_cell, lstm, lstm_cell, reverse_sequence, rnn, rnn_cell
from jaxdl.layers.scaling import layer_scale, squeeze_excitation
from jaxdl.layers.stochastic import (
    dropconnect,
    dropout,
    gaussian_dropout,
    shakeout,
    spatial_dropout,
    stochastic_depth,
    whiteout,
    zoneout,
)

__all__ = [
    "avg_pool2d",
    "batch_norm",
    "batch_statistics",
    "cached_attention",
    "capsule_length",
    "conv1d",
    "conv2d",
    "conv_transpose1d",
    "conv_transpose2d",
    "convolve1d",
    "convolve2d",
    "dense",
    "dropconnect",
    "dropout",
    "dynamic_routing",
    "embed",
    "filters",
    "gaussian_dropout",
    "global_avg_pool2d",
    "global_max_pool2d",
    "group_norm",
    "gru",
    "gru_cell",
    "instance_norm",
    "l2_pool2d",
    "layer_norm",
    "layer_scale",
    "local_contrast_norm",
    "local_response_norm",
    "lstm",
    "lstm_cell",
    "max_pool2d",
    "max_pool2d_argmax",
    "max_unpool2d",
    "multi_head_attention",
    "reverse_sequence",
    "rms_norm",
    "rnn",
    "rnn_cell",
    "rotary",
    "scaled_dot_product_attention",
    "shakeout",
    "sinusoidal_positions",
    "sizes",
    "spatial_dropout",
    "squash",
    "squeeze_excitation",
    "stochastic_depth",
    "weighted_pool2d",
    "whiteout",
    "zoneout",
]

if not TYPE_CHECKING:  # a checker of types would take every name for one of this module's
    __getattr__ = counterparts.absent(__name__, __all__)
