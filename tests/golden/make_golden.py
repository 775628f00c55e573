"""Make the golden vectors: what PyTorch's and Keras's optimizers do to eight numbers in 1,000 steps.

In an environment of its own (``make golden`` makes it), from the repository's root:

    python tests/golden/make_golden.py

writes ``torch.json`` and ``keras.json`` beside this file, each with the versions that made it. The same
versions write the same bytes.
"""

import json
import os
from pathlib import Path

# its torch backend has optimizers of its own; with numpy Keras runs the formulas of its public classes
os.environ["KERAS_BACKEND"] = "numpy"

import keras
import numpy as np
import torch
from stream import INITIAL, SAVED, gradients, learning_rate

HERE = Path(__file__).parent

TORCH = {
    "sgd": (torch.optim.SGD, {}),
    "momentum": (torch.optim.SGD, {"momentum": 0.9}),
    "momentum_scheduled": (torch.optim.SGD, {"momentum": 0.9}),
    "nesterov": (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    "adagrad": (torch.optim.Adagrad, {}),
    "rmsprop": (torch.optim.RMSprop, {}),
    "rmsprop_momentum_scheduled": (torch.optim.RMSprop, {"momentum": 0.9}),
    "rmsprop_centered": (torch.optim.RMSprop, {"centered": True}),
    "adam": (torch.optim.Adam, {}),
    "adamw": (torch.optim.AdamW, {}),
    "amsgrad": (torch.optim.Adam, {"amsgrad": True}),
    "adamax": (torch.optim.Adamax, {}),
    "nadam": (torch.optim.NAdam, {}),
    "radam": (torch.optim.RAdam, {}),
    "adadelta": (torch.optim.Adadelta, {}),
    "rprop": (torch.optim.Rprop, {}),
}

KERAS = {
    "sgd": (keras.optimizers.SGD, {}),
    "momentum": (keras.optimizers.SGD, {"momentum": 0.9}),
    "momentum_scheduled": (keras.optimizers.SGD, {"momentum": 0.9}),
    "nesterov": (keras.optimizers.SGD, {"momentum": 0.9, "nesterov": True}),
    "adagrad": (keras.optimizers.Adagrad, {}),
    "rmsprop": (keras.optimizers.RMSprop, {}),
    "rmsprop_momentum_scheduled": (keras.optimizers.RMSprop, {"momentum": 0.9}),
    "rmsprop_centered": (keras.optimizers.RMSprop, {"centered": True}),
    "adam": (keras.optimizers.Adam, {}),
    "adamw": (keras.optimizers.AdamW, {}),
    "amsgrad": (keras.optimizers.Adam, {"amsgrad": True}),
    "adamax": (keras.optimizers.Adamax, {}),
    "nadam": (keras.optimizers.Nadam, {}),
    "adadelta": (keras.optimizers.Adadelta, {}),
    "lion": (keras.optimizers.Lion, {}),
}


def run_torch(factory, options, grads, scheduled):
    """Return the parameters after the saved steps."""
    w = torch.nn.Parameter(torch.tensor(INITIAL))
    optimizer = factory([w], lr=0.01, **options)
    saved = []
    for step, g in enumerate(grads):
        optimizer.param_groups[0]["lr"] = learning_rate(step, scheduled)
        w.grad = torch.tensor(g)
        optimizer.step()
        if step + 1 in SAVED:
            saved.append(w.detach().numpy().tolist())
    return saved


def run_keras(factory, options, grads, scheduled):
    """Return the parameters after the saved steps."""
    w = keras.Variable(INITIAL)
    optimizer = factory(learning_rate=0.01, **options)
    optimizer.build([w])
    saved = []
    for step, g in enumerate(grads):
        optimizer.learning_rate = learning_rate(step, scheduled)
        optimizer.apply([keras.ops.convert_to_tensor(g)], [w])
        if step + 1 in SAVED:
            saved.append(np.asarray(w.value).tolist())
    return saved


def main():
    torch.manual_seed(0)
    backend = keras.backend.backend()
    versions = {"torch": torch.__version__.partition("+")[0], "keras": keras.__version__, "keras backend": backend}
    versions["numpy"] = np.__version__
    for name, run, cases in (("torch", run_torch, TORCH), ("keras", run_keras, KERAS)):
        record = {"versions": versions, "saved": SAVED, "runs": {}}
        for case, (factory, options) in cases.items():
            record["runs"][case] = {
                stream: run(factory, options, grads, case.endswith("scheduled"))
                for stream, grads in gradients().items()
            }
        (HERE / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
