"""Speed of jaxdl compared with flax.linen, flax.nnx, equinox, Keras and PyTorch: `python -m benchmarks.speed`."""
