"""Devices, memory, and the speed and accuracy of a matrix product in each precision."""

import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.on_gpu.record import Record

PRODUCTS = (("float32", "default"), ("float32", "highest"), ("bfloat16", "default"))


def measure(record: Record, dry_run: bool) -> None:
    """Add a row per device and a row per matrix product."""
    record.rows.clear()
    for device in jax.devices():
        limit = (device.memory_stats() or {}).get("bytes_limit")
        record.add(kind="device", platform=device.platform, name=device.device_kind, memory_bytes=limit)
    size = 64 if dry_run else 8192
    for dtype, precision in PRODUCTS:
        record.add(kind="product", dtype=dtype, precision=precision, size=size, **product(size, dtype, precision))


def product(size: int, dtype: str, precision: str, repeats: int = 5) -> dict[str, float]:
    """Return TFLOP/s of size³ products, and the error of a row over its norm: near 3e-4 says TF32, 1e-7 float32."""
    a, b = (jax.random.normal(key, (size, size), dtype) for key in jax.random.split(jax.random.key(0)))
    compiled = jax.jit(lambda a, b: jnp.dot(a, b, precision=precision)).lower(a, b).compile()
    row = np.asarray(compiled(a, b)[0], np.float64)
    expected = np.asarray(a[0], np.float64) @ np.asarray(b, np.float64)
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        jax.block_until_ready([compiled(a, b) for _ in range(repeats)])
        times.append((time.perf_counter() - begin) / repeats)
    error = float(np.linalg.norm(row - expected) / np.linalg.norm(expected))
    return {"tflops": 2 * size**3 / statistics.median(times) / 1e12, "error": error}
