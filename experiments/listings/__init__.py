"""The lectures' code listings beside jaxdl's functions: loops, losses, layers and networks, and their printed numbers.

    python -m experiments.listings            # some minutes; reads MNIST
    python -m experiments.listings --peers    # also the listings in PyTorch and Keras themselves

The loops stand in ``loops.py`` as the lectures print them, in NumPy and with their errata mended, and run beside
jaxdl's functions on the same numbers: S's optimizers and its average, its dropout, P's descent on a line, its Adam, its
pooling and its 100 layers of tanh, M's losses. S's PyTorch net trains for one epoch of MNIST in batches of 32 and is
held to the printed 97.71 %; S prints no optimizer, here it is SGD at .01 with momentum .5. P's Keras net, for which P
prints no number, sees a twentieth of the epoch. S is CS182, P is CS2020 of PClub, M is MIT 15.S60.

(Lecture rows A1, C1, C3, E1, E2, E4-E6, E12, F, G3, H5, I.)
"""

from experiments.listings import command
from experiments.listings.command import Config
from jaxdl import demonstrations

__all__ = ["DEMONSTRATION", "Config", "main", "write"]

DEMONSTRATION = command.DEMONSTRATION
main, write = demonstrations.commands(DEMONSTRATION, __doc__)
