"""Vision Transformer: an image as a sequence of patches."""

import functools
import math
from typing import Any

from jaxtyping import Array

from jaxdl import activations, initializers, nn, sizes
from jaxdl.models.options import check_choice
from jaxdl.words import own_words

GLOROT = initializers.glorot_uniform()


@own_words
def vit(
    num_classes: int = 1000,
    *,
    patch: int = 16,
    depth: int = 12,
    features: int = 768,
    heads: int = 12,
    hidden: int | None = None,
    pool: str = "token",
    dropout: float = 0.0,
    depth_rate: float = 0.0,
) -> nn.Layer:
    """ViT for 224x224 images: patch embeddings, learned positions, Transformer blocks, one dense layer.

    Parameter counts for 1000 classes and three channels: vit_b16 86,567,656, vit_b32 88,224,232, vit_l16 304,326,632,
    vit_l32 306,535,400, vit_h14 632,045,800, and with DeiT's smaller widths vit_ti16 5,717,416, vit_s16 22,050,664.

    A network is for images of the size that ``init`` is given.

    Args:
        num_classes: number of logits.
        patch: side of a patch in pixels; pixels left over at the right and bottom are dropped.
        depth: number of blocks.
        features: size of the embedding, a multiple of ``heads``.
        heads: number of attention heads.
        hidden: hidden units of a block's MLP; None for 4 · features.
        pool: "token" classifies by a token that precedes the patches, "mean" by the mean over the patches.
        dropout: dropout rate of the embeddings and of the outputs of both halves of a block.
        depth_rate: probability of skipping each half of a block (stochastic depth).

    Kernels are initialised by Glorot's rule, the patches' by LeCun's, positions from N(0, .02²), the last layer at 0.

    Reference: A. Dosovitskiy et al., An Image is Worth 16x16 Words, 2020, https://arxiv.org/abs/2010.11929. For the
    widths of vit_ti16 and vit_s16: H. Touvron et al., 2020, https://arxiv.org/abs/2012.12877.
    """
    check_choice("pool", pool, ("token", "mean"))
    sizes.check_at_least_one("depth", depth)
    norm = functools.partial(nn.LayerNorm, eps=1e-6)
    wide = 4 * features if hidden is None else hidden

    def block():
        mlp = nn.serial(
            fc1=nn.Dense(wide, kernel_init=GLOROT, bias_init=initializers.normal(1e-6)),
            gelu=activations.gelu,
            drop=nn.Dropout(dropout),
            fc2=nn.Dense(features, kernel_init=GLOROT, bias_init=initializers.normal(1e-6)),
        )
        attention = nn.MultiHeadAttention(features, heads, kernel_init=GLOROT)
        return nn.TransformerBlock(attention, mlp, norm=norm, dropout=dropout, depth_rate=depth_rate)

    token = {"token": nn.ClassToken()} if pool == "token" else {}
    net = nn.serial(
        patches=nn.Conv(features, patch, stride=patch, padding="VALID"),
        sequence=_sequence,
        **token,
        places=nn.PositionEmbedding(exact=True),
        drop=nn.Dropout(dropout),
        **{f"block{i}": block() for i in range(1, depth + 1)},
        norm=norm(),
        pool=_first if token else _mean,
        fc=nn.Dense(num_classes, kernel_init=initializers.zeros()),
    )
    return nn.sized("this ViT", net)


vit_ti16 = functools.partial(vit, features=192, heads=3)
vit_s16 = functools.partial(vit, features=384, heads=6)
vit_b16 = functools.partial(vit)
vit_b32 = functools.partial(vit, patch=32)
vit_l16 = functools.partial(vit, depth=24, features=1024, heads=16)
vit_l32 = functools.partial(vit_l16, patch=32)
vit_h14 = functools.partial(vit, patch=14, depth=32, features=1280, heads=16)


def tiny_vit(num_classes: int = 10, **options: Any) -> nn.Layer:
    """ViT for images of 8x8 pixels, with 26,538 parameters for one channel; ``options`` are those of `vit`.

    Examples:
        >>> from jaxdl import analysis
        >>> analysis.count_parameters(models.tiny_vit(), (8, 8, 1))
        26538
    """
    return vit(num_classes, **{"patch": 2, "depth": 2, "features": 32, "heads": 4, **options})


def _sequence(x: Array) -> Array:
    n, height, width, channels = x.shape
    return x.reshape(n, math.prod((height, width)), channels)


def _first(x: Array) -> Array:
    return x[:, 0]


def _mean(x: Array) -> Array:
    return x.mean(axis=1)
