"""Messages of the audit's findings, in English: key -> template; `KEY.subject` and `KEY.cure` beside some of them.

Column names and lines of the recipe are not here. Translations live with the report.
"""

MEASURES = {
    "classification": "balanced accuracy",
    "multi-label": "balanced accuracy of one of its labels",
    "regression": "rank correlation",
}
KNOWN = {"used": "would it be known before the answer is?", "unused": "it is left out of the model"}
OTHER_DATA = "the figures tell of other data than the model learned from"
COLLECTED = "look at how the rows were collected; data.split.by decides which are compared"
COMPARED = "that were compared are nearly the same as one of the training split"

FINDINGS: dict[str, str] = {
    "between": ", ",
    "more": " and {count} more",
    "broken-images": "{broken:,} of {looked_at:,} images cannot be read; the first: {first}",
    "broken-images.subject": "broken images",
    "gray-range": "gray of 16 bits: {low:,} to {high:,} become black to white, as the training images have them; "
    "what is beyond is cut",
    "unread-files": "{files:,} in the folder, by suffix: {suffixes}",
    "unread-files.subject": "files not read",
    "doubtful-encoding": "read as {encoding}, but the text is too short to be sure; read otherwise: {shown}",
    "doubtful-encoding.subject": "encoding",
    "drawn-splits": "data.source gives no {split}, so {rows:,} of the rows given to train are taken for it",
    "drawn-splits.subject": "split",
    "cut-texts": "{cut:,} of {rows:,} rows that were tokenized ({share:.0%}) are longer than {longest:,} tokens and "
    "are cut, by which {lost:.1%} of all tokens are not read",
    "cut-texts.subject": "texts that are cut",
    "cut-texts.cure": "data.sequence_length sets the limit, up to what the model takes",
    "unknown-tokens": "{share:.1%} of the tokens are {token}: words that the model's tokenizer does not know, which it "
    "reads all alike",
    "unknown-tokens.subject": "unknown words",
    "unknown-tokens.cure": "choose a model whose tokenizer knows this language or writing",
    "unread-columns": "no part of the conversations, so the model never reads them: {columns}",
    "unread-columns.subject": "columns not read",
    "equal-answers": "in {rows:,} of {of:,} training rows chosen and rejected say the same; such a row prefers nothing",
    "equal-answers.subject": "equal answers",
    "equal-answers.cure": "remove these rows, or correct one of the two answers",
    "repeated-rows": "{rows:,} of {of:,} {split} rows also stand in the training split; "
    "the figures flatter the model by as much",
    "repeated-rows.subject": "duplicates",
    "repeated-within": "{rows:,} of {of:,} training rows repeat an earlier one",
    "repeated-within.subject": "duplicates",
    "contradictions": "{rows:,} of {of:,} rows have the same inputs as another row but another {target!r}; "
    "no model can be right about all of them",
    "contradictions.subject": "contradictions",
    "contradictions.cure": "look at them; perhaps a column that tells them apart is missing",
    "near-images": f"{{rows:,}} of {{compared:,}} {{split}} images {COMPARED}: {{shown}}",
    "near-images.subject": "near duplicates",
    "near-texts": f"{{rows:,}} of {{compared:,}} {{split}} texts {COMPARED}: {{shown}}",
    "near-texts.subject": "near duplicates",
    "uneven-shares": "splitting by {by} gives other shares of the rows than asked: {shares}",
    "uneven-shares.shares": "{split} {share:.0%} instead of {asked:.0%}",
    "uneven-shares.subject": "split",
    "uneven-shares.cure": "rows that belong together cannot be divided; give other fractions in data.split, or look at "
    "the largest group, instant or class",
    "drifting-columns": f"{{count}} columns are distributed otherwise than in the training split: {{columns}}; "
    f"{OTHER_DATA}",
    "drifting-columns.columns": "{column} ({split}, {distance:.2f})",
    "drifting-columns.subject": "drift",
    "drifting-columns.cure": COLLECTED,
    "told-apart": "a classifier tells test rows from training rows (AUROC {auroc:.3f} ± {deviation:.3f}, 0.5 were "
    f"chance); {OTHER_DATA}",
    "told-apart.subject": "drift",
    "told-apart.cure": COLLECTED,
    "absent-classes": "the {split} split has no {shown}; nothing is measured of what it lacks",
    "skewed-classes": "{large} has {most:,} samples in training and {small} has {fewest:,}; "
    "accuracy hides how the rare class fares",
    "label-spellings": "has classes that differ only in case and white space: {shown}",
    "label-spellings.cure": "write each class in one way; until then they are different answers",
    "doubtful-labels": "{count:,} of {of:,} training rows have a label that a simple model finds very unlikely: {rows}",
    "doubtful-labels.rows": "row {number} ({label}, or {likely}?)",
    "doubtful-labels.cure": "look at them; wrong labels cost more than missing ones",
    **{
        f"telling-column.{task}.{use}": f"alone tells {{target!r}} ({{strength:.1%}} {measure}); {known}"
        for task, measure in MEASURES.items()
        for use, known in KNOWN.items()
    },
    "torn-groups": "{share:.0%} of the test rows share their {column!r} with a training row; if the "
    "model will meet new ones, the figures flatter it",
    "dates-at-random": "rows have dates, and the split mixes them; if the model will answer for a later time, "
    "test it so",
    "mostly-missing": "is missing in {missing:.0%} of the rows",
    "constant": "is the same in every row, so it tells nothing; it is left out",
    "nearly-constant": "is the same in {share:.1%} of the rows",
    "spellings": "has values that differ only in case and white space: {shown}",
    "many-values": "has {values:,} values, few rows for each",
    "numbers-as-words": "{columns} hold numbers written as words; they are read as numbers",
    "numbers-as-words.subject": "numbers as words",
    "absent-column": "the model reads it, and the new data does not have it",
    "extra-columns": "{columns} are not read by the model; they are ignored",
    "extra-columns.subject": "other columns",
    "unreadable-values": "{count:,} of {rows:,} values cannot be read as the model's type, {type}: {shown}",
    "unseen-values": "{count:,} of {rows:,} rows have a value that the training data did not: {shown}",
    "nothing-seen": "not one of its values is one that the training data had: {shown}",
    "outside-range": "{count:,} of {rows:,} values lie outside those of the training data, {low} to {high}",
    "far-values": "{count:,} of {rows:,} values of the {split} split lie farther outside the training split's range, "
    "{low} to {high}, than it is wide; its scaling was not made for them",
    "far-values.cure": "look whether they are right; "
    "data.clean.outliers: {{action: clip}} moves them into the usual range",
    "drifted": f"is distributed otherwise than in the training data (distance {{distance:.2f}}); {OTHER_DATA}",
    "more-gaps": "is missing in {missing:.1%} of the rows, and in {before:.1%} of the training data",
    "no-reference": "the bundle does not tell how its training data was distributed, so only columns were compared",
    "no-reference.subject": "reference",
    "infinite": "is infinite in {infinite:,} rows, which count as missing",
    "skewed": "is very skewed ({skew:.0f}); a few values outweigh all others",
}
