"""Rows that need processes of their own: imports, and the time to the end of the first step."""

import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Sequence

from benchmarks.speed.table import entry

BLOCKS = 5
ENVIRONMENT = {"jaxdl, no oneDNN": {"JAXDL_ONEDNN": "off"}}  # of a peer's processes


def alternating(
    module: str,
    arguments: tuple[str, ...],
    peers: tuple[str, ...],
    seconds: float,
    folder: str,
    *,
    ready: Callable[[Collection[str]], None] = lambda peers: None,
    contenders: Callable[[dict[str, dict]], Collection[str]] = tuple,
) -> tuple[dict[str, list[dict]], dict[str, str]]:
    """Start one process for each peer, and let them measure `BLOCKS` times in turn, in another order each round.

    ``ready`` is called with the peers once all of them are built. After the first round the contenders alone go on:
    ``contenders`` picks them from that round's answers. A process that waits for its turn waits for a line on its
    standard input, with all of its threads asleep.

    Returns:
        Each peer's answers, and the reasons of those that are missing.
    """
    order, found, missing = random.Random(0), {}, {}
    with contextlib.ExitStack() as stack:
        running = {}
        for peer in peers:
            command = [
                sys.executable,
                "-m",
                f"benchmarks.speed.{module}",
                *arguments,
                peer,
                str(seconds / BLOCKS),
                folder,
            ]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            environment = os.environ | ENVIRONMENT.get(peer, {})
            process = stack.enter_context(subprocess.Popen(command, env=environment, **pipes))
            about = answer(process, command)  # before the next one starts, so that none disturbs another's compilation
            if "missing" in about:
                missing[peer] = about["missing"]
            else:
                running[peer], found[peer] = (process, command, about), []
        ready(running)
        for block in range(BLOCKS):
            going_on = sorted(contenders({peer: said[0] for peer, said in found.items()}) if block else running)
            for peer in order.sample(going_on, len(going_on)):
                process, command, about = running[peer]
                print("measure", file=process.stdin, flush=True)
                found[peer].append(about | answer(process, command))
    return found, missing


def answer(process: subprocess.Popen, command: Sequence[str]) -> dict:
    """Return the object that a process prints next.

    Raises:
        RuntimeError: where it has ended instead; what it said is on standard error.
    """
    line = process.stdout.readline() if process.stdout is not None else ""
    if not line:
        raise RuntimeError(f"{' '.join(command)} failed")
    return json.loads(line)


FIRST_STEP = {
    "jaxdl": """
import jax, numpy as np, time
from jaxdl import data, models, optimizers, training
start = time.perf_counter()
layer, optimizer = models.lecture_torch(), optimizers.sgd(0.01, 0.9)
parallel = training.data_parallel(training.train_step(layer, optimizer), devices=1)
state = parallel.place(training.create(jax.random.key(0), layer, optimizer, (28, 28, 1)))
batch = data.Batch(np.ones((64, 28, 28, 1), np.float32), np.zeros(64, np.int32), np.ones(64, np.float32), np.arange(64))
jax.block_until_ready(parallel.step(state, parallel.shard(batch), jax.random.key(1)))
""",
    "flax.linen": """
import jax, numpy as np, optax, time
from benchmarks.speed import jitted, linen, nets
from flax.training.train_state import TrainState
start = time.perf_counter()
module, x = linen.Net(nets.NETS["20-50-500-10"].operations), np.ones((64, 28, 28, 1), np.float32)
params = module.init(jax.random.key(0), x[:1], True)["params"]
state = TrainState.create(apply_fn=module.apply, params=params, tx=optax.sgd(0.01, 0.9))
@jax.jit
def step(state, x, labels):
    loss = lambda params: jitted.cross_entropy(state.apply_fn({"params": params}, x, True), labels)
    value, grads = jax.value_and_grad(loss)(state.params)
    return state.apply_gradients(grads=grads), value
jax.block_until_ready(step(state, x, np.zeros(64, np.int32)))
""",
}


def first_step(seconds: float) -> list[dict]:
    """Measure the seconds from the imports to the end of the first step of 20-50-500-10, in new processes.

    Processes run in pairs with a common compilation cache: the first finds it empty, the second finds it filled.
    """
    times = {f"{who}, {state}": [] for state in ("cold", "with cache") for who in FIRST_STEP}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times["jaxdl, cold"]) < 3:
        for who, program in FIRST_STEP.items():
            with tempfile.TemporaryDirectory() as folder:
                cache = {"JAX_COMPILATION_CACHE_DIR": folder, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.3"}
                for state in ("cold", "with cache"):
                    command = [sys.executable, "-c", program + "print(time.perf_counter() - start)"]
                    ran = subprocess.run(command, env=os.environ | cache, capture_output=True, text=True, check=True)
                    times[f"{who}, {state}"].append(float(ran.stdout))
    return [entry(name, values) for name, values in times.items()]


IMPORTS = {
    "jaxdl": "import jaxdl.training, jaxdl.models, jaxdl.optimizers, jaxdl.losses",
    "jax alone": "import jax.numpy",
    "flax.linen, optax": "import flax.linen, optax",
    "equinox, optax": "import equinox, optax",
}


def imports(seconds: float) -> list[dict]:
    """Measure the seconds to import the modules of a training script, each in a new process."""
    times = {name: [] for name in IMPORTS}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times["jaxdl"]) < 3:
        for name, program in IMPORTS.items():
            start = time.perf_counter()
            failed = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False).returncode
            times[name].append(float("nan") if failed else time.perf_counter() - start)
    return [
        entry(name, values) if values[0] == values[0] else entry(name, note="not installed")
        for name, values in times.items()
    ]
