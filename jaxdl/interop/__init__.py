"""Weights and modules of other frameworks: files, the names of torchvision and Keras, flax modules as layers and back.

    params, state = interop.load("resnet50.safetensors", models.resnet50(), (224, 224, 3), interop.torchvision.resnet)
    interop.save("mine.safetensors", params, state)
    named = interop.to_torch(models.resnet50(), params, state, (224, 224, 3), interop.torchvision.resnet)
    interop.write_safetensors("theirs.safetensors", named)

What a file holds is a dict of arrays by name. Which name belongs to which of the network's parameters is said by a
function of this package's `torchvision` or `keras`, or by your own: ``layer -> {path of a leaf: its name there}``.
"""

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
