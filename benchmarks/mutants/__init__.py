"""Mutation tests of the hand-written gradients: `python -m benchmarks.mutants`."""
