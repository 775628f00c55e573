"""The fixed gradients that the golden vectors are made from and tested with; numpy only."""

import numpy as np

STEPS = 1000
SAVED = (1, 2, 3, 10, 100, 500, 1000)
INITIAL = np.linspace(-1.0, 1.0, 8, dtype=np.float32)


def gradients() -> dict[str, np.ndarray]:
    """Return two streams of float32 gradients of shape (STEPS, 8).

    "random": normal entries around .1. "adverse": per column zero; tiny; huge at times; sparse; sign-flipping;
    nearly constant (a constant one makes equal steps, whose roundings add up); growing by 1e6; falling by 1e6.
    """
    noise = np.random.RandomState(42).normal(0.1, 1.0, (STEPS, 8))
    t = np.arange(STEPS)
    growth = 10.0 ** (6 * t / STEPS - 3)
    columns = [
        np.zeros(STEPS),
        1e-12 * noise[:, 1],
        np.where(t % 17 == 3, 1e4, 1.0) * noise[:, 2],
        np.where(t % 50 == 0, noise[:, 3], 0.0),
        (-1.0) ** t * (1 + 0.1 * noise[:, 4]),
        0.5 + 0.05 * noise[:, 5],
        growth * noise[:, 6],
        noise[:, 7] / growth,
    ]
    return {"random": noise.astype(np.float32), "adverse": np.stack(columns, 1).astype(np.float32)}


def learning_rate(step: int, scheduled: bool) -> float:
    """Return .01, and a tenth of it in the second half where the case is a scheduled one."""
    return 0.001 if scheduled and step >= STEPS // 2 else 0.01
