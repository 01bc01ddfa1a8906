"""Every word that danlu's pages and cards say, in each language: key -> what is said in English and in Chinese.

In: nothing. Out: WORDS, one table made of a file a subject. What a data set, a recipe or a person has named is not
here; neither are findings and reasons that a run wrote down in English.
"""

from danlu.report.wording.card import CARD
from danlu.report.wording.comparison import COMPARISON
from danlu.report.wording.figures import FIGURES
from danlu.report.wording.metrics import METRIC_MEANINGS
from danlu.report.wording.page import PAGE
from danlu.report.wording.search import SEARCH
from danlu.report.wording.sentences import SENTENCES

WORDS: dict[str, tuple[str, str]] = {**PAGE, **SENTENCES, **SEARCH, **FIGURES, **METRIC_MEANINGS, **COMPARISON, **CARD}
