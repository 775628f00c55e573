"""Make `contrib.json`: what the authors' own optimizers do to eight numbers in 1,000 steps.

In an environment of its own, from the repository's root:

    pip install torch==2.15.0 numpy==2.4.6 prodigyopt==1.1.2 pytorch-optimizer==4.1.0 schedulefree==1.4.1 \
        dadaptation==3.2
    python tests/golden/make_contrib.py

Streams and saved steps are those of `make_golden.py`.
"""

import importlib.metadata
import json
from pathlib import Path

import dadaptation
import prodigyopt
import pytorch_optimizer
import schedulefree
import torch
from stream import INITIAL, SAVED, gradients

RUNS = {
    "prodigy": (prodigyopt.Prodigy, {"lr": 0.01, "d0": 1e-3}),
    "prodigy_safeguard": (prodigyopt.Prodigy, {"lr": 0.1, "d0": 1e-3, "safeguard_warmup": True}),
    "adan": (pytorch_optimizer.Adan, {"lr": 0.01}),
    "adabelief": (pytorch_optimizer.AdaBelief, {"lr": 0.01, "eps": 1e-8, "rectify": False}),
    "ademamix": (pytorch_optimizer.AdEMAMix, {"lr": 0.01, "weight_decay": 0.1, "weight_decouple": True}),
    # as in the authors' code, the bound counts the updates before this one
    "adopt": (pytorch_optimizer.ADOPT, {"lr": 0.01, "clip_lambda": lambda step: (step - 1) ** 0.25}),
    "dadapt_adamw": (dadaptation.DAdaptAdam, {"lr": 0.1, "d0": 1e-3, "decouple": True}),
    "schedule_free_warmup": (schedulefree.SGDScheduleFree, {"lr": 0.01, "warmup_steps": 50, "foreach": False}),
    "schedule_free_sgd": (schedulefree.SGDScheduleFree, {"lr": 0.01, "foreach": False}),
    "schedule_free_adamw": (
        schedulefree.AdamWScheduleFree,
        {"lr": 0.01, "weight_decay": 0.1, "foreach": False},
    ),
}


def run(factory, keywords, stream):
    """Return the parameters after the saved steps."""
    param = torch.nn.Parameter(torch.from_numpy(INITIAL.copy()))
    optimizer = factory([param], **keywords)
    if hasattr(optimizer, "train"):
        optimizer.train()
    found = []
    for step, gradient in enumerate(stream, 1):
        param.grad = torch.from_numpy(gradient.copy())
        optimizer.step()
        if step in SAVED:
            found.append([float(f"{x:.9g}") for x in param.detach().numpy()])
    return found


def main():
    """Write the file beside this one."""
    packages = ("torch", "prodigyopt", "pytorch-optimizer", "schedulefree", "dadaptation")
    record = {"versions": {name: importlib.metadata.version(name) for name in packages}, "runs": {}}
    for name, (factory, keywords) in RUNS.items():
        record["runs"][name] = {kind: run(factory, keywords, stream) for kind, stream in gradients().items()}
    path = Path(__file__).with_name("contrib.json")
    path.write_text(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
