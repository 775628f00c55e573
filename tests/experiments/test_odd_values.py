"""Odd values of every option of every command: each gets one line, or works."""

import inspect
import typing
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from experiments import predict, summary
from experiments.cifar10_speedrun import command as cifar10_speedrun
from experiments.compare_optimizers import command as compare_optimizers
from experiments.train_cnn import choices, config, setup
from experiments.train_cnn import command as train_cnn
from experiments.transfer import command as transfer
from jaxdl import runs
from jaxdl.runs import commandline, names

COMMANDS = {
    module.__name__.split(".")[1]: module
    for module in (train_cnn, compare_optimizers, transfer, cifar10_speedrun, predict, summary)
}


def options(command, kind):
    """Return the options of a command whose type is, or holds, ``kind``."""
    hints = typing.get_type_hints(COMMANDS[command].Config)
    return [name for name, hint in hints.items() if kind is hint or kind in typing.get_args(hint)]


OF_INT = [(command, option) for command in COMMANDS for option in options(command, int)]
OF_PATH = [
    (command, option)
    for command in COMMANDS
    for option in options(command, commandline.pathlib.Path)
    if not (command == "predict" and option in ("run", "images"))  # have no name; tested below
]


def typed(option, *values):
    return [f"--{option.replace('_', '-')}", *values]


@pytest.mark.parametrize(("command", "option"), OF_INT)
@pytest.mark.parametrize("value", [2**31, 2**64, 10**40, -(10**40)])
def test_a_whole_number_beyond_32_bits_gets_one_line(run, monkeypatch, tmp_path, command, option, value):
    monkeypatch.chdir(tmp_path)
    if option == "seed" and value == 2**31:  # a random key has 32 bits
        value = 2**32
    needed = {"predict": ["run", "image"], "summary": ["lenet5"]}.get(command, [])
    code, out, err = run(COMMANDS[command].main, *needed, *typed(option, value))
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {option}={value} is not allowed: it must be at most ")
    assert len(err.splitlines()) == 2, "the second line says how to see the traceback"
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(("command", "option"), OF_PATH)
@pytest.mark.parametrize("joined", [True, False])
def test_an_empty_path_is_not_the_current_folder(run, monkeypatch, tmp_path, command, option, joined):
    monkeypatch.chdir(tmp_path)
    name = typed(option)[0]
    code, out, err = run(COMMANDS[command].main, *([f"{name}="] if joined else [name, ""]))
    assert (code, out, err.splitlines()[0]) == (
        2,
        "",
        f"error: {name} is empty; give a value, or leave it out for the default",
    )
    assert [*tmp_path.iterdir()] == []


def test_an_empty_argument_without_a_name_is_counted(run):
    code, _, err = run(predict.main, "run", "")
    assert (code, err.splitlines()[0]) == (
        2,
        "error: argument 2 is empty; give a value, or leave it out for the default",
    )


@pytest.mark.parametrize("option", ["out", "resume", "start_from"])
@pytest.mark.parametrize("joined", [True, False])
def test_a_path_from_the_user_s_folder_on_is_there(monkeypatch, tmp_path, option, joined):
    monkeypatch.setenv("HOME", str(tmp_path))
    name, chosen = typed(option)[0], config.Config()
    commandline.save_config(tmp_path, chosen)
    found = commandline.parse(config.Config, [f"{name}=~/."] if joined else [name, "~/."])
    assert Path(getattr(found, option)) == tmp_path
    assert commandline.parse(config.Config, ["--out=a~/b"]).out == Path("a~/b")


def test_the_largest_seed_makes_a_key_and_differs_from_the_others():
    keys = {jax.random.key_data(jax.random.key(seed)).tobytes() for seed in (0, commandline.LARGEST_SEED)}
    assert len(keys) == 2
    with pytest.raises(OverflowError):
        jax.random.key(2**64)


def test_more_steps_than_a_step_can_count_are_refused():
    chosen = config.resolve(config.Config(epochs=commandline.LARGEST))
    with pytest.raises(ValueError, match=r"^epochs=2147483647 is not allowed: it must be at most 2,147,483,647 steps"):
        setup.prepare(chosen)


ODD = [
    ".x:y", "..:y", "x:", "x:y.", ":", "::", "a:b:c", "a b:c", "x.:y", "(", "()", "adam(", "adam()()", "adam(eps=)",
    "adam(**{})", "(eps=1)", "a\nb", "é:ü", ".", " ", "~nobody/x", "../..:x", "x" * 300 + ":y", "sys:maxsize",
    "adam(eps=" + "[" * 300, "adam(eps=1_)", "adam(learning_rate=1)", "adam(1)", "a\0b", "jaxdl:__name__",
]  # fmt: skip
READERS = {
    "dataset": runs.dataset,
    "model": lambda text: runs.model(text, 10),
    "loss": runs.loss,
    "optimizer": runs.optimizer,
    "problem": names.problem,
}


@pytest.mark.parametrize("kind", READERS)
def test_an_odd_name_gets_one_line(kind):
    for text in ODD:
        with pytest.raises((ValueError, OSError)) as error:
            READERS[kind](text)
        if isinstance(error.value, ValueError):
            assert str(error.value)


def test_odd_keywords_of_an_optimizer_get_one_line():
    params = {"kernel": jnp.ones((2, 2))}
    for name in ("jaxdl.adam", "optax.sgd", "jaxdl.muon", "jaxdl.lars"):
        for keyword in [*inspect.signature(names.optimizer_names()[name]).parameters][1:]:
            for value in ("'x'", "[]", "10000000000"):
                assert told(f"{name}({keyword}={value})", params).startswith(("optimizer=", "works"))


def told(optimizer, params):
    """Return the message with which an optimizer is refused, or "works"."""
    try:
        choices.optimizer(optimizer, 0.1, None, params)
    except ValueError as error:
        return str(error)
    return "works"


def test_too_little_memory_gets_one_line(run):
    def allocate(argv):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes.\nmore")

    assert run(allocate) == (
        2,
        "",
        "error: there is not enough memory (RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes.)\n"
        "(JAXDL_TRACEBACK=1 shows where)\n",
    )
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        commandline.run_main(lambda: (_ for _ in ()).throw(jax.errors.JaxRuntimeError("INTERNAL: a bug")))
