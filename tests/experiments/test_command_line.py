"""Command lines as a user meets them: one message names a mistake and nothing is left behind; help; huge pages."""

import ast
import dataclasses
import gzip
import inspect
import itertools
import os
import platform
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import experiments
from experiments import catalogue, predict, summary
from experiments.cifar10_speedrun import command as cifar10_speedrun
from experiments.compare_optimizers import command as compare_optimizers
from experiments.train_cnn import command as train_cnn
from experiments.transfer import command as transfer
from jaxdl.runs import commandline

ROOT = Path(__file__).parents[2]

MISTAKES = {
    # dataset
    "--dataset digist": ("unknown data set 'digist'", "digits, mnist, fashion_mnist, cifar10", "Nearest: digits"),
    "--dataset nowhere/at/all": ("nowhere/at/all: there is no such folder or archive",),
    "--dataset mine:nothing": ("dataset='mine:nothing'", "'nothing'", "package.module:function"),
    "--dataset absent.module:f": ("dataset='absent.module:f'", "No module named 'absent'"),
    "--dataset mine:number": ("dataset='mine:number'", "int, not a function"),
    "--dataset mine:no_dataset": ("dataset='mine:no_dataset' returned int", "(images, labels)"),
    "--dataset mine:net": ("dataset='mine:net' is called without arguments", "'classes'"),
    "--dataset mine:bad_labels": ("label 3 of example 0 is out of range",),
    "--dataset mine:one_class": ("dataset='mine:one_class' has one class, 'dark'; experiments tell",),
    "--dataset mine:bad_pixels": ("a pixel that is not finite",),
    "--dev-fraction 0.0001": ("dev_fraction=0.0001", "leaves the dev part empty"),
    "--test-fraction 0.9999": ("test_fraction=0.9999", "last training example"),
    "--dev-fraction -1": ("dev_fraction is -1.0", "at least 0 and below 1"),
    "--dev-fraction 0 --early-stop 2": ("early_stop=2 is not allowed", "needs a development part"),
    # model
    "--model tiny_cn": ("model='tiny_cn' is unknown", "nearest is 'tiny_cnn'", "lecture_torch, lenet5"),
    "--model mine:seven": ("model='mine:seven' is not allowed", "gives 10 logits", "it gives (7,)"),
    "--model mine:flat": ("model='mine:flat' does not take images of shape (8, 8, 1)",),
    "--model mine:no_arguments": ("model='mine:no_arguments' is called with 10, the number of classes", "argument"),
    "--model mine:no_layer": ("model='mine:no_layer' returned str, not a jaxdl.nn.Layer or a flax module",),
    # optimizer
    "--optimizer jaxdl.adamm": ("optimizer='jaxdl.adamm' is unknown", "nearest is 'jaxdl.ada", "jaxdl.yogi, optax"),
    "--optimizer adamm": ("optimizer='adamm' is unknown", "nearest is 'jaxdl.ada"),
    "--optimizer adam(eps=1)(": ("optimizer='adam(eps=1)('", "the form is NAME or NAME(keyword=value, ...)"),
    "--optimizer jaxdl.adamw(weight_decay=0.1) --weight-decay 0.2": ("weight_decay=0.2 is not allowed", "sets it"),
    "--model small_cnn(depth=3)": ("model='small_cnn(depth=3)': depth is no keyword to set here", "hidden"),
    "--loss margin(form=f)": ("loss='margin(form=f)': f is not a literal",),
    "--dataset mine:dataset(n=1)": ("dataset='mine:dataset(n=1)': n is no keyword to set here",),
    "--optimizer optax.noisy_sgd": ("optimizer='optax.noisy_sgd' is no optimizer by itself: it needs a random key",),
    "--optimizer optax.lbfgs --strategy pmap": ("optimizer='optax.lbfgs' does not work here", "--strategy jit"),
    "--optimizer mine:no_optimizer --schedule constant": ("returned float, not an optax.GradientTransformation",),
    "--optimizer mine:sgdd": ("optimizer='mine:sgdd'", "package.module:function"),
    "--optimizer optax.rprop": ("optimizer='optax.rprop' does not work here", "--schedule constant"),
    # numbers
    "--learning-rate 0": ("learning_rate=0.0 is not allowed", "positive"),
    "--learning-rate -0.1": ("learning_rate=-0.1 is not allowed",),
    "--learning-rate nan": ("learning_rate=nan is not allowed",),
    "--learning-rate inf": ("learning_rate=inf is not allowed",),
    "--learning-rate 0.1 0.2 0.3": ("learning_rate=(0.1, 0.2, 0.3)", "one for each of the optimizers"),
    "--batch-size 30 --devices 4": ("batch_size=30 is not allowed", "a multiple of the 4 devices"),
    "--batch-size 1295": ("batch_size=1295 is not allowed", "at most the 1294 training examples (--batch-size)"),
    "--batch-size -1": ("batch_size=-1 is not allowed", "at least 1"),
    "--devices 9": ("devices=9 is not allowed", "at most 8", "JAX_NUM_CPU_DEVICES=9"),
    "--devices 0": ("devices=0 is not allowed",),
    "--epochs -1": ("epochs=-1 is not allowed",),
    "--epochs 1 --warmup 40": ("warmup=40 is not allowed", "less than the 40 steps"),
    "--weight-decay -1": ("weight_decay=-1.0 is not allowed",),
    "--average 1": ("average=1.0 is not allowed", "(0, 1)"),
    "--early-stop 0": ("early_stop=0 is not allowed",),
    "--label-smoothing 1": ("label_smoothing=1.0 is not allowed",),
    "--seed -1": ("seed=-1 is not allowed",),
    "--loss cros_entropy": ("loss='cros_entropy' is unknown", "nearest is 'binary_cross_entropy'", "margin, nll"),
    "--loss cross_entropy": ("loss='cross_entropy' is unknown; it is 'softmax_cross_entropy' here",),
    "--loss mse": ("loss='mse' is unknown; it is 'squared_error' here", "margin, nll"),
    "--loss MSELoss": ("loss='MSELoss' is unknown; it is 'squared_error' here",),
    "--loss l2_loss": ("loss='l2_loss' is unknown; it is 'half_squared_error' here",),
    "--loss CTCLoss": ("loss='CTCLoss' is unknown; it is 'ctc' here",),
    "--optimizer AdamW": ("optimizer='AdamW' is unknown; it is 'jaxdl.adamw' here",),
    "--optimizer torch.optim.RMSprop": ("is unknown; it is 'jaxdl.rmsprop' here",),
    "--optimizer optax.contrib.Muon": ("is unknown; it is 'optax.contrib.muon' here",),
    "--loss mine:nothing": ("loss='mine:nothing'", "'nothing'", "package.module:function"),
    "--loss squared_error": (
        "loss='squared_error' does not take what model='tiny_cnn' returns",
        "must be the shape of",
    ),
    "--loss mine:mean_loss": ("loss='mine:mean_loss' must give one number per example", "gives shape ()"),
    "--loss mine:sgd": ("loss='mine:sgd' does not take what model='tiny_cnn' returns", "positional argument"),
    "--loss softmax_cross_entropy --model mine:capsules --dataset mine:bars --batch-size 8": (
        "loss='softmax_cross_entropy' does not take what model='mine:capsules' returns in training, a Capsules: ",
    ),
    "--loss margin --label-smoothing 0.1": (
        "label_smoothing=0.1 is not allowed",
        "0 with loss='margin', which has no such argument",
    ),
    "--clip-norm 0": ("clip_norm=0.0 is not allowed: it must be a positive number",),
    "--accumulate 0": ("accumulate=0 is not allowed: it must be at least 1",),
    "--accumulate 5": ("batch_size=32 is not allowed: it must be a multiple of the 1 devices × 5 microbatches",),
    "--class-weights 1 2": ("class_weights=('1', '2') is not allowed: it must be 10 numbers, one per class",),
    "--class-weights balance": ("class_weights=('balance',) is not allowed", "one per class, or balanced"),
    "--class-weights 0 0": ("class_weights=('0', '0') is not allowed", "above 0 for one class"),
    "--class-weights balanced --loss hinge": ("class_weights=('balanced',) is not allowed", "loss='hinge', which has"),
    "--mixup 0": ("mixup=0.0 is not allowed: it must be a positive number",),
    "--cutmix 1 --loss margin": ("cutmix=1.0 is not allowed", "only softmax_cross_entropy takes soft labels"),
    "--augment hue": ("augment=('hue',) is not allowed: it must be without hue for grey images",),
    "--augment none flip": ("augment=('none', 'flip') is not allowed",),
    "--optimizer jaxdl.adam --noise-floor True": ("noise_floor=True is not allowed",),
    # folders
    "--resume nowhere": ("nowhere: is not a run folder, it has no config.json",),
}


