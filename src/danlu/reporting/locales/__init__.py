"""Every word that danlu's pages and cards say, in each language: key -> what is said in English and in Chinese.

In: nothing. Out: WORDS, one table made of a file a subject. What a data set, a recipe or a person has named is not
here. What a run writes down in English (findings, alarms, reasons) stands where it is found, and its Chinese here.
"""

from danlu.reporting.locales.card import CARD
from danlu.reporting.locales.comparison import COMPARISON
from danlu.reporting.locales.figures import FIGURES
from danlu.reporting.locales.findings import WRITTEN_DOWN
from danlu.reporting.locales.metrics import METRIC_MEANINGS
from danlu.reporting.locales.page import PAGE
from danlu.reporting.locales.reasons import IN_BOTH
from danlu.reporting.locales.search import SEARCH
from danlu.reporting.locales.sentences import SENTENCES

WORDS: dict[str, tuple[str, str]] = {
    **PAGE,
    **SENTENCES,
    **SEARCH,
    **FIGURES,
    **METRIC_MEANINGS,
    **COMPARISON,
    **CARD,
    **WRITTEN_DOWN,
    **IN_BOTH,
}
