"""The rows of the comparison: each is a function of the seconds to spend and returns lines of the table."""

import functools
import itertools
import math
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.speed import alone, nets, operations, ours, report
from benchmarks.speed.processes import alternating, first_step, imports
from benchmarks.speed.table import entry
from jaxdl import data, layers, losses, models, optimizers, studies, training
from jaxdl.runs import names

CALLS = 3  # of a framework in its turn


def in_turn(programs: dict[str, Callable[[], object]], seconds: float) -> dict[str, list[float]]:
    """Run programs in turn, a few calls each. The first call of a turn, which wakes threads and fills caches, is not
    counted.

    Each round has another order, since PyTorch's threads keep spinning for a while and slow the next program.
    """
    times, rng = {name: [] for name in programs}, np.random.default_rng(0)
    for program in programs.values():
        program()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or min(map(len, times.values())) < CALLS:
        for name in rng.permutation(list(programs)):
            programs[name]()
            for _ in range(CALLS):
                start = time.perf_counter()
                programs[name]()
                times[name].append(time.perf_counter() - start)
    return times


def agree(found: dict[str, tuple[float, list[np.ndarray]]], tolerance: float) -> None:
    """Raise ValueError unless losses and gradients equal jaxdl's within the rounding of sums in another order."""
    loss, grads = found["jaxdl"]
    # gradients that nearly cancel, as before a batch norm, consist of rounding errors of larger ones
    floor = 0.05 * max(float(np.abs(leaf).max()) for leaf in grads)
    for name, (theirs, their_grads) in found.items():
        close(f"{name}: loss", np.float32(theirs), np.float32(loss), 1e-4)
        for number, (mine, other) in enumerate(zip(grads, their_grads, strict=True)):
            close(f"{name}: gradient {number}", other, mine, tolerance, floor)


def close(what: str, got, expected, tolerance: float, floor: float = 1e-6) -> None:
    error = float(np.abs(got - expected).max() / max(np.abs(expected).max(), floor))
    if not error < tolerance:
        raise ValueError(f"{what} differs from jaxdl's by {error:.2g} of its largest value")


def training_step(name: str, seconds: float, kind: str = "step") -> list[dict]:
    """Time single steps of every peer, alternating in blocks; each block is a new process (`benchmarks.speed.alone`).

    An entry's median and quartiles are those of its blocks' medians.
    """
    blocks, missing = blocks_of(name, seconds)
    gflop = blocks["jaxdl, no oneDNN"][0]["flops"] / 1e9 if kind == "step" else math.nan
    lines = []
    for peer, found in blocks.items():
        if kind not in found[0]:
            continue
        cold = found[0] if kind == "step" else {"compile_seconds": math.nan, "temporary_bytes": math.nan}
        temporary = cold["temporary_bytes"] / 2**20
        medians = [statistics.median(block[kind]) for block in found]
        more = {"compile_seconds": cold["compile_seconds"], "temporary_mb": temporary}
        note = "" if len(found) > 1 else "one block"
        lines.append(entry(peer, medians, note=note, gflop=gflop, **more))
    return lines + [entry(peer, note=reason) for peer, reason in missing.items()]


NEAR = 1.25  # a peer this much slower than the best of its kind in the first block is measured no further


def contenders(first: dict[str, dict]) -> set[str]:
    """Return the peers that may be the best of their kind, and jaxdl's."""
    found = {peer for peer in first if peer not in (*report.JAX_PEERS, *report.PYTORCH)}
    for kind, group in itertools.product(("step", "infer"), (report.JAX_PEERS, report.PYTORCH)):
        medians = {peer: statistics.median(first[peer][kind]) for peer in group if peer in first}
        found |= {peer for peer, value in medians.items() if value <= NEAR * min(medians.values())}
    return found


@functools.cache
def blocks_of(name: str, seconds: float) -> tuple[dict[str, list[dict]], dict[str, str]]:
    """Measure a net's steps and inferences, after the peers' first losses and gradients have been compared."""
    deep = any(operation[0] in ("block", "projected", "depthwise") for operation in nets.NETS[name].operations)

    def compare(peers, folder):
        firsts = {}
        for peer in set(peers) - {"ONNX Runtime"}:  # which compares its own logits
            with np.load(f"{folder}/{peer}.npz") as file:
                loss, *grads = (file[key] for key in file.files)
            firsts[peer] = float(loss), grads
        # in a deep net the input of some ReLU is within rounding errors of 0, so frameworks disagree on its gradient
        agree(firsts, 1e-1 if deep else 2e-3)

    with tempfile.TemporaryDirectory() as folder:
        found = tuple(alone.MODULES)
        ready = functools.partial(compare, folder=folder)
        return alternating("alone", (name,), found, seconds, folder, ready=ready, contenders=contenders)


