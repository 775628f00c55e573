"""The two convolutional networks on which DeepOBS compares optimizers.

Reference: F. Schneider, L. Balles, P. Hennig, DeepOBS: A Deep Learning Optimizer Benchmark Suite, 2019,
https://arxiv.org/abs/1903.05499.
"""

from typing import Any

from jaxdl import activations, initializers, nn


def net_2c2d(num_classes: int = 10) -> nn.Layer:
    """Two 5x5 convolutions (32, 64), each with ReLU and a 2x2 max pool, then 1,024 hidden units.

    On 28x28x1 images it has 3,274,634 parameters. Kernels are drawn from a normal distribution of standard deviation
    .05, truncated at two deviations; biases start at .05.

    Args:
        num_classes: number of logits.

    Examples:
        >>> from jaxdl import analysis
        >>> analysis.count_parameters(models.net_2c2d(), (28, 28, 1))
        3274634
    """
    start: dict[str, Any] = {
        "kernel_init": initializers.truncated_normal(0.05),
        "bias_init": initializers.constant(0.05),
    }
    return nn.serial(
        conv1=nn.Conv(32, 5, **start),
        relu1=activations.relu,
        pool1=nn.MaxPool(2, padding="SAME"),
        conv2=nn.Conv(64, 5, **start),
        relu2=activations.relu,
        pool2=nn.MaxPool(2, padding="SAME"),
        flatten=nn.flatten,
        fc1=nn.Dense(1024, **start),
        relu3=activations.relu,
        fc2=nn.Dense(num_classes, **start),
    )


def net_3c3d(num_classes: int = 10) -> nn.Layer:
    """Three convolutions (64, 96, 128), each with ReLU and a 3x3 max pool of stride 2, then 512 and 256 hidden units.

    On 32x32x3 images it has 895,210 parameters. Kernels are initialised by Glorot's rule, from a truncated normal in
    convolutions and uniformly in dense layers; biases start at 0. DeepOBS trains it with the penalty ½·.002·‖W‖² on
    all kernels.

    Args:
        num_classes: number of logits.

    Examples:
        >>> from jaxdl import analysis
        >>> analysis.count_parameters(models.net_3c3d(), (32, 32, 3))
        895210
    """
    conv_init = initializers.variance_scaling(1.0, "fan_avg", "truncated_normal")
    dense_init = initializers.glorot_uniform()
    return nn.serial(
        conv1=nn.Conv(64, 5, padding="VALID", kernel_init=conv_init),
        relu1=activations.relu,
        pool1=nn.MaxPool(3, stride=2, padding="SAME"),
        conv2=nn.Conv(96, 3, padding="VALID", kernel_init=conv_init),
        relu2=activations.relu,
        pool2=nn.MaxPool(3, stride=2, padding="SAME"),
        conv3=nn.Conv(128, 3, kernel_init=conv_init),
        relu3=activations.relu,
        pool3=nn.MaxPool(3, stride=2, padding="SAME"),
        flatten=nn.flatten,
        fc1=nn.Dense(512, kernel_init=dense_init),
        relu4=activations.relu,
        fc2=nn.Dense(256, kernel_init=dense_init),
        relu5=activations.relu,
        fc3=nn.Dense(num_classes, kernel_init=dense_init),
    )
