"""Messages that say why data is treated as it is: a column's type, the task, rows removed, classes balanced. In
English.

In: a key and its figures. Out: the text that a run keeps. A page in another language recognises it by its template;
translations live with the report.
"""

from typing import Any

SYNTHETIC = "Smaller classes get synthetic rows"

REASONS: dict[str, str] = {
    "said": "said in the recipe",
    "dropped": "dropped by the recipe",
    "empty": "every value is missing",
    "bytes": "holds encoded bytes",
    "other-bytes": "holds bytes that are no images",
    "constant": "the same value in every row",
    "truth": "true or false",
    "seconds": "seconds",
    "times": "dates and times",
    "whole-number-a-row": "a different whole number in every row",
    "numbers": "numbers",
    "worded-numbers": "numbers written as words",
    "written-numbers": "numbers written like {word!r}",
    "codes": "{unique} different words with leading zeros",
    "worded-dates": "words that are dates",
    "numbered-dates": "whole numbers that are dates",
    "paths": "paths of image files",
    "text": "{words} words and {characters} characters a value",
    "word-a-row": "a different word in every row",
    "words-in-rows": "{unique} different words in {rows} rows",
    "phone-numbers": "telephone numbers",
    "words": "{unique} different words",
    "added-index": "numbers that a program gave to the rows",
    "row-names": "names that R gave to the rows",
    "geometry": "geometries in binary form, which no model reads",
    "splits": "decides the split",
    "messages": "messages",
    "words-alone": "words",
    "names-document": "names the document",
    "corpus": "the corpus",
    "only-messages": "only the messages are used",
    "in-messages": "part of the messages",
    "only-pairs": "only prompts and answers are used",
    "only-words": "only the words are used",
    "only-text": "only the text is used",
    "only-image": "only the image is used",
    "only-this-text": "only the text {name!r} is used",
    "task.pairs": "there are answers that were chosen and rejected",
    "task.tags": "there are words with a tag each",
    "task.chats": "the source holds conversations",
    "task.corpus": "the source is a corpus",
    "task.words": "the target has {distinct} different words",
    "task.whole-numbers": "the target has {distinct} different whole numbers",
    "task.numbers": "the target has {distinct} different numbers",
    "task.lists": "the target holds lists",
    "task.cut": "the target is cut at {separator!r}",
    "task.columns": "the target is {columns} columns",
    "left-out.unlabelled": "no answer",
    "left-out.gap": "a missing value",
    "left-out.unreadable": "cannot be read",
    "left-out.repetition": "repeats an earlier row",
    "left-out.forest": "an outlier by isolation-forest",
    "left-out.outlier": "an outlier in {column} by {method}",
    "balance.synthetic": f"{SYNTHETIC} until each has {{ratio:.0%}} of the largest class's number ({{method}}).",
    "balance.borderline": f"{SYNTHETIC} where they meet other classes (borderline-smote).",
    "balance.adasyn": f"{SYNTHETIC}, the more the harder a row is to tell from other classes (adasyn).",
    "balance.tomek": "Rows of larger classes that form a Tomek link with another class are taken away.",
    "balance.enn": "Rows of larger classes that have a neighbour of another class are taken away (enn).",
    "balance.oversample": "Rows of smaller classes are repeated until each has {ratio:.0%} of the largest class's "
    "number.",
    "balance.undersample": "Each epoch leaves out rows of larger classes until the smallest has {ratio:.0%} of their "
    "number.",
    "balance.weighted": "Each epoch draws its rows by inverse class frequency to the power of {power:.4g}.",
    "balance.class-weights": "The loss counts each training sample by its class ({method}).",
    "balance.focal": "The loss counts a sample less the better it is known (focal, gamma {gamma:g}).",
    "balance.focal-weighted": "The loss counts a sample less the better it is known (focal, gamma {gamma:g}), and "
    "weighs classes by {alpha}.",
    "balance.logits": "In training, {tau:g} times the log share of each class is added to its logit.",
}


def reason(key: str, **figures: Any) -> str:
    """Return a reason as it is stored."""
    return REASONS[key].format(**figures)