@pytest.mark.parametrize("options", MISTAKES)
def test_a_mistake_gives_one_clear_message_and_leaves_nothing_behind(run, here, tmp_path, monkeypatch, options):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(train_cnn.main, *options.split(), *([] if "--resume" in options else ["--out", "run"]))
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.endswith("\n(JAXDL_TRACEBACK=1 shows where)\n")
    assert "Traceback" not in err
    for part in MISTAKES[options]:
        assert part in err
    assert [*tmp_path.iterdir()] == []


def test_the_parser_explains_an_unknown_option(run, here):
    code, out, err = run(train_cnn.main, "--learning-rte", "1")
    assert code == 2
    assert "--learning-rate" in out + err
    code, out, err = run(train_cnn.main, "--schedule", "triangle")
    assert code == 2
    assert "one_cycle" in out + err


@pytest.mark.parametrize("name", ["a file", "in a file", "not empty"])
def test_an_unusable_output_folder_is_named(run, here, tmp_path, name):
    (tmp_path / "file").write_text("mine")
    out = {"a file": tmp_path / "file", "in a file": tmp_path / "file" / "run", "not empty": tmp_path}[name]
    code, _, err = run(train_cnn.main, "--out", out)
    assert code == 2
    assert f"out={out}: " in err
    assert ("is not empty" if name == "not empty" else "cannot be written") in err
    assert (tmp_path / "file").read_text() == "mine"


