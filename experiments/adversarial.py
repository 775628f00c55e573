"""Adversarial examples: the fast gradient sign method, what defends against it, and what defeats the defence.

    python -m experiments.adversarial                       # MNIST, five seeds, a few minutes
    python -m experiments.adversarial --dataset digits      # scikit-learn's digits, seconds

The lectures show that a change of a few grey levels per pixel fools a network with high confidence. Softmax regression
and an MLP, the latter also trained on adversarial examples, are attacked at several ε with and without clipping to the
range of pixels, towards one class, and by projected gradient; random signs of the same size are the control, and what
fools softmax regression is shown to the MLPs. Published for ε = .25 without clipping: 99.9 % wrong for softmax
regression, 17.9 % for an adversarially trained maxout net (Goodfellow et al., 2015). All nets train by Adam at 1e-3.

(Lecture row J.)
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl import activations, data, demonstrations, losses, models, nn, optimizers, runs
from jaxdl.applications import adversarial
from jaxdl.demonstrations import claims

SOFTMAX, MLP, TRAINED = CASES = ("softmax regression", "MLP", "MLP, adversarially trained")
STEPS = 20  # of projected gradient, each of ε/8


@dataclasses.dataclass(frozen=True)
class Config(demonstrations.DemonstrationOptions):
    """The options of a run."""

    EXPERIMENT: ClassVar[str] = "adversarial"

    dataset: str = "mnist"
    """digits, mnist, fashion_mnist, a folder or archive of images, or package.module:function."""
    eps: float = 0.25
    """ε of the claims, the largest change of a pixel, where 1 is full brightness."""
    sweep: tuple[float, ...] = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3)
    """Further ε of the figure."""
    width: int = 256
    """Hidden units of the MLP."""
    epochs: int = 6
    """Passes over the training examples."""
    batch_size: int = 128
    """Examples per step."""
    target: int = 0
    """The class to which targeted attacks lead."""


def check(config: Config) -> None:
    """Raise ValueError for an option out of range."""
    demonstrations.check_at_least(config, eps=0, width=1, epochs=1, batch_size=1, target=0)
    if not all(0 <= eps < float("inf") for eps in (config.eps, *config.sweep)):
        raise ValueError(f"sweep={config.sweep}, eps={config.eps}: allowed are finite numbers from 0 on")


def load(config: Config) -> tuple[data.Dataset, Any]:
    """Load the data, and return the function that trains the network of a case once per seed."""
    dataset = runs.dataset(config.dataset, data_dir=config.data_dir)
    classes = len(dataset.classes)
    if config.target >= classes:
        raise ValueError(f"target={config.target} is not allowed: {dataset.name} has {classes} classes")
    splits = data.split(dataset, seed=0, dev_fraction=0.1)
    train, test = ((np.asarray(p.images, np.float32) / dataset.scale, p.labels) for p in (splits.train, splits.test))
    return dataset, (test, functools.cache(functools.partial(_train, config, train, classes)), classes)


def network(config: Config, case: str, classes: int) -> nn.Layer:
    """Return the network of a case."""
    return models.softmax_regression(classes) if case == SOFTMAX else models.mlp(classes, widths=(config.width,) * 2)


@functools.cache
def _step(config: Config, case: str, classes: int) -> Any:
    """Return the compiled pass over one epoch's batches, (params, state), images, labels, rows -> (params, state)."""
    layer, optimizer = network(config, case, classes), optimizers.adam(1e-3)

    def mean_loss(params, x, y):
        loss = lambda x: losses.softmax_cross_entropy(layer.apply(params, {}, x)[0], y)
        return (adversarial.adversarial_loss(loss, x, config.eps) if case == TRAINED else loss(x)).mean()

    def epoch(carry, images, labels, rows):
        def step(carry, rows):
            params, state = carry
            grads = jax.grad(mean_loss)(params, images[rows], labels[rows])
            updates, state = optimizer.update(grads, state, params)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, carry, rows)[0]

    return jax.jit(epoch)


def _train(config: Config, train: tuple[np.ndarray, np.ndarray], classes: int, case: str, seed: int) -> Any:
    """Return the parameters of the case's network, trained with the seed."""
    images, labels = map(jnp.asarray, train)
    params, _ = network(config, case, classes).init(jax.random.key(seed), images.shape[1:])
    carry, epoch = (params, optimizers.adam(1e-3).init(params)), _step(config, case, classes)
    for number in range(config.epochs):
        rows = data.batch_rows(len(labels), config.batch_size, seed=seed, epoch=number)
        carry = epoch(carry, images, labels, np.stack([batch.row for batch in rows]))
    return carry[0]


