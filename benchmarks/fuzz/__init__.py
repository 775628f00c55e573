"""Give mutated files to every reader of files from elsewhere, guided by the branches that they reach.

    python -m benchmarks.fuzz [--minutes 10] [--only idx,tar] [--at-once 2] [--corpus runs/fuzz]

Each target runs in a process of its own, which libFuzzer (by atheris) leads; what it found is kept in the corpus, from
which the next run goes on; `--minutes` are of CPU time and count what earlier runs spent, so that a long run may be
stopped and taken up again. A reader may return, or raise a ValueError that names the file in one line; anything else is
a finding: another error, more than `MEMORY_MB` or more than `SECONDS` for one input. Findings are written to the
corpus, named, and make the command fail. It writes benchmarks/fuzz.md: inputs tried, and the share of branches of the
reader's modules that the corpus reaches (by coverage.py).
"""
