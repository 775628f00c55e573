"""The harness of experiments that measure claims: seeds, pairing, intervals, verdicts, figures, resume, report."""

from jaxdl.demonstrations.claims import Claim
from jaxdl.demonstrations.harness import Demonstration, DemonstrationOptions, Drawing, check_at_least, commands
from jaxdl.demonstrations.outcomes import Outcomes
from jaxdl.runs.commandline import run_main

__all__ = [
    "Claim",
    "Demonstration",
    "DemonstrationOptions",
    "Drawing",
    "Outcomes",
    "check_at_least",
    "commands",
    "run_main",
]
