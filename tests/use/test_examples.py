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
from jaxdl import backprop

HELD = (
    "activations", "analysis", "backprop", "classical", "compare", "data", "gradcheck", "initializers", "interop",
    "kernels", "layers", "losses", "metrics", "models", "nn", "optimizers", "plots", "primitives", "regularizers",
    "demonstrations", "runs", "schedules", "sizes", "studies", "training",
    "analysis.changes", "applications.adversarial", "applications.colorization", "applications.detection",
    "applications.relaxation", "applications.search", "applications.style_transfer", "applications.transfer",
    "compare.streams",
    "data.augmentation", "data.toy", "interop.keras", "interop.torchvision", "layers.filters", "studies.cost",
    "studies.landscapes", "studies.proportions", "studies.statistics", "studies.sweep", "training.checkpoints",
)  # fmt: skip
ONLY_MODULES = {"applications"}  # without a function of its own
OWN_TOOLS = {"compat", "counterparts", "disk", "extras", "numerics", "paths", "texts", "words"}  # not public
PROBLEMS = ("cifar10_3c3d", "cifar10_resnet20", "cifar10_vit", "digits_mlp", "fashion_mnist_2c2d", "mnist_mlp")
PROBLEMS += ("char_lstm", "char_transformer", "fashion_mnist_lenet5", "heat_pinn", "mnist_softmax")
# shown by the example of another function, or in a guide
SHARED = {
    "activations": dict.fromkeys(("elu", "hard_swish", "linear", "relu6", "selu", "threshold"), "relu")
    | dict.fromkeys(("mish", "silu", "softplus"), "swish")
    | {"log_softmax": "softmax", "tanh": "sigmoid"},
    "analysis": {"watched_layers": "watched"},
    "analysis.changes": dict.fromkeys(("clutter", "light", "shrink"), "shift"),
    "applications.colorization": {"lab_to_rgb": "rgb_to_lab"},
    "applications.detection": {
        "box_loss": "box_targets and it are what a training is made of: experiments.detection",
        "box_targets": "decode_boxes, whose inverse it is",
        "mean_average_precision": "average_precision",
        "to_centers": "the docstring has the formula",
        "to_corners": "decode_boxes, which ends with it",
    },
    "applications.search": dict.fromkeys(("choice", "log_uniform", "uniform"), "grid")
    | {"tree_parzen": "needs Optuna: experiments.hyperparameters"},
    "applications.style_transfer": {"load_vgg19": "needs the file of weights: experiments.style_transfer"},
    "applications.transfer": dict.fromkeys(("start", "trunk"), "with_head"),
    "backprop": dict.fromkeys(("elu_forward", "linear_forward", "relu6_forward", "threshold_forward"), "relu_forward")
    | dict.fromkeys(("gelu_forward", "softplus_forward", "swish_forward"), "sigmoid_forward")
    | {name: name.replace("_backward", "_forward") for name in backprop.__all__ if name.endswith("_backward")},
    "compare": dict.fromkeys(("keras_optimizer", "torch_optimizer"), "needs the other framework: docs/coming_from.md"),
    "compare.streams": {"huge": "tiny", "lenet": "recorded", "random": "sparse"},
    "data.augmentation": dict.fromkeys(("contrast", "drop_pixels", "hue", "noise", "saturation"), "brightness")
    | dict.fromkeys(("rand_augment", "random_resized_crop", "rotate", "scale", "translate"), "crop")
    | {"vertical_flip": "flip"},
    "demonstrations": dict.fromkeys(("commands", "run_main"), "experiments.linear_regression"),
    "interop": {"read": "write_safetensors", "save": "load", "write_keras": "docs/works_with/keras_weights.md"},
    "interop.keras": dict.fromkeys(("densenet", "resnet"), "vgg"),
    "interop.torchvision": dict.fromkeys(("alexnet", "densenet", "googlenet", "vgg"), "resnet"),
    "layers": dict.fromkeys(("dropconnect", "gaussian_dropout", "spatial_dropout", "stochastic_depth"), "dropout")
    | {"max_pool2d_argmax": "max_unpool2d"},
    "layers.filters": {"edge": "apply", "strong_edge": "sharpen"},
    "plots": {"save": "png"},
    "runs": dict.fromkeys(("create_dated", "lock", "read_json", "write_json"), "create")
    | dict.fromkeys(("check_same_data", "write_manifest"), "describe")
    | dict.fromkeys(("save_final", "write_preprocessing"), "load"),
    "studies": dict.fromkeys(PROBLEMS, "digits_softmax"),
    "studies.cost": {"update_microseconds": "measures a time, which no example can print"},
    "studies.statistics": {"paired_difference": "paired_test"},
    "studies.sweep": dict.fromkeys(
        ("on_tuning", "place"), "needs a study around it: docs/guides/compare_optimizers.md"
    ),
    "training": {
        "assert_device_invariance": "check_device_invariance",
        "data_parallel_eval": "data_parallel",
        "eval_variables": "start",
        "evaluate": "eval_step",
        "join": "needs several processes: docs/devices.md",
        "own_part": "needs several processes: docs/devices.md",
        "replicate": "data_parallel",
    },
    "training.checkpoints": dict.fromkeys(
        ("read_newest", "restore", "restore_newest", "steps", "tidy", "verify"), "save"
    ),
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


def public(package):
    """Return the names of a package for users: its `__all__`, else its own functions without an underscore."""
    own = [name for name, value in vars(package).items() if getattr(value, "__module__", "") == package.__name__]
    return getattr(package, "__all__", [name for name in own if not name.startswith("_")])


def functions(module):
    """Return the public functions of a package, with their docstrings, except those of other libraries."""
    package = importlib.import_module(f"jaxdl.{module}")
    for name in public(package):
        value = inspect.unwrap(getattr(package, name))
        if inspect.isfunction(value) and value.__module__.startswith("jaxdl."):
            yield name, value


def test_every_public_module_is_held_or_named():
    folder = pathlib.Path(jaxdl.__file__).parent
    there = {path.stem for path in folder.glob("*.py")} | {path.parent.name for path in folder.glob("*/__init__.py")}
    there -= {"__init__"}
    packages = [importlib.import_module(f"jaxdl.{name}") for name in there]
    members = [getattr(package, name) for package in packages for name in public(package)]
    inner = {member.__name__.removeprefix("jaxdl.") for member in members if inspect.ismodule(member)}
    assert there | inner == {*HELD} | ONLY_MODULES | OWN_TOOLS


@pytest.mark.slow
@pytest.mark.parametrize("module", HELD)
def test_each_function_has_an_example_that_prints_what_it_shows(module):
    without, said = set(), []
    runner = doctest.DocTestRunner(Tolerant(), verbose=False)
    for name, function in functions(module):
        doc = inspect.getdoc(function) or ""
        if ">>>" not in doc:
            without.add(name)
            continue
        outer, _, inner = module.rpartition(".")
        packages = {
            one: importlib.import_module(f"jaxdl.{path}") for one, path in ((inner, module), (outer, outer)) if one
        }
        names = {"jax": jax, "jnp": jnp, "np": np, "optax": optax, **packages}
        test = doctest.DocTestParser().get_doctest(doc, names, f"{module}.{name}", None, None)
        runner.run(test, out=said.append)
    assert not said, "".join(said)
    assert without == {*SHARED.get(module, ())}