def single_operation(name: str, seconds: float) -> list[dict]:
    """Time one operation's forward pass by every peer, each block in a new process (`benchmarks.speed.operations`)."""
    with tempfile.TemporaryDirectory() as folder:
        blocks, missing = alternating("operations", (name,), tuple(operations.PEERS), seconds, folder)
        expected = np.load(f"{folder}/jax.lax.npy")
        for peer in blocks:
            close(f"{name}, {peer}", np.load(f"{folder}/{peer}.npy"), expected, 1e-4)
    gflop = operations.gflop(name)
    lines = [entry(who, [statistics.median(b["times"]) for b in found], gflop=gflop) for who, found in blocks.items()]
    return lines + [entry(peer, note=reason) for peer, reason in missing.items()]


def compared(programs: dict[str, Callable[[], object]], seconds: float, gflop: float = float("nan")) -> list[dict]:
    return [entry(name, times, gflop=gflop) for name, times in in_turn(programs, seconds).items()]


def calls(functions: dict[str, Callable], *args) -> dict[str, Callable[[], object]]:
    """Compile functions of arrays, check that they agree, and return calls of them."""
    compiled = {name: jax.jit(f).lower(*args).compile() for name, f in functions.items()}
    results = {name: f(*args) for name, f in compiled.items()}
    first = next(iter(results.values()))
    for name, result in results.items():
        jax.tree.map(lambda a, b, name=name: close(name, np.asarray(a), np.asarray(b), 1e-4), result, first)
    return {name: lambda f=f: jax.block_until_ready(f(*args)) for name, f in compiled.items()}


def forward_backward(f):
    def both(x, cotangent):
        y, pullback = jax.vjp(f, x)
        return y, pullback(cotangent)[0]

    return both


def pool(shape, seconds: float) -> list[dict]:
    x = jax.random.normal(jax.random.key(0), shape)
    functions = {
        "jaxdl": partial(layers.max_pool2d, window=2),
        "reduce_window": lambda x: flax.linen.max_pool(x, (2, 2), (2, 2)),
    }
    delta = jnp.cos(functions["jaxdl"](x))
    return compared(calls({name: forward_backward(f) for name, f in functions.items()}, x, delta), seconds)


def batch_norm(seconds: float) -> list[dict]:
    x = jax.random.normal(jax.random.key(0), (128, 32, 32, 16))
    scale, offset = jnp.linspace(0.5, 1.5, 16), jnp.linspace(-1, 1, 16)
    module = flax.linen.BatchNorm(use_running_average=False)
    stats = {"mean": jnp.zeros(16), "var": jnp.ones(16)}

    def ours(x):
        return layers.batch_norm(x, *layers.batch_statistics(x), scale, offset)

    def linen(x):
        variables = {"params": {"scale": scale, "bias": offset}, "batch_stats": stats}
        return module.apply(variables, x, mutable=["batch_stats"])[0]

    both = {"jaxdl": forward_backward(ours), "flax.linen": forward_backward(linen)}
    return compared(calls(both, x, jnp.cos(x)), seconds)


def local_response_norm(seconds: float) -> list[dict]:
    x = jax.random.normal(jax.random.key(0), (16, 27, 27, 96))

    def by_window(x):  # AlexNet's formula with XLA's window sums
        total = jax.lax.reduce_window(x * x, 0.0, jax.lax.add, (1, 1, 1, 5), (1, 1, 1, 1), "SAME")
        return x / (2.0 + 1e-4 * total) ** 0.75

    ours = partial(layers.local_response_norm, size=5, k=2.0, alpha=1e-4, beta=0.75)
    both = {"jaxdl": forward_backward(ours), "reduce_window": forward_backward(by_window)}
    return compared(calls(both, x, jnp.cos(x)), seconds)


UPDATES = {
    "momentum": (optimizers.sgd(1e-3, 0.9), optax.sgd(1e-3, 0.9), 5),  # reads 3 trees, writes 2
    "adam": (optimizers.adam(1e-3), optax.adam(1e-3), 7),  # reads 4, writes 3
}