def test_bugs_keep_their_traceback():
    def bug():
        return {}["key"]

    with pytest.raises(KeyError):
        commandline.run_main(bug)


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(2, "No such file or directory", "a.gz"),
        ConnectionError("a.gz could not be downloaded"),
        OSError(28, "No space left on device", "a.gz"),
        ImportError("reading a.gz needs pillow"),
    ],
)
def test_errors_of_files_networks_and_libraries_show_no_traceback(run, monkeypatch, error):
    def fail(argv):
        raise error

    code, out, err = run(fail)
    assert (code, out) == (2, "")
    assert err == f"error: {error}\n(JAXDL_TRACEBACK=1 shows where)\n"
    monkeypatch.setenv("JAXDL_TRACEBACK", "1")
    with pytest.raises(type(error)):
        commandline.run_main(lambda: fail([]))


def test_ctrl_c_outside_of_training_ends_quietly(run):
    def interrupted(argv):
        raise KeyboardInterrupt

    assert run(interrupted) == (130, "", "interrupted\n")


@pytest.mark.parametrize("damage", ["truncated", "flipped", "foreign", "lengths", "missing", "image"])
def test_a_damaged_data_file_is_named(run, here, tmp_path, damage, write_idx):
    folder, out = tmp_path / "idx", tmp_path / "run"
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8)).astype(np.uint8)
    write_idx(folder, images, (np.arange(40 - (damage == "lengths")) % 4).astype(np.uint8))
    file = folder / "train-images-idx3-ubyte.gz"
    content = bytearray(file.read_bytes())
    said = ["train-images-idx3-ubyte"]
    if damage == "truncated":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    elif damage == "foreign":
        file.write_bytes(gzip.compress(b"PNG or whatever this is" * 10))
    elif damage == "lengths":
        said += ["40 images", "39 labels"]
    elif damage == "missing":
        (folder / "train-labels-idx1-ubyte.gz").unlink()
        said = ["train-labels-idx1-ubyte"]
    else:
        folder, said = tmp_path / "pictures", ["b/1.png", "cannot be read"]
        for name in ("a/0", "a/1", "b/0", "b/1"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(images[0]).save(folder / f"{name}.png")
        (folder / "b/1.png").write_bytes((folder / "b/1.png").read_bytes()[:60])
    code, _, err = run(train_cnn.main, "--dataset", folder, "--out", out)
    assert code == 2
    assert err.startswith("error: ")
    for part in said:
        assert part in err
    assert not out.exists()


def test_a_folder_of_one_class_is_named(run, tmp_path):
    (tmp_path / "images" / "only").mkdir(parents=True)
    for name in "abc":
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "images" / "only" / f"{name}.png")
    code, _, err = run(train_cnn.main, "--dataset", tmp_path / "images", "--out", tmp_path / "run")
    assert code == 2
    assert "images' has one class, 'only'; experiments tell at least two apart" in err
    assert not (tmp_path / "run").exists()


