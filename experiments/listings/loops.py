"""The loops that the lectures print, in NumPy, with their errata mended.

An optimizer's loop yields the parameters after each step and never ends, like the printed one. ``gradient`` maps the
parameters to their gradient.
"""

import itertools
from collections.abc import Callable, Iterator

import numpy as np

Array = np.ndarray
Gradient = Callable[[Array], Array]


def sgd(x: Array, gradient: Gradient, rate: float) -> Iterator[Array]:
    """Run S's descent, which is printed with +=, and then ascends."""
    while True:
        dx = gradient(x)
        x = x - rate * dx
        yield x


def momentum(x: Array, gradient: Gradient, rate: float, rho: float = 0.9) -> Iterator[Array]:
    """Run S's momentum, which is printed with +=, and then ascends."""
    vx = 0
    while True:
        dx = gradient(x)
        vx = rho * vx + dx
        x = x - rate * vx
        yield x


def adagrad(x: Array, gradient: Gradient, rate: float) -> Iterator[Array]:
    """Run S's AdaGrad."""
    grad_squared = 0
    while True:
        dx = gradient(x)
        grad_squared = grad_squared + dx * dx
        x = x - rate * dx / (np.sqrt(grad_squared) + 1e-7)
        yield x


def rmsprop(x: Array, gradient: Gradient, rate: float, decay_rate: float = 0.9) -> Iterator[Array]:
    """Run S's RMSProp."""
    grad_squared = 0
    while True:
        dx = gradient(x)
        grad_squared = decay_rate * grad_squared + (1 - decay_rate) * dx * dx
        x = x - rate * dx / (np.sqrt(grad_squared) + 1e-7)
        yield x


def almost_adam(x: Array, gradient: Gradient, rate: float, beta1: float = 0.9, beta2: float = 0.999) -> Iterator[Array]:
    """Run S's "Adam (almost)", whose moments are biased towards 0."""
    first_moment = second_moment = 0
    while True:
        dx = gradient(x)
        first_moment = beta1 * first_moment + (1 - beta1) * dx
        second_moment = beta2 * second_moment + (1 - beta2) * dx * dx
        x = x - rate * first_moment / (np.sqrt(second_moment) + 1e-7)
        yield x


def adam(x: Array, gradient: Gradient, rate: float, beta1: float = 0.9, beta2: float = 0.999) -> Iterator[Array]:
    """Run the algorithm of the Adam paper, which P prints."""
    m = v = 0
    for t in itertools.count(1):
        g = gradient(x)
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        x = x - rate * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + 1e-8)
        yield x


def polyak(x: Array, gradient: Gradient, rate: float) -> Iterator[Array]:
    """Run S's descent and yield the moving average of its parameters, which S uses on the test set."""
    x_test = x
    while True:
        dx = gradient(x)
        x = x - rate * dx
        x_test = 0.995 * x_test + 0.005 * x
        yield x_test


def line(x: Array, y: Array, rate: float) -> tuple[float, float]:
    """Return θ0 and θ1 of P's descent on the squared error of a line, repeated until convergence."""
    theta0 = theta1 = change = 1.0
    while change > 1e-12:
        error = theta0 + theta1 * x - y
        new0, new1 = theta0 - rate * error.mean(), theta1 - rate * (error * x).mean()
        change, theta0, theta1 = abs(new0 - theta0) + abs(new1 - theta1), new0, new1
    return theta0, theta1


def softmax_loss(y: Array, predicted: Array) -> float:
    """Return M's mean cross entropy of logits, which is printed with positional arguments; TensorFlow refuses them."""
    exponentials = np.exp(predicted - predicted.max(-1, keepdims=True))
    return float(np.mean(-np.sum(y * np.log(exponentials / exponentials.sum(-1, keepdims=True)), -1)))


def squared_loss(y: Array, predicted: Array) -> float:
    """Return M's mean squared error."""
    return float(np.mean(np.square(y - predicted)))


def max_pool(x: Array) -> Array:
    """Return the maxima of 2×2 squares of a matrix, P's MaxPool2D with stride 2."""
    return x.reshape(len(x) // 2, 2, -1, 2).max((1, 3))


def dropped(X: Array, weights: list[tuple[Array, Array]], masks: list[Array]) -> Array:
    """Return the output of S's three layers, whose hidden units are multiplied by masks and not scaled."""
    (W1, b1), (W2, b2), (W3, b3) = weights
    H1 = np.maximum(0, np.dot(W1, X) + b1)
    H1 *= masks[0]  # drop!
    H2 = np.maximum(0, np.dot(W2, H1) + b2)
    H2 *= masks[1]  # drop!
    return np.dot(W3, H2) + b3


def tanh_layers(x: Array, matrices: Iterator[Array]) -> Array:
    """Return the last activations of P's layers of tanh."""
    for a in matrices:
        x = np.tanh(a @ x)
    return x
