"""jaxdl's speed beside that of flax.linen, flax.nnx, equinox, Keras and PyTorch: `python -m benchmarks.speed`."""
