"""Optimizers that give NaN on half-precision gradients: a Markdown table of ours next to optax's.

python -m benchmarks.optimizer_precision > benchmarks/optimizer_precision.md
"""

import jax
import jax.numpy as jnp
import optax

from benchmarks.optimizer_cost import NAMES, pair

CASES = {
    "zero": lambda info: 0.0,
    "tiny": lambda info: info.smallest_subnormal,
    "huge": lambda info: info.max,
}


def gives_nan(tx, dtype, value):
    params = {"w": jnp.ones((2, 3), dtype)}
    updates, _ = jax.jit(tx.update)({"w": jnp.full((2, 3), value, dtype)}, tx.init(params), params)
    return bool(jnp.isnan(updates["w"]).any())


def cell(tx, dtype):
    info = jnp.finfo(dtype)
    found = [name for name, value in CASES.items() if gives_nan(tx, dtype, value(info))]
    return ", ".join(found) or "never"


def main():
    dtypes = (jnp.float16, jnp.bfloat16, jnp.float32)
    titles = [f"{who} {jnp.dtype(dtype).name}" for dtype in dtypes for who in ("jaxdl", "optax")]
    print(f"NaN after one step on gradients that are all zero, tiny or huge; optax {optax.__version__}\n")
    print("| optimizer | " + " | ".join(titles) + " |\n" + "|---" * (len(titles) + 1) + "|")
    for name in NAMES:
        cells = [cell(tx, dtype) for dtype in dtypes for tx in pair(name)]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
