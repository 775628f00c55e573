"""jaxdl's speed beside that of flax.linen, flax.nnx, equinox, Keras and PyTorch: `python -m benchmarks.speed`."""

import experiments  # noqa: F401  # restarts `python -m benchmarks.speed`, too, with huge pages
