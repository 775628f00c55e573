"""Experiment scripts: run each with ``python -m experiments.NAME``."""
