"""Time one peer's steps of a net in a process of its own: no other library's threads wait or spin beside it.

    python -m benchmarks.speed.alone NET PEER SECONDS FOLDER

The command compiles, and prints a line of JSON with the seconds that took, the step's temporaries in bytes and its
FLOPs. For every line on standard input it measures once and prints the times of single steps and inferences in seconds.
In FOLDER it leaves PEER.npz, the loss and the gradients of the first step in jaxdl's order and axes, for the parent to
compare.
"""

import argparse
import importlib
import json
import pathlib
import sys
import time
from collections.abc import Callable

import jax
import numpy as np

from benchmarks.speed import nets
from benchmarks.speed.peer import Missing

MODULES = {
    "jaxdl": "ours",
    "jaxdl, no oneDNN": "ours",
    "flax.linen": "linen",
    "flax.nnx": "nnx",
    "equinox": "eqx",
    "Keras": "keras3",
    "PyTorch": "pytorch",
    "PyTorch, channels last": "pytorch",
    "ONNX Runtime": "onnx_runtime",
}
WARM, LEAST = 1, 3  # calls that are not counted, and that are


def build(net: nets.Net, name: str):
    params, state = net.layer().init(jax.random.key(0), net.in_shape)
    module = importlib.import_module(f"benchmarks.speed.{MODULES[name]}")
    more = {"layout": module.LAYOUTS[name]} if MODULES[name] == "pytorch" else {}
    return module.build(net, params, state, nets.batch(net, net.batch), **more)


def times(call, seconds: float) -> list[float]:
    """Return the seconds of single calls."""
    for _ in range(WARM):
        call()
    found, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(found) < LEAST:
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return found


def answer(about: dict, measure: Callable[[], dict]) -> None:
    """Print a line about what was built, and one more for every line of standard input."""
    print(json.dumps(about), flush=True)
    for _ in sys.stdin:
        print(json.dumps(measure()), flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("net", choices=nets.NETS)
    parser.add_argument("peer", choices=MODULES)
    parser.add_argument("seconds", type=float)
    parser.add_argument("folder", type=pathlib.Path)
    args = parser.parse_args()
    try:
        peer = build(nets.NETS[args.net], args.peer)
    except Missing as reason:
        print(json.dumps({"missing": str(reason)}))
        return
    if peer.trains:
        loss, grads = peer.first()
        np.savez(args.folder / f"{args.peer}.npz", np.float32(loss), *grads)
    facts = {name: getattr(peer, name) for name in ("compile_seconds", "temporary_bytes", "flops")}
    kinds = ("step", "infer") if peer.trains else ("infer",)
    answer(facts, lambda: {kind: times(getattr(peer, kind), args.seconds) for kind in kinds})


if __name__ == "__main__":
    main()
