"""LeNet-5. [Lecture row I]"""

from collections.abc import Callable

from jaxtyping import Array

from jaxdl import activations, initializers, nn


def lenet5(
    num_classes: int = 10,
    *,
    activation: Callable[[Array], Array] = activations.relu,
    pool: Callable[[int], nn.Layer] = nn.MaxPool,
) -> nn.Layer:
    """LeNet-5 as it is used today: convolutions 6 and 16, then 120-84-10, on 28x28 images padded to 32x32.

    It has 61,706 parameters on 28x28x1. ``activation=activations.tanh, pool=nn.AvgPool`` is closer to the paper;
    `lenet5_1998` is the paper's own network, with trained subsampling, partial connections and RBF outputs.

    Args:
        num_classes: number of logits.
        activation: the non-linearity of the four hidden layers.
        pool: constructor of a pooling layer, called with its window.

    Reference: Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, Gradient-Based Learning Applied to Document Recognition,
    1998, https://doi.org/10.1109/5.726791.

    Examples:
        >>> from jaxdl import analysis, nn
        >>> net = models.lenet5()
        >>> nn.paths(net)[:3], analysis.count_parameters(net, (28, 28, 1))
        (['conv1', 'act1', 'pool1'], 61706)
    """
    init = initializers.glorot_uniform()
    net = nn.serial(
        conv1=nn.Conv(6, 5, padding=2, kernel_init=init),
        act1=activation,
        pool1=pool(2),
        conv2=nn.Conv(16, 5, padding="VALID", kernel_init=init),
        act2=activation,
        pool2=pool(2),
        flatten=nn.flatten,
        fc1=nn.Dense(120, kernel_init=init),
        act3=activation,
        fc2=nn.Dense(84, kernel_init=init),
        act4=activation,
        fc3=nn.Dense(num_classes, kernel_init=init),
    )
    return nn.sized("LeNet-5", net)
