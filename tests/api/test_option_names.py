"""An error about an argument of a Python program names the option of the command, where a command was called."""

import json

import pytest

import danlu
from danlu.cli.main import _run
from danlu.errors import ArgumentError

WORDS = ["generate", "runs/none", "--prompt", "hello"]
CASES = [
    ([*WORDS, "--temperature", "-1"], "--temperature: must be "),
    ([*WORDS, "--top-p", "1.5"], "--top-p: must be "),
    ([*WORDS, "--num-return", "0"], "--num-return: must be "),
]


@pytest.mark.parametrize(("words", "said"), CASES)
def test_a_number_out_of_range_is_named_as_its_option(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run([*words, "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["message"].startswith(said)


def test_a_program_is_told_the_name_of_its_argument() -> None:
    with pytest.raises(ArgumentError, match=r"^top_p: must be "):
        danlu.generate("runs/none", "hello", top_p=1.5)
