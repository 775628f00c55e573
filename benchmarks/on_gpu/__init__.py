"""Everything that is worth measuring on an accelerator, in one command: `python -m benchmarks.on_gpu`."""
