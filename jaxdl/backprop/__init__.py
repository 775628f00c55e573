"""Hand-derived gradients as plain functions, without automatic differentiation.

Each operation of `jaxdl.layers`, `jaxdl.activations` and `jaxdl.losses` that the lectures train with has a pair

    NAME_forward(*arrays, **options) -> (output, residuals)
    NAME_backward(residuals, cotangent) -> cotangents of the arrays

The residuals are a tree of the arrays that the backward pass needs, and the cotangent is δ = ∂E/∂output for some loss
E. The result holds ∂E/∂array for each positional argument in order: one array for a single argument, else a tuple with
None for keys, integers and arguments that were None. The backward pass of a network runs the backward functions of its
layers in reverse order. Only `install`, which hands a pair to JAX, uses JAX's differentiation.

Shapes, options, tie rules and dtypes are those of the namesakes. Convolutions and pools run the kernels that
`jaxdl.layers` runs (`jaxdl.kernels`). [Lecture rows D1, D2, D4]
"""

from jaxdl.backprop.activations import (
    elu_backward,
    elu_forward,
    gelu_backward,
    gelu_forward,
    leaky_relu_backward,
    leaky_relu_forward,
    linear_backward,
    linear_forward,
    log_softmax_backward,
    log_softmax_forward,
    noisy_relu_backward,
    noisy_relu_forward,
    relu6_backward,
    relu6_forward,
    relu_backward,
    relu_forward,
    sigmoid_backward,
    sigmoid_forward,
    softmax_backward,
    softmax_forward,
    softplus_backward,
    softplus_forward,
    swish_backward,
    swish_forward,
    tanh_backward,
    tanh_forward,
    threshold_backward,
    threshold_forward,
)
from jaxdl.backprop.affine import (
    dense_backward,
    dense_forward,
)
from jaxdl.backprop.convolution import (
    Convolution,
    conv1d_backward,
    conv1d_forward,
    conv2d_backward,
    conv2d_forward,
)
from jaxdl.backprop.installing import (
    install,
)
from jaxdl.backprop.losses import (
    binary_cross_entropy_backward,
    binary_cross_entropy_forward,
    half_squared_error_backward,
    half_squared_error_forward,
    sigmoid_binary_cross_entropy_backward,
    sigmoid_binary_cross_entropy_forward,
    softmax_cross_entropy_backward,
    softmax_cross_entropy_forward,
    squared_error_backward,
    squared_error_forward,
)
from jaxdl.backprop.normalization import (
    BatchNorm,
    batch_norm_backward,
    batch_norm_forward,
    batch_norm_train_backward,
    batch_norm_train_forward,
    batch_statistics_backward,
    batch_statistics_forward,
    local_response_norm_backward,
    local_response_norm_forward,
)
from jaxdl.backprop.pooling import (
    WeightedPool,
    avg_pool2d_backward,
    avg_pool2d_forward,
    l2_pool2d_backward,
    l2_pool2d_forward,
    max_pool2d_backward,
    max_pool2d_forward,
    weighted_pool2d_backward,
    weighted_pool2d_forward,
)
from jaxdl.backprop.stochastic import (
    dropout_backward,
    dropout_forward,
)
from jaxdl.kernels.pooling import AvgPool, L2Pool, MaxPool

__all__ = [
    "AvgPool",
    "BatchNorm",
    "Convolution",
    "L2Pool",
    "MaxPool",
    "WeightedPool",
    "avg_pool2d_backward",
    "avg_pool2d_forward",
    "batch_norm_backward",
    "batch_norm_forward",
    "batch_norm_train_backward",
    "batch_norm_train_forward",
    "batch_statistics_backward",
    "batch_statistics_forward",
    "binary_cross_entropy_backward",
    "binary_cross_entropy_forward",
    "conv1d_backward",
    "conv1d_forward",
    "conv2d_backward",
    "conv2d_forward",
    "dense_backward",
    "dense_forward",
    "dropout_backward",
    "dropout_forward",
    "elu_backward",
    "elu_forward",
    "gelu_backward",
    "gelu_forward",
    "half_squared_error_backward",
    "half_squared_error_forward",
    "install",
    "l2_pool2d_backward",
    "l2_pool2d_forward",
    "leaky_relu_backward",
    "leaky_relu_forward",
    "linear_backward",
    "linear_forward",
    "local_response_norm_backward",
    "local_response_norm_forward",
    "log_softmax_backward",
    "log_softmax_forward",
    "max_pool2d_backward",
    "max_pool2d_forward",
    "noisy_relu_backward",
    "noisy_relu_forward",
    "relu6_backward",
    "relu6_forward",
    "relu_backward",
    "relu_forward",
    "sigmoid_backward",
    "sigmoid_binary_cross_entropy_backward",
    "sigmoid_binary_cross_entropy_forward",
    "sigmoid_forward",
    "softmax_backward",
    "softmax_cross_entropy_backward",
    "softmax_cross_entropy_forward",
    "softmax_forward",
    "softplus_backward",
    "softplus_forward",
    "squared_error_backward",
    "squared_error_forward",
    "swish_backward",
    "swish_forward",
    "tanh_backward",
    "tanh_forward",
    "threshold_backward",
    "threshold_forward",
    "weighted_pool2d_backward",
    "weighted_pool2d_forward",
]
