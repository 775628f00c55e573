"""Make `matrix.json`: what pytorch-optimizer's Shampoo and SOAP do in float64 to a matrix, a tensor and a vector.

In an environment of its own, from the repository's root:

    pip install torch==2.15.0 numpy==2.4.6 pytorch-optimizer==4.1.0
    python tests/golden/make_matrix.py

The parameters start at 0 and the rate is 1, so they are the sums of the preconditioned updates.
"""

import importlib.metadata
import json
from pathlib import Path

import numpy as np
import pytorch_optimizer
import torch
from pytorch_optimizer.optimizer import soap

SHAPES = {"matrix": (4, 3), "tensor": (2, 3, 2), "vector": (3,)}
SAVED = (1, 2, 12, 30)
RUNS = {
    "shampoo": (pytorch_optimizer.Shampoo, {"lr": 1.0, "matrix_eps": 1e-4}),
    "soap": (pytorch_optimizer.SOAP, {"lr": 1.0, "weight_decay": 0.0}),
    "soap_often": (
        pytorch_optimizer.SOAP,
        {"lr": 1.0, "weight_decay": 0.0, "precondition_frequency": 3, "max_precondition_dim": 3},
    ),
}


class InDouble:
    """torch, of which float32 is float64: SOAP rounds its QR to float32 otherwise."""

    float32 = torch.float64

    def __getattr__(self, name):
        return getattr(torch, name)


def gradients():
    """Return name → the gradients of every step."""
    random = np.random.RandomState(7)
    return {name: random.normal(size=(SAVED[-1], *shape)) for name, shape in SHAPES.items()}


def run(factory, keywords):
    """Return name → the parameters after the saved steps."""
    params = {name: torch.nn.Parameter(torch.zeros(shape, dtype=torch.float64)) for name, shape in SHAPES.items()}
    optimizer, found, grads = factory(params.values(), **keywords), {name: [] for name in SHAPES}, gradients()
    for step in range(SAVED[-1]):
        for name, param in params.items():
            param.grad = torch.from_numpy(grads[name][step].copy())
        optimizer.step()
        if step + 1 in SAVED:
            for name, param in params.items():
                found[name].append([float(f"{x:.14g}") for x in param.detach().numpy().ravel()])
    return found


def main():
    """Write the file beside this one."""
    soap.torch = InDouble()
    versions = {name: importlib.metadata.version(name) for name in ("torch", "pytorch-optimizer")}
    record = {"versions": versions, "runs": {name: run(*settings) for name, settings in RUNS.items()}}
    Path(__file__).with_name("matrix.json").write_text(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
