"""Names on the command line: they mean the same for every kind, and nothing in them is executed."""

import sys
import types
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.compare_optimizers import command as compare_optimizers
from experiments.train_cnn import config as train_config
from jaxdl import losses, models, optimizers, runs, studies
from jaxdl.runs import calling, names

PARAMS = {
    "conv": {"kernel": jnp.full((3, 3, 2, 4), 0.1), "bias": jnp.zeros(4)},
    "d": {"kernel": jnp.full((4, 3), 0.1)},
}


def bars(count=4):
    return np.zeros((count * 10, 8, 8, 1), np.float32), np.arange(count * 10) % 2


def bowl(height=0.0):
    return (lambda key: jnp.ones(2)), (lambda params, batch: (params**2).sum() + height), (lambda seed, epoch: [0, 1])


@pytest.fixture(autouse=True)
def mine(monkeypatch):
    module = types.ModuleType("mine")
    module.__dict__.update(bars=bars, bowl=bowl, net=models.small_cnn, sgd=optax.sgd, loss=losses.margin, number=3)
    monkeypatch.setitem(sys.modules, "mine", module)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("adam", optimizers.adam(0.1)),
        ("jaxdl.adam", optimizers.adam(0.1)),
        ("jaxdl.adam(eps=1e-3)", optimizers.adam(0.1, eps=1e-3)),
        ("optax.adam( eps = 1e-3, b1=.8 )", optax.adam(0.1, eps=1e-3, b1=0.8)),
        ("optax.sgd(momentum=0.9, nesterov=True)", optax.sgd(0.1, 0.9, nesterov=True)),
        ("optax.contrib.prodigy", optax.contrib.prodigy(0.1)),
        ("optax.prodigy", optax.contrib.prodigy(0.1)),
        ("mine:sgd(momentum=0.5)", optax.sgd(0.1, 0.5)),
        ("optax:sgd", optax.sgd(0.1)),
    ],
)
def test_an_optimizer_is_the_one_that_is_named(text, expected):
    built = runs.optimizer(text)(0.1)
    steps = []
    for one in (built, expected):
        params, state = PARAMS, one.init(PARAMS)
        for _ in range(2):
            updates, state = one.update(params, state, params)
            params = optax.apply_updates(params, updates)
        steps.append(params)
    jax.tree.map(np.testing.assert_array_equal, *steps)


def test_labels_are_spaced_alike_and_name_the_library():
    assert names.optimizer_label("adam") == "jaxdl.adam"
    assert names.optimizer_label(" optax.adam( eps = 1e-3,b1=.8 )") == "optax.adam(eps=0.001, b1=0.8)"
    assert names.optimizer_label("mine:sgd") == "mine:sgd"
    assert runs.labels(["adam", "mine:b", "jaxdl.adam"]) == ["jaxdl.adam-1", "mine:b", "jaxdl.adam-2"]
    assert runs.labels(["m:a", "b.c"]) == ["m:a", "b.c"]


def test_every_kind_takes_keywords():
    small = runs.model("small_cnn(hidden=7)", 3).init(jax.random.key(0), (8, 8, 1))[0]
    mine = runs.model("mine:net(hidden=7)", 3).init(jax.random.key(0), (8, 8, 1))[0]
    assert jax.tree.map(jnp.shape, small) == jax.tree.map(jnp.shape, mine)
    assert 7 in small["fc1"]["kernel"].shape
    logits, labels = jnp.array([[1.0, 2.0]]), jnp.array([1])
    for name in (
        "softmax_cross_entropy(label_smoothing=0.2)",
        "jaxdl.losses:softmax_cross_entropy(label_smoothing=0.2)",
    ):
        expected = losses.softmax_cross_entropy(logits, labels, label_smoothing=0.2)
        np.testing.assert_array_equal(runs.loss(name)(logits, labels), expected)
    assert len(runs.dataset("mine:bars(count=3)").labels) == 30
    assert float(runs.problem("mine:bowl(height=2.0)").loss(jnp.zeros(2), (), 0, (), None)[0]) == 2.0
    assert runs.problem("mine:bowl(height=2)").name == "mine:bowl(height=2)"
    assert runs.problem("quadratic_deep(shuffle='repeated')").name == studies.quadratic_deep(shuffle="repeated").name


def test_a_folder_with_brackets_in_its_name_is_a_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no such folder"):
        runs.dataset(str(tmp_path / "images (2: new)"))


@pytest.mark.parametrize("library", ["torch.optim.optimizer", "keras.src.optimizers"])
@pytest.mark.parametrize("keywords", ["", "(eps=1e-3)"])
def test_a_class_of_another_library_cannot_train_and_the_error_names_the_command_that_compares_it(
    library, keywords, monkeypatch
):
    base = type("Optimizer", (), {"__module__": library})
    own = type("Own", (base,), {"__init__": lambda self, params, lr=1e-3, eps=1e-8: None})
    monkeypatch.setattr("mine.Own", own, raising=False)
    with pytest.raises(TypeError, match=r"Own is a class of PyTorch or Keras, .*experiments.same compares it"):
        names.make_optimizer(runs.optimizer(f"mine:Own{keywords}"), jnp.float32(1e-3))


@pytest.mark.parametrize("package", ["keras", "own_module"])
def test_keras_without_its_backend_says_how_to_choose_one(package, monkeypatch):
    def absent(name):
        raise ModuleNotFoundError("No module named 'tensorflow'", name="tensorflow")

    monkeypatch.setattr(calling.pkgutil, "resolve_name", absent)
    with pytest.raises(ValueError, match="No module named 'tensorflow'; set KERAS_BACKEND=jax"):
        calling.function("first", f"{package}.optimizers:Own", {})