def test_a_warning_is_one_line_without_its_place_in_the_library(run):
    def warn(argv):
        warnings.simplefilter("always")
        warnings.warn("the dev part has no example of the class 3", RuntimeWarning, stacklevel=1)
        return 0

    shown = warnings.showwarning
    assert run(warn) == (0, "", "warning: the dev part has no example of the class 3\n")
    assert warnings.showwarning is shown


COMMANDS = (train_cnn, compare_optimizers, transfer, cifar10_speedrun, predict, summary)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.__name__)
def test_help_breaks_lines_where_the_width_ends_and_nowhere_else(command, run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    code, out, _ = run(command.main, "--help")
    assert code == 0
    lines = [line.strip("│ ") for line in out.splitlines()]  # a terminal that can draw frames gets one
    told = [line.strip("│ ") if re.match("│? {6}", line) else "" for line in out.splitlines()]
    width = max(map(len, told))
    assert width > 60
    for line, after in itertools.pairwise(told):
        if line and after:
            assert len(line) + 1 + len(after.split()[0]) > width - 1, (line, after)
    text = " ".join(" ".join(lines).split())
    body = next(n for n in ast.parse(inspect.getsource(command.Config)).body if isinstance(n, ast.ClassDef)).body
    docs = [node.value.value for node in body[1:] if isinstance(node, ast.Expr)]
    assert len(docs) == len(dataclasses.fields(command.Config))
    for doc in docs:
        assert " ".join(doc.split()[:6]) in text
    for paragraph in command.__doc__.strip().split("\n\n"):
        assert paragraph.startswith(" ") or " ".join(paragraph.split()) in out


def test_missing_named_data_says_where_to_put_its_files(run, here, tmp_path, monkeypatch):
    monkeypatch.setattr("jaxdl.data.reading.named.fetch", refuse, raising=True)
    code, _, err = run(train_cnn.main, "--dataset", "mnist", "--data-dir", tmp_path, "--out", tmp_path / "run")
    assert code == 2
    assert "put train-images" in err


def refuse(urls, path, **options):
    raise ConnectionError(f"{path.name} could not be downloaded; put {path.name} into {path.parent} by hand")


@pytest.mark.process
def test_help_imports_few_libraries_and_computes_nothing(process):
    """An experiment's other libraries take three times as long to import as jax, so help would be slow with them."""
    program = """if True:
        import runpy, sys
        sys.argv = ["train_cnn", "--help"]
        try:
            runpy.run_module("experiments.train_cnn", run_name="__main__")
        finally:
            print(*{name.split(".")[0] for name in sys.modules}, file=sys.stderr)
    """
    ended = subprocess.run(
        # this platform does not exist, so anything that asks for a device fails, even a constant of a module
        **process("-c", program, JAX_PLATFORMS="none"),
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    for option in (field.name for field in dataclasses.fields(train_cnn.Config)):
        assert f"--{option.replace('_', '-')}" in ended.stdout
    imported = {*ended.stderr.split()}
    assert imported >= {"jax", "tyro", "jaxdl"}
    assert not imported & {
        "matplotlib",
        "sklearn",
        "scipy",
        "pandas",
        "orbax",
        "PIL",
        "pooch",
        "chex",
        "torch",
        "keras",
    }


IMPORTS = "import experiments.train_cnn, experiments.compare_optimizers; from experiments.transfer import main"


@pytest.mark.process
@pytest.mark.parametrize(
    ("arguments", "variables", "restarts"),
    [
        (["-m", "experiments.transfer", "--help"], {}, True),
        (["-P", "-m", "experiments.transfer", "--help"], {}, True),
        (["-m", "experiments.transfer", "--help"], {"MALLOC_ARENA_MAX": "2"}, False),
        (["-m", "experiments.transfer", "--help"], {"GLIBC_TUNABLES": ""}, False),
        (["-c", IMPORTS], {}, False),
    ],
)
def test_a_command_that_trains_asks_for_huge_pages_and_an_import_does_not(tmp_path, arguments, variables, restarts):
    """Every interpreter imports `sitecustomize` first, which records how it was started."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "with open(os.environ['STARTS'], 'a') as file:\n"
        "    print(os.getpid(), os.environ.get('GLIBC_TUNABLES'), sys.orig_argv[1:], file=file)\n"
    )
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    paths = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}", "STARTS": str(tmp_path / "starts")}
    environment = clean | paths | variables
    subprocess.run([sys.executable, *arguments], env=environment, check=True, capture_output=True, cwd=ROOT)
    starts = [line.split(" ", 2) for line in (tmp_path / "starts").read_text().splitlines()]
    policy = experiments.POLICY.read_text() if experiments.POLICY.exists() else ""
    restarts = restarts and platform.libc_ver()[0] == "glibc" and "[madvise]" in policy
    asking = f"glibc.malloc.hugetlb=1:glibc.malloc.arena_max={max(2, os.cpu_count() or 1)}"
    assert [tunables for _, tunables, _ in starts] == (
        ["None", asking] if restarts else [variables.get("GLIBC_TUNABLES", "None")]
    )
    assert len({pid for pid, _, _ in starts}) == 1, "the same process, which signals still reach"
    assert {argv for _, _, argv in starts} == {str(arguments)}


@pytest.mark.process
def test_the_restart_comes_before_anything_slow_is_imported():
    """This holds for every command that trains and for the speed benchmark."""
    program = """if True:
        import os, runpy, sys
        import experiments
        experiments.wants_huge_pages = lambda environment: True
        def restart(*arguments):
            raise SystemExit
        os.execve = restart
        for name in sys.argv[1:]:
            try:
                runpy.run_module(name, run_name="__main__")
            except SystemExit:
                print(name, *sorted({"jax", "numpy", "tyro"} & {*sys.modules}))
    """
    folders = {path.parent.name for path in (ROOT / "experiments").glob("*/__main__.py")}
    trains = sorted(f"experiments.{name}" for name in folders - {*catalogue.demonstrations()})
    assert len(trains) == 4
    command = [sys.executable, "-c", program, *trains, "benchmarks.speed"]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert ended.stdout.split() == [*trains, "benchmarks.speed"]


@pytest.mark.parametrize(("policy", "wanted"), [("always [madvise] never", True), ("[always] madvise never", False)])
def test_huge_pages_are_asked_for_where_that_is_the_policy(tmp_path, monkeypatch, policy, wanted):
    monkeypatch.setattr(experiments, "POLICY", tmp_path / "enabled")
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.36"))
    assert not experiments.wants_huge_pages({}), "no such file"
    (tmp_path / "enabled").write_text(policy)
    assert experiments.wants_huge_pages({"PATH": ""}) is wanted
    assert not experiments.wants_huge_pages({"MALLOC_ARENA_MAX": "2"})
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not experiments.wants_huge_pages({})
