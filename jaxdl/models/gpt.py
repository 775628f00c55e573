"""GPT: a Transformer that predicts the next token of a text."""

import functools
import math

from jaxdl import activations, initializers, nn, sizes
from jaxdl.words import own_words

INIT = initializers.normal(0.02)


@own_words
def gpt(
    num_classes: int = 128,
    *,
    length: int = 256,
    depth: int = 6,
    features: int = 384,
    heads: int = 6,
    dropout: float = 0.0,
    tied: bool = True,
    rotary: bool = False,
    cache: int | None = None,
) -> nn.Layer:
    """GPT-2's decoder-only Transformer, from token ids ``(steps,)`` to logits ``(steps, num_classes)``.

    The logits of a step depend on the tokens up to it and predict the next one. gpt2 has 124,439,808 parameters.

    Args:
        num_classes: size of the vocabulary; 128 covers ASCII characters.
        length: length of the longest text, in tokens.
        depth: number of blocks.
        features: size of the embedding, a multiple of ``heads``.
        heads: number of attention heads.
        dropout: dropout rate of the embeddings and of the outputs of both halves of a block.
        tied: whether the output layer shares the embedding's table.
        rotary: whether positions rotate queries and keys instead of adding learned vectors.
        cache: batch size for decoding in pieces, such as one token at a time; None for whole texts. The state then
            holds the keys and values of earlier steps. Parameters are the same with and without a cache.

    Kernels are drawn from N(0, .02²), those that feed a residual sum from 1/√(2 · depth) of that deviation.

    Reference: A. Radford et al., Language Models are Unsupervised Multitask Learners, 2019,
    https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf.
    """
    sizes.check_at_least_one("depth", depth)
    added = initializers.normal(0.02 / math.sqrt(2 * depth))

    def block():
        options = {"causal": True, "rotary": rotary, "cache": None if cache is None else (cache, length)}
        attention = nn.MultiHeadAttention(features, heads, kernel_init=INIT, **options)
        attention = nn.replace(attention, "out", nn.Dense(features, kernel_init=added))
        mlp = nn.serial(
            fc1=nn.Dense(4 * features, kernel_init=INIT),
            gelu=functools.partial(activations.gelu, approximate=True),
            fc2=nn.Dense(features, kernel_init=added),
        )
        return nn.TransformerBlock(attention, mlp, dropout=dropout)

    places = nn.identity if rotary else nn.PositionEmbedding(length, cache=cache is not None, table_init=INIT)
    net = nn.serial(
        embed=nn.Embedding(num_classes, features, table_init=INIT),
        places=places,
        drop=nn.Dropout(dropout),
        **{f"block{i}": block() for i in range(1, depth + 1)},
        norm=nn.LayerNorm(),
        unembed=nn.Unembedding(num_classes, table_init=INIT),
    )
    return nn.shared(net, {"unembed": "embed"}) if tied else net


gpt2 = functools.partial(gpt, 50_257, length=1024, depth=12, features=768, heads=12)
char_transformer = functools.partial(gpt, depth=4, features=128, heads=4, length=128)  # 826,112 parameters
