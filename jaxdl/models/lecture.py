"""The small convolutional networks that the lectures train or show. [Lecture row I]"""

from jaxdl import activations, initializers, nn


def lecture_keras(num_classes: int = 10, *, dropout: float = 0.0) -> nn.Layer:
    """The Keras lecture's net 32-64-1024-10: two 3x3 'valid' convolutions, each with a 2x2 max pool, one hidden layer.

    On 28x28x1 images it has 1,668,490 parameters. Kernels are initialised as in Keras (Glorot uniform), biases at 0.
    The lecture writes ``filter_size`` where Keras says ``kernel_size``.

    Args:
        num_classes: number of logits.
        dropout: probability of dropping a hidden unit before the last layer; the lecture uses none.

    Examples:
        >>> from jaxdl import analysis
        >>> analysis.count_parameters(models.lecture_keras(), (28, 28, 1))
        1668490
    """
    return _two_convolutions(num_classes, 3, (32, 64, 1024), initializers.glorot_uniform(), dropout)


def lecture_torch(num_classes: int = 10, *, dropout: float = 0.0) -> nn.Layer:
    """The PyTorch lecture's net 20-50-500-10: two 5x5 convolutions without padding, each with a 2x2 max pool.

    On 28x28x1 images it has 431,080 parameters. Kernels are initialised as in PyTorch, uniformly in ±1/sqrt(fan_in);
    biases start at 0, whereas PyTorch draws them too. The lecture reports 97.71 % on MNIST after one epoch.

    Args:
        num_classes: number of logits.
        dropout: probability of dropping a hidden unit before the last layer; the lecture uses none.

    Examples:
        >>> from jaxdl import analysis
        >>> analysis.count_parameters(models.lecture_torch(), (28, 28, 1))
        431080
    """
    init = initializers.variance_scaling(1 / 3, "fan_in", "uniform")
    return _two_convolutions(num_classes, 5, (20, 50, 500), init, dropout)


def cifar_demo(num_classes: int = 10) -> nn.Layer:
    """The CIFAR-10 demonstration that the lectures show: 5x5 convolutions 16, 20 and 20, each with a 2x2 max pool.

    It has 22,466 parameters on 32x32x3. Kernels are initialised by He's rule, biases at 0; the lecture specifies
    neither.

    Args:
        num_classes: number of logits.

    Reference: A. Karpathy, ConvNetJS CIFAR-10 demo, 2014,
    https://cs.stanford.edu/people/karpathy/convnetjs/demo/cifar10.html.

    Examples:
        >>> from jaxdl import analysis
        >>> analysis.count_parameters(models.cifar_demo(), (32, 32, 3))
        22466
    """
    init = initializers.he_normal()
    stages = {}
    for i, width in enumerate((16, 20, 20), 1):
        stages[f"conv{i}"] = nn.Conv(width, 5, padding=2, kernel_init=init)
        stages[f"relu{i}"] = activations.relu
        stages[f"pool{i}"] = nn.MaxPool(2)
    return nn.sized("the demo net", nn.serial(**stages, flatten=nn.flatten, fc=nn.Dense(num_classes, kernel_init=init)))


def _two_convolutions(num_classes: int, window: int, widths: tuple[int, int, int], init, dropout: float) -> nn.Layer:
    first, second, hidden = widths
    net = nn.serial(
        conv1=nn.Conv(first, window, padding="VALID", kernel_init=init),
        relu1=activations.relu,
        pool1=nn.MaxPool(2),
        conv2=nn.Conv(second, window, padding="VALID", kernel_init=init),
        relu2=activations.relu,
        pool2=nn.MaxPool(2),
        flatten=nn.flatten,
        fc1=nn.Dense(hidden, kernel_init=init),
        relu3=activations.relu,
        **({"dropout": nn.Dropout(dropout)} if dropout else {}),
        fc2=nn.Dense(num_classes, kernel_init=init),
    )
    return nn.sized("the lecture net", net)
