"""docs/mistakes.md holds the messages word for word, and each message says what came and what is meant."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

from docs import make_mistakes

ROOT = pathlib.Path(__file__).parents[2]
PAGE = make_mistakes.PAGE.read_text(encoding="utf-8")


def test_every_mistake_is_on_the_page_with_a_message_of_a_few_lines():
    cases = [case for found in make_mistakes.MISTAKES.values() for case in found]
    assert len({code for _, code in cases}) == len({what for what, _ in cases}) == len(cases) >= 40
    shown = re.findall(r"\*\*(.+)\*\*\n\n```\n>>> (.+)\n(.+)\n```", PAGE)
    assert [(what.lower(), code) for what, code, _ in shown] == [(what.lower(), code) for what, code in cases]
    for what, _, said in shown:
        assert re.match(r"(ValueError|TypeError): ", said), what
        assert re.search(r"got|must|not one of|exist|needs|no such|unknown|its? |allowed", said), what
        assert len(said) < 400, what


@pytest.mark.slow
@pytest.mark.process
def test_the_messages_are_those_of_a_fresh_process():
    code = "from docs import make_mistakes; print(make_mistakes.page(), end='')"
    env = {name: value for name, value in os.environ.items() if name != "JAX_NUM_CPU_DEVICES"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == PAGE