KINDS = {
    "optimizer": runs.optimizer,
    "model": lambda text: runs.model(text, 10),
    "loss": runs.loss,
    "dataset": runs.dataset,
    "problem": runs.problem,
}
WRONG = {
    "mine:nothing": "module 'mine' has no attribute 'nothing'; the form is package.module:function",
    "absent.module:f": "No module named 'absent'; the form is package.module:function",
    "keras.absent:f": r"No module named .*; (set KERAS_BACKEND=jax|install it with `pip install .jaxdl\[bridges\])",
    "mine:number": "is a int, not a function",
    "mine:": "one of the two is missing",
    ":f": "one of the two is missing",
    "mine:net(open('x'))": "only keywords are allowed between the brackets",
    "mine:net(**{'a': 1})": "only keywords are allowed between the brackets",
    "mine:net(hidden=open('x'))": r"open\('x'\) is not a literal such as 1e-3, True or 'text'",
    "mine:net(hidden=1 if True else 2)": "is not a literal",
    "mine:net(hidden=1, hidden=2)": "twice|repeated",
    "mine:net(hidden=1": "was never closed",
    "mine:net(hidden=1)(2)": "the form is NAME or NAME",
    "mine:net(wrong=1)": "wrong is no keyword to set here; allowed are",
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_name_gives_one_line(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for text, said in WRONG.items():
        with pytest.raises(ValueError, match=said) as caught:
            KINDS[kind](text)
        assert str(caught.value).startswith(f"{kind}=")
        assert "\n" not in str(caught.value)
    if kind != "dataset":  # other names of data sets are folders
        with pytest.raises(ValueError, match=f"{kind}='nothing_of_this' is unknown; the nearest is"):
            KINDS[kind]("nothing_of_this")


@pytest.mark.parametrize(
    ("name", "meant"), [("mse", "squared_error"), ("BCEWithLogitsLoss", "sigmoid_binary_cross_entropy")]
)
def test_a_loss_by_its_name_in_another_library_is_answered_with_the_one_here(name, meant):
    with pytest.raises(ValueError, match=f"loss='{name}' is unknown; it is '{meant}' here; there are: "):
        KINDS["loss"](name)


def test_the_learning_rate_is_the_commands():
    with pytest.raises(ValueError, match="learning_rate is no keyword to set here; allowed are b1"):
        runs.optimizer("adam(learning_rate=1)")
    for name in ("kfac", "jaxdl.kfac"):
        with pytest.raises(ValueError, match=r"kfac.* it needs the factors of each batch, which a loop of your own"):
            runs.optimizer(name)


def test_every_known_optimizer_takes_a_step_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        known = names.optimizer_names()
        ours = {"jaxdl.sgd", "jaxdl.momentum", "jaxdl.adam", "jaxdl.adamw", "optax.sgd", "optax.adam"}
        assert ours | {"optax.contrib.prodigy", "optax.contrib.muon"} <= {*known}
        for name, factory in known.items():
            optimizer = factory(0.01)
            updates = jax.eval_shape(lambda p, o=optimizer: runs.try_update(o, p, functions=True)[0], PARAMS)
            shapes = jax.tree.map(lambda u: (u.shape, u.dtype), updates)
            assert shapes == jax.tree.map(lambda p: (p.shape, p.dtype), PARAMS), name


@pytest.mark.parametrize(
    ("first", "second", "twins"),
    [
        ("jaxdl.adam", "optax.adam", True),
        ("optax.adam", "adam", True),
        ("adam(eps=1e-3)", "optax.adam(eps=0.001)", True),
        ("adam(eps=1e-3)", "optax.adam", False),
        ("momentum", "optax.sgd(momentum=0.9)", True),
        ("optax.sgd(nesterov=True, momentum=0.9)", "jaxdl.nesterov", True),
        ("jaxdl.nesterov", "jaxdl.adamw", False),
        ("muon", "optax.contrib.muon", True),
        ("mine:adam", "jaxdl.adam", False),
    ],
)
def test_twins_are_one_algorithm_with_the_same_keywords(first, second, twins):
    assert names.are_twins(first, second) is twins
    assert names.are_twins(second, first) is twins


def test_one_place_turns_a_name_into_an_optimizer():
    """Both commands take keywords, and the optimizers of optax.contrib."""
    for name in ("optax.sgd(momentum=0.9)", "optax.contrib.dowg", "dowg", "muon"):
        if name == "dowg":  # a name without a library is jaxdl's
            with pytest.raises(ValueError, match=r"the nearest is '"):
                train_config.resolve(train_config.Config(optimizer=(name,)))
            continue
        assert train_config.resolve(train_config.Config(optimizer=(name,))).optimizer == (name,)
        assert compare_optimizers.resolve(compare_optimizers.Config(optimizer=(name,))).optimizer == (name,)


class Absent:
    """Python's search for modules, where one package is not installed."""

    def __init__(self, package):
        self.package = package

    def find_spec(self, name, path=None, target=None):
        if name == self.package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


@pytest.mark.parametrize("package", ["torch", "keras"])
def test_a_framework_that_is_not_installed_is_named_with_its_extra(package, monkeypatch):
    monkeypatch.setattr(sys, "meta_path", [Absent(package), *sys.meta_path])
    for module in list(sys.modules):
        if module.partition(".")[0] == package:
            monkeypatch.delitem(sys.modules, module)
    with pytest.raises(ValueError, match=r"install it with `pip install 'jaxdl\[bridges\]'`"):
        names.optimizer(f"{package}.optim:Adam")
