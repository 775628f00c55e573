"""All measurements on an accelerator in one command: `python -m benchmarks.on_gpu`."""
