"""The chat box of a server's page, in a real browser; screenshots go to the folder that DANLU_SCREENSHOTS names."""

import os
from pathlib import Path

import pytest

from tests.support.browser import Browser, chromium
from tests.support.serving import Server

pytestmark = [
    pytest.mark.skipif(chromium() is None, reason="no Chromium here: apt-get install chromium, or put one on the PATH"),
    pytest.mark.training,
    pytest.mark.slow,
]
SAID = "[...document.querySelectorAll('.said.assistant p')].map((each) => each.textContent)"
FIELDS = "document.getElementById('temperature').value = '0'; document.getElementById('say').value = 'Is day 7 warm?'"
LONG = "document.getElementById('say').value = 'warm '.repeat(500)"
WRONG = "!document.getElementById('wrong').hidden && document.getElementById('wrong').textContent"


@pytest.mark.parametrize("language", ["en", "zh"])
def test_what_is_said_is_answered_as_over_the_api(talking: Server, tmp_path: Path, language: str) -> None:
    asked = [{"role": "user", "content": "Is day 7 warm?"}]
    told = talking.post("/v1/chat/completions", {"model": "talker", "messages": asked, "temperature": 0}).json
    with Browser(tmp_path / "profile") as browser:
        browser.open(f"{talking.events[0]['url']}/models/talker?lang={language}")
        browser.run(f"{FIELDS}; document.getElementById('tell').click()")
        pace = browser.wait("!document.getElementById('tell').disabled && document.getElementById('pace').textContent")
        assert str(told["usage"]["completion_tokens"]) in pace
        assert browser.run(SAID) == [told["choices"][0]["message"]["content"]]
        folder = os.environ.get("DANLU_SCREENSHOTS")
        if folder:
            browser.picture(Path(folder, f"chat-{language}.png"))
        browser.run("document.getElementById('anew').click()")
        assert browser.run(SAID) == []
        browser.run(
            "document.getElementById('say').value = 'warm '.repeat(500); document.getElementById('tell').click()"
        )
        assert "tokens" in browser.wait(
            "!document.getElementById('wrong').hidden && document.getElementById('wrong').textContent"
        )
        assert browser.run(SAID) == []
