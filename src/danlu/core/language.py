"""The languages that danlu is written in, and the one that a terminal's user reads."""

import os
from typing import Literal, get_args

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = get_args(Language)
LANGUAGE_VARIABLE = "DANLU_LANG"
LOCALE_VARIABLES = (LANGUAGE_VARIABLE, "LC_ALL", "LC_MESSAGES", "LANG")  # the first that is set decides


def console_language() -> Language:
    """Return the language that DANLU_LANG names, or else the locale; English by default."""
    asked = next((os.environ[name] for name in LOCALE_VARIABLES if os.environ.get(name)), "")
    return next((known for known in LANGUAGES if asked.lower().startswith(known)), LANGUAGES[0])
