"""The examples in docstrings run and print what they show; the modules held to having one are listed here.

They assume ``import jax, jax.numpy as jnp, numpy as np, optax`` and the module itself, as the reference says. Numbers
are compared with a tolerance, because processors round differently.
"""

import doctest
import importlib
import inspect
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdl

HELD = ("activations", "initializers", "losses", "metrics", "optimizers", "regularizers", "schedules")
# an example follows; until then these are not held to it
LATER = {"analysis", "applications", "backprop", "classical", "compare", "data", "gradcheck", "interop", "kernels"}
LATER |= {"layers", "models", "nn", "plots", "primitives", "runs", "sizes", "studies", "training"}
OWN_TOOLS = {"compat", "disk", "extras", "numerics", "words"}  # not public
# shown by the example of another function, or in a guide
SHARED = {
    "activations": dict.fromkeys(("elu", "hard_swish", "linear", "relu6", "selu", "threshold"), "relu")
    | dict.fromkeys(("mish", "silu", "softplus"), "swish")
    | {"log_softmax": "softmax", "tanh": "sigmoid"},
    "optimizers": {
        "ademamix": "adam",
        "adopt": "adam",
        "prodigy": "adam",
        "sam": "training.train_step serves it",
        "schedule_free": "sgd",
        "sophia": "needs the loss as a function: training.train_step passes it",
        "schedule_free_adamw": "adamw",
        "schedule_free_sgd": "sgd",
        "accumulate": "optax.MultiSteps in docs/works_with/optax.md",
        "averaged_params": "polyak_average",
        "ema": "exponential_average",
        "eval_params": "training.eval_variables calls it",
        "exponential_average": "docs/coming_from.md, A loop",
        "fisher_product": "hessian_product",
        "gauss_newton": "newton",
        "gauss_newton_product": "hessian_product",
        "gradient_point": "training.train_step calls it",
        "hutchinson_diagonal": "hessian_product",
        "lbfgs": "needs the loss as a function: training.train_step passes it",
        "lookahead": "training.train_step serves it",
        "lookahead_params": "lookahead",
        "natural_gradient": "newton",
        "newton": "needs the loss as a function: training.train_step passes it",
        "newton_cg": "newton",
        "proximal_l1": "docs/notebooks/regularizers_at_work.py",
        "polyak_average": "training.train_step(average_decay=...)",
        "start_params": "training.start calls it",
        "tail_average": "polyak_average",
        "update": "training.train_step calls it",
    },
}
NUMBER = re.compile(r"-?\d+\.?\d*(?:e-?\d+)?")


class Tolerant(doctest.OutputChecker):
    """Compares the text with its numbers left out, and the numbers up to rounding."""

    def check_output(self, want, got, optionflags):
        texts = ["".join(NUMBER.sub("#", text).split()) for text in (want, got)]
        numbers = [[float(one) for one in NUMBER.findall(text)] for text in (want, got)]
        return texts[0] == texts[1] and bool(np.allclose(*numbers, rtol=1e-4, atol=1e-6))


def functions(module):
    """Return the public functions of a package, with their docstrings, except those of other libraries."""
    package = importlib.import_module(f"jaxdl.{module}")
    for name in package.__all__:
        value = inspect.unwrap(getattr(package, name))
        if inspect.isfunction(value) and value.__module__.startswith("jaxdl."):
            yield name, value


def test_every_public_module_is_held_or_named():
    folder = pathlib.Path(jaxdl.__file__).parent
    there = {path.stem for path in folder.glob("*.py")} | {path.parent.name for path in folder.glob("*/__init__.py")}
    assert there - {"__init__"} == {*HELD} | LATER | OWN_TOOLS


@pytest.mark.parametrize("module", HELD)
def test_each_function_has_an_example_that_prints_what_it_shows(module):
    without, said = set(), []
    runner = doctest.DocTestRunner(Tolerant(), verbose=False)
    for name, function in functions(module):
        doc = inspect.getdoc(function) or ""
        if ">>>" not in doc:
            without.add(name)
            continue
        names = {"jax": jax, "jnp": jnp, "np": np, "optax": optax, module: importlib.import_module(f"jaxdl.{module}")}
        test = doctest.DocTestParser().get_doctest(doc, names, f"{module}.{name}", None, None)
        runner.run(test, out=said.append)
    assert not said, "".join(said)
    assert without == {*SHARED.get(module, ())}
