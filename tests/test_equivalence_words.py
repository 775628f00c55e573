"""The words of `equivalence` about two conventions, compared with the recorded ones.

``tests/golden/make_words.py`` records all pairs in ten minutes; the tests compare a sample.
"""

import importlib.util
import json
from pathlib import Path

import pytest

from jaxdl.optimizers import conventions

GOLDEN = Path(__file__).parent / "golden"
_spec = importlib.util.spec_from_file_location("make_words", GOLDEN / "make_words.py")
make_words = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make_words)
RECORDED = json.loads(make_words.FILE.read_text(encoding="utf-8"))

# one pair for each entry of form=, each kind of cause and of map, and each optimizer with two conventions
SAMPLE = (
    "sgd: torch → lecture_p",
    "nesterov: paper → keras",
    "adam: optax → torch",
    "adam: optax itself → lecture_e",
    "adamw: keras → torch",
    "adamw: paper → optax",
    "nadam: optax → keras",
    "amsgrad: keras → torch",
    "adamax: torch → optax",
    "radam: paper → torch",
    "lion: optax → keras",
    "adagrad: torch → lecture_e",
    "rmsprop: torch → optax",
    "adadelta: optax → keras",
    "lars: optax → paper",
    "lamb: optax itself → paper",
    "muon: optax itself → optax",
)


def test_the_sample_shows_every_entry_of_form_and_every_optimizer():
    assert set(RECORDED) <= set(make_words.sides()), "a pair is gone: see tests/golden/make_words.py"
    assert {pair.partition(":")[0] for pair in SAMPLE} == {pair.partition(":")[0] for pair in RECORDED}
    unseen = {name for pair in SAMPLE for name in RECORDED[pair]["unseen"]}
    causes = " ".join(RECORDED[pair]["cause"] or "" for pair in SAMPLE)
    assert all(name in unseen or f"{name}=" in causes for name in conventions.FORMS)


@pytest.mark.parametrize("pair", SAMPLE)
def test_the_words_are_the_recorded_ones(pair):
    assert make_words.words(*make_words.sides()[pair]) == RECORDED[pair]