def optimizer_update(name: str, seconds: float) -> list[dict]:
    """Time the donated update of ResNet-50's parameters, optax's, and reading and writing them once."""
    params = models.resnet50().init(jax.random.key(0), (224, 224, 3))[0]
    grads = jax.tree.map(lambda p: jnp.full_like(p, 0.01), params)
    *pair, passes = UPDATES[name]
    programs = {who: updating(tx, params, grads) for who, tx in zip(("jaxdl", "optax"), pair, strict=True)}
    copy = jax.jit(lambda tree: jax.tree.map(lambda a: a + 1, tree), donate_argnums=0)
    copied = [jax.tree.map(jnp.copy, params)]

    def run_copy():
        copied[0] = jax.block_until_ready(copy(copied[0]))

    lines = compared({**programs, "read and write once": run_copy}, seconds)
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(params))
    for line, count in zip(lines, (passes, passes, 2), strict=True):
        rate = count * size / float(line["milliseconds"]) / 1e6
        line["note"] = f"{rate:.1f} GB/s, counting {count} passes over {size >> 20} MB"
    return lines


def updating(optimizer, params, grads) -> Callable[[], object]:
    def update(params, state, grads):
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    compiled = jax.jit(update, donate_argnums=(0, 1))
    carried = [jax.tree.map(jnp.copy, params), optimizer.init(params)]

    def run():
        carried[:] = jax.block_until_ready(compiled(*carried, grads))

    return run


def members(name: str, seconds: float, count: int = 8) -> list[dict]:
    """Train several seeds of a net under one vmap and one after another."""
    net = nets.NETS[name]
    layer, optimizer = net.layer(), optax.sgd(0.01, 0.9)
    x, labels = jax.device_put(nets.batch(net, net.batch))

    def step(params):
        grads = jax.grad(lambda p: losses.softmax_cross_entropy(layer.apply(p, {}, x)[0], labels).mean())(params)
        return optax.apply_updates(params, optimizer.update(grads, optimizer.init(params))[0])

    params = jax.vmap(lambda key: layer.init(key, net.in_shape)[0])(jax.random.split(jax.random.key(0), count))
    one = jax.tree.map(lambda p: p[0], params)
    single = jax.jit(step)
    start = time.perf_counter()
    together = jax.jit(jax.vmap(step)).lower(params).compile()
    compile_seconds = time.perf_counter() - start
    jax.tree.map(lambda a, b: close("vmap", np.asarray(a[0]), np.asarray(b), 1e-3), together(params), single(one))
    programs = {
        f"{count} seeds, one vmap": lambda: jax.block_until_ready(together(params)),
        f"{count} seeds, one after the other": lambda: jax.block_until_ready([single(one) for _ in range(count)]),
    }
    lines = compared(programs, seconds)
    lines[0]["compile_seconds"] = f"{compile_seconds:.3g}"
    return lines


# methods of convolution; XLA's own in slices takes ten seconds, and is there once to show why loops use products
IN_A_SCAN = {"mlp": (None,), "32-64-1024-10": (None, "patches", "sliced")}


def scanned(name: str, seconds: float, steps: int = 100) -> list[dict]:
    """Run steps in a scan and in a Python loop."""
    net = nets.NETS[name]
    x, labels = jax.device_put(nets.batch(net, net.batch))

    def step_of(layer):
        def step(params):
            grads = jax.grad(lambda p: losses.softmax_cross_entropy(layer.apply(p, {}, x)[0], labels).mean())(params)
            return jax.tree.map(lambda p, g: p - 0.01 * g, params, grads)

        return step

    params = ours.serial(net.operations).init(jax.random.key(0), net.in_shape)[0]
    single = jax.jit(step_of(ours.serial(net.operations)))

    def loop():
        carried = params
        for _ in range(steps):
            carried = single(carried)
        return jax.block_until_ready(carried)

    programs = {"loop": loop}
    for method in IN_A_SCAN.get(name, (None, "patches")):
        step = step_of(ours.serial(net.operations, method))
        scan = jax.jit(lambda p, step=step: jax.lax.scan(lambda p, _: (step(p), None), p, None, length=steps)[0])
        label = f"scan, method={method!r}" if method else "scan"
        programs[label] = lambda scan=scan: jax.block_until_ready(scan(params))
    return compared(programs, seconds)


