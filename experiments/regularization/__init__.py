"""Penalties and noise on weights: error against strength, the histogram of the weights, exact zeros.

    python -m experiments.regularization

The lectures say that a penalty lowers the test error up to some strength and raises it beyond, that L1 makes weights
exactly zero while L2 only shrinks them, and that noise on the weights (DropConnect, Shakeout, Whiteout) regularises,
too. A network with one hidden layer learns a few of scikit-learn's digits at every strength of a grid, 0 among them.
The best strength is chosen on development examples and judged on test examples, so that no method wins by its strength.
L1 is tried by its gradient and by the proximal step. Zoneout, noise on the state of a recurrent network, is tried by an
LSTM that reads a thousand MNIST images row by row. Some minutes on one core.

(Lecture rows G1, G4, C6.)
"""

from experiments.regularization import command
from experiments.regularization.command import Config
from jaxdl import demonstrations

__all__ = ["DEMONSTRATION", "Config", "main", "write"]

DEMONSTRATION = command.DEMONSTRATION
main, write = demonstrations.commands(DEMONSTRATION, __doc__)