def run(config: Config, loaded: Any, case: str, seed: int) -> Mapping[str, Any]:
    """Train the network of the case and attack it."""
    (x, y), trained, classes = loaded
    apply = jax.jit(lambda params, x: network(config, case, classes).apply(params, {}, x)[0])
    logits, softmax = functools.partial(apply, trained(case, seed)), trained(SOFTMAX, seed)
    loss = lambda x: losses.softmax_cross_entropy(logits(x), y)
    toward = lambda x: losses.softmax_cross_entropy(logits(x), jnp.full_like(y, config.target))
    linear = lambda x: losses.softmax_cross_entropy(network(config, SOFTMAX, classes).apply(softmax, {}, x)[0], y)
    wrong = lambda images: 100 * float(np.mean(np.argmax(logits(images), -1) != y))
    eps, size = config.eps, {"step_size": config.eps / 8, "steps": STEPS}
    fooled = adversarial.fgsm(loss, x, eps, clip=None)
    confidence = np.asarray(activations.softmax(logits(fooled))).max(-1)[np.argmax(logits(fooled), -1) != y]
    led = adversarial.fgsm(toward, x, eps, clip=None, targeted=True)
    signs = np.where(np.random.default_rng(seed).random(x.shape) < 0.5, -eps, eps).astype(np.float32)
    shown = np.stack([x[:4], np.sign(fooled - x)[:4], fooled[:4]])
    sweep = [[wrong(adversarial.fgsm(loss, x, e, clip=clip)) for e in sorted({*config.sweep, eps})]
             for clip in (None, (0.0, 1.0))]  # fmt: skip
    return {
        "clean": wrong(x),
        "FGSM": wrong(fooled),
        "FGSM, clipped": wrong(np.clip(fooled, 0, 1)),
        "confidence when fooled": 100 * float(confidence.mean()) if confidence.size else np.nan,
        "PGD": wrong(adversarial.pgd(jax.random.key(seed), loss, x, eps, clip=None, **size)),
        "random signs": wrong(x + signs),
        "led to the target": 100 * float(np.mean(np.argmax(logits(led), -1)[y != config.target] == config.target)),
        "transfer": wrong(adversarial.fgsm(linear, x, eps, clip=None)),
        "sweep": np.array(sweep),
        "shown": shown,
        "labels": np.array([np.argmax(logits(images), -1) for images in shown]),
        "certainty": np.array([np.asarray(activations.softmax(logits(images))).max(-1) for images in shown]),
    }


def judge(config: Config, outcomes: demonstrations.Outcomes) -> list[claims.Claim]:
    """Hold the claims to the errors."""
    of = lambda case, what: (f"{what} ({case})", outcomes.numbers(case, what))
    percent, eps = "% wrong", f"ε = {config.eps:g}"
    return [
        claims.within(f"the sign of the gradient fools softmax regression, {eps}, not clipped", "J",
                      of(SOFTMAX, "FGSM"), low=99, unit=percent),
        claims.within("with high confidence", "J", of(SOFTMAX, "confidence when fooled"), low=50, unit="%"),
        claims.compare("its direction matters: random signs of the same size do less", "J", of(SOFTMAX, "random signs"),
                       of(SOFTMAX, "FGSM"), claimed="less", unit=percent),
        claims.within("the target class can be chosen", "J", of(SOFTMAX, "led to the target"), low=50, unit="%"),
        claims.compare("examples that fool one model fool another, more than random signs do", "J", of(MLP, "transfer"),
                       of(MLP, "random signs"), claimed="more", unit=percent),
        claims.compare("adversarial training protects", "J", of(TRAINED, "FGSM"), of(MLP, "FGSM"), claimed="less",
                       unit=percent),
        claims.within("it leaves an error of 17.9 % (published for maxout), here at most 20 %", "J",
                      of(TRAINED, "FGSM"), high=20, unit=percent),
        claims.compare("it costs accuracy on clean images", "J", of(TRAINED, "clean"), of(MLP, "clean"),
                       claimed="more", unit=percent),
        claims.compare("the protection is one of this attack alone: projected gradient does more", "J",
                       of(TRAINED, "PGD"), of(TRAINED, "FGSM"), claimed="more", unit=percent),
        claims.compare("clipping to the range of pixels weakens the attack on the trained net", "J",
                       of(TRAINED, "FGSM, clipped"), of(TRAINED, "FGSM"), claimed="less", unit=percent),
    ]  # fmt: skip


def draw(config: Config, outcomes: demonstrations.Outcomes) -> Sequence[demonstrations.Drawing]:
    """Draw fooled images as image + perturbation = sum, and the error against ε."""
    from jaxdl import plots

    images, labels, certainty = (outcomes.arrays(MLP, name)[0] for name in ("shown", "labels", "certainty"))
    sheet, captions = [], []
    for i in range(images.shape[1]):
        sheet += [images[0, i], 0.5 + images[1, i] / 2, images[2, i]]
        said = [f"class {labels[k, i]}, {certainty[k, i]:.1%}" for k in range(3)]
        captions += [f"image\n{said[0]}", f"+ {config.eps:g} × signs\n{' '}", f"= sum\n{said[2]}"]
    grid = plots.image_grid(np.stack(sheet), captions, columns=6, title=f"An MLP and {config.dataset}")
    eps, names = np.array(sorted({*config.sweep, config.eps})), ("not clipped", "clipped to [0, 1]")
    errors = {case: dict(zip(names, outcomes.arrays(case, "sweep").mean(0), strict=True)) for case in CASES}
    curves = {case: {"test error (%)": {name: (eps, errors[case][name]) for name in names}} for case in CASES}
    lines = plots.learning_curves(curves, xlabel="ε")
    return [
        demonstrations.Drawing("fooled", grid, "Test images, the signs of the gradient (grey: no change) and their "
                               "sum, not clipped, with the class that the MLP sees and its probability."),
        demonstrations.Drawing("sweep", lines, "Test error under the fast gradient sign method, means over the seeds. "
                               "An error that falls as ε grows is that of a net that learnt one ε and no more."),
    ]  # fmt: skip


DEMONSTRATION = demonstrations.Demonstration(
    Config, load, lambda config: CASES, run, judge, draw, check, {"width": 1600, "epochs": 20}
)
main, write = demonstrations.commands(DEMONSTRATION, __doc__)

if __name__ == "__main__":
    demonstrations.run_main(main)
