"""Make `contrib.json`: what the authors' own optimizers do to eight numbers in 1,000 steps.

In an environment of its own, from the repository's root:

    pip install torch==2.15.0 numpy==2.4.6 prodigyopt==1.1.2
    python tests/golden/make_contrib.py

Streams and saved steps are those of `make_golden.py`.
"""

import importlib.metadata
import json
from pathlib import Path

import prodigyopt
import torch
from stream import INITIAL, SAVED, gradients

RUNS = {
    "prodigy": (prodigyopt.Prodigy, {"lr": 0.01, "d0": 1e-3}),
    "prodigy_safeguard": (prodigyopt.Prodigy, {"lr": 0.1, "d0": 1e-3, "safeguard_warmup": True}),
}


def run(factory, keywords, stream):
    """Return the parameters after the saved steps."""
    param = torch.nn.Parameter(torch.from_numpy(INITIAL.copy()))
    optimizer = factory([param], **keywords)
    found = []
    for step, gradient in enumerate(stream, 1):
        param.grad = torch.from_numpy(gradient.copy())
        optimizer.step()
        if step in SAVED:
            found.append([float(f"{x:.9g}") for x in param.detach().numpy()])
    return found


def main():
    """Write the file beside this one."""
    packages = ("torch", "prodigyopt")
    record = {"versions": {name: importlib.metadata.version(name) for name in packages}, "runs": {}}
    for name, (factory, keywords) in RUNS.items():
        record["runs"][name] = {kind: run(factory, keywords, stream) for kind, stream in gradients().items()}
    path = Path(__file__).with_name("contrib.json")
    path.write_text(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
