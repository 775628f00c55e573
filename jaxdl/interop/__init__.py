"""Weights and modules of other frameworks: files, the names of torchvision and Keras, flax modules as layers and back.

    params, state = interop.load("resnet50.safetensors", models.resnet50(), (224, 224, 3), interop.torchvision.resnet)
    interop.save("mine.safetensors", params, state)
    named = interop.to_torch(models.resnet50(), params, state, (224, 224, 3), interop.torchvision.resnet)
    interop.write_safetensors("theirs.safetensors", named)

A file is read as a dict of arrays by name. A function of `torchvision` or `keras`, or one of your own, maps the paths
of the network's leaves to those names: ``layer -> {path of a leaf: its name in the file}``.
"""

from typing import TYPE_CHECKING

from jaxdl import counterparts
from jaxdl.interop import keras, torchvision
from jaxdl.interop.files import read, write_keras, write_safetensors
from jaxdl.interop.flaxmodules import from_linen, to_linen
from jaxdl.interop.layouts import Mismatch, from_keras, from_torch, to_keras, to_torch
from jaxdl.interop.nnxmodules import from_nnx, to_nnx
from jaxdl.interop.own import load, save

__all__ = [
    "Mismatch",
    "from_keras",
    "from_linen",
    "from_nnx",
    "from_torch",
    "keras",
    "load",
    "read",
    "save",
    "to_keras",
    "to_linen",
    "to_nnx",
    "to_torch",
    "torchvision",
    "write_keras",
    "write_safetensors",
]

if not TYPE_CHECKING:  # a checker of types would take every name for one of this module's
    __getattr__ = counterparts.absent(__name__, __all__)