def pipeline(seconds: float) -> list[dict]:
    """Time the batches of an epoch alone and an epoch of training on them, as in `experiments.train_cnn`."""
    net = nets.NETS["lenet5"]
    rng = np.random.default_rng(0)
    examples = data.Examples(rng.integers(0, 255, (6400, *net.in_shape), np.uint8), rng.integers(0, 10, 6400, np.int32))
    layer, optimizer = net.layer(), optimizers.sgd(0.01, 0.9)
    step = training.train_step(layer, optimizer, preprocess=lambda x: x / 255.0)
    parallel = training.data_parallel(step, devices=1, examples=examples)
    state = parallel.place(training.create(jax.random.key(0), layer, optimizer, net.in_shape))
    key, carried = jax.random.key(1), [state]

    def rows(epoch):
        return data.batch_rows(len(examples.labels), net.batch, seed=0, epoch=epoch)

    def calls(epoch):
        found = list(rows(epoch))
        return (data.stack_rows(found[i : i + 10], 10) for i in range(0, len(found), 10))

    def trained(batches):
        placed = lambda epoch: training.prefetch(batches(epoch), parallel.shard)
        carried[0] = jax.block_until_ready(training.fit(parallel.step, carried[0], placed, key=key, epochs=[0]))

    same = [parallel.shard(each) for each in rows(0)]
    programs = {
        "epoch": lambda: trained(rows),
        "steps alone": lambda: trained(lambda epoch: same),
        "pipeline alone": lambda: jax.block_until_ready([parallel.shard(each) for each in rows(0)]),
        "epoch, 10 steps per call": lambda: trained(calls),
    }
    return compared(programs, seconds)


def sweep_of_32(seconds: float, steps: int = 100) -> list[dict]:
    """Time 8 seeds at 4 rates of Adam on the digits as one program and one after another."""
    members = [studies.sweep.Member(rate, seed) for seed in range(8) for rate in (1e-4, 3e-4, 1e-3, 3e-3)]
    problem = names.problem("digits_mlp")._replace(evaluate_every=steps)
    programs = {}
    for method, label in (("vmap", "32 members, one program"), ("loop", "32 members, one after the other")):
        placed = studies.sweep.place(problem, method=method)
        whole = studies.sweep.Sweep(placed, optimizers.adam, width=32 if method == "vmap" else 1)
        programs[label] = lambda whole=whole: whole.run(members, steps)
    return compared(programs, seconds)


def growth(seconds: float) -> list[dict]:
    """Time a step against batch size and depth."""
    lines = []
    for size in (64, 256, 1024):
        net = nets.NETS["20-50-500-10"]
        params, state = net.layer().init(jax.random.key(0), net.in_shape)
        peer = ours.build(net, params, state, nets.batch(net, size))
        lines.append(entry(f"20-50-500-10, batch {size}", in_turn({"": peer.step}, seconds / 5)[""]))
    for name in ("resnet20", "resnet56"):
        net = nets.NETS[name]
        params, state = net.layer().init(jax.random.key(0), net.in_shape)
        peer = ours.build(net, params, state, nets.batch(net, 32))
        lines.append(entry(f"{name}, batch 32", in_turn({"": peer.step}, seconds / 5)[""]))
    return lines


def peak(seconds: float) -> list[dict]:
    """Time a matrix product, the reference for the shares of peak."""
    a = jax.random.normal(jax.random.key(0), (2048, 2048))
    product = jax.jit(jnp.dot)
    return compared({"matrix product 2048": lambda: jax.block_until_ready(product(a, a))}, seconds, 2 * 2048**3 / 1e9)


ROWS: dict[str, Callable[[float], list[dict]]] = {"peak": peak}
ROWS |= {f"step {name}": partial(training_step, name) for name in nets.NETS if name != "resnet56"}
ROWS |= {name: partial(single_operation, name) for name in operations.OPERATIONS}
ROWS |= {f"infer {name}": partial(training_step, name, kind="infer") for name in ("lenet5", "2c2d", "resnet20")}
POOLS = [(64, 24, 24, 20), (64, 26, 26, 32), (128, 28, 28, 32), (128, 32, 32, 16), (32, 32, 32, 64)]
ROWS |= {f"pool {'x'.join(map(str, shape))}": partial(pool, shape) for shape in POOLS}
ROWS |= {"batch norm": batch_norm, "local response norm": local_response_norm}
ROWS |= {f"update {name}": partial(optimizer_update, name) for name in ("momentum", "adam")}
ROWS |= {f"seeds {name}": partial(members, name) for name in ("lenet5", "mlp")}
ROWS |= {f"scan {name}": partial(scanned, name) for name in ("lenet5", "20-50-500-10", "32-64-1024-10", "mlp")}
ROWS |= {"sweep 8x4": sweep_of_32, "pipeline": pipeline, "growth": growth, "import": imports, "first step": first_step}
