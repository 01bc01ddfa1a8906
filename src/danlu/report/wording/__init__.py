"""Every word that danlu's pages and cards say, in each language: key -> what is said in English and in Chinese.

In: nothing. Out: WORDS, one table made of a file a subject. What a data set, a recipe or a person has named is not
here. What a run writes down in English (findings, alarms, reasons) stands where it is found, and its Chinese here.
"""

from danlu.report.wording.card import CARD
from danlu.report.wording.comparison import COMPARISON
from danlu.report.wording.figures import FIGURES
from danlu.report.wording.findings import WRITTEN_DOWN
from danlu.report.wording.metrics import METRIC_MEANINGS
from danlu.report.wording.page import PAGE
from danlu.report.wording.reasons import IN_BOTH
from danlu.report.wording.search import SEARCH
from danlu.report.wording.sentences import SENTENCES

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
