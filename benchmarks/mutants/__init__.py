"""Mechanical mutants of the hand-written gradients, and what finds them: `python -m benchmarks.mutants`."""
