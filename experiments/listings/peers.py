"""The listings of networks as the lectures print them, for PyTorch and Keras; neither is a requirement of jaxdl.

Their errata are mended: Keras says kernel_size, where P writes filter_size.
"""

import importlib
import os
from collections.abc import Iterator
from typing import Any

import numpy as np


def pytorch_net() -> Any:
    """Return S's Net."""
    torch = importlib.import_module("torch")
    nn, F = torch.nn, importlib.import_module("torch.nn.functional")

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = nn.Conv2d(1, 20, 5, 1)
            self.conv2 = nn.Conv2d(20, 50, 5, 1)
            self.fc1 = nn.Linear(4 * 4 * 50, 500)
            self.fc2 = nn.Linear(500, 10)

        def forward(self, x):
            x = F.relu(self.conv1(x))
            x = F.max_pool2d(x, 2, 2)
            x = F.relu(self.conv2(x))
            x = F.max_pool2d(x, 2, 2)
            x = x.view(-1, 4 * 4 * 50)
            x = F.relu(self.fc1(x))
            x = self.fc2(x)
            return F.log_softmax(x, dim=1)

    return Net()


def pytorch_train(
    train: Iterator[tuple[np.ndarray, np.ndarray]], test: tuple[np.ndarray, np.ndarray], seed: int, every: int
) -> tuple[np.ndarray, float, np.ndarray]:
    """Run S's loop over batches of (n, 28, 28, 1).

    Returns:
        The printed losses, the test loss, and the predicted classes of the test images.
    """
    torch = importlib.import_module("torch")
    F = importlib.import_module("torch.nn.functional")
    # a copy, since PyTorch would take the strides of a moved axis of one channel for channels last, and view fail
    first = lambda x: np.moveaxis(x, -1, 1).copy()
    tensors = lambda x, y: (torch.tensor(first(x)), torch.tensor(y, dtype=torch.int64))
    torch.manual_seed(seed)
    model, printed = pytorch_net(), []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.5)
    model.train()
    for idx, batch in enumerate(train):
        data, target = tensors(*batch)
        pred = model(data)
        loss = F.nll_loss(pred, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if idx % every == 0:
            printed.append(loss.item())
    model.eval()
    with torch.no_grad():
        data, target = tensors(*test)
        pred = model(data)
    return np.array(printed), F.nll_loss(pred, target).item(), pred.argmax(1).numpy()


def keras_net(seed: int) -> Any:
    """Return P's model, built for images of 28×28 pixels."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    keras = importlib.import_module("keras")
    keras.utils.set_random_seed(seed)
    layers = keras.layers
    model = keras.Sequential([
        layers.Conv2D(32, kernel_size=3, activation="relu"),
        layers.MaxPool2D(pool_size=2, strides=2),
        layers.Conv2D(64, kernel_size=3, activation="relu"),
        layers.MaxPool2D(pool_size=2, strides=2),
        layers.Flatten(),
        layers.Dense(1024, activation="relu"),
        layers.Dense(10, activation="softmax"),
    ])  # fmt: skip
    model.build((None, 28, 28, 1))
    return model
