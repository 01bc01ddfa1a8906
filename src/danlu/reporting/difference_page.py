"""Pages of examples: two networks side by side with the rows that part most, and confused classes.

In: a difference or confusion as `danlu visualize --json` has it. Out: one self-contained HTML file.
"""

from danlu.reporting.figures.layers import difference_lines
from danlu.reporting.format import format_number
from danlu.reporting.i18n import Translator
from danlu.reporting.render import render
from danlu.reporting.run_reader import Json

MOST_ROWS = 300
MOST_FIELDS = 12


def difference_page(t: Translator, name: str, difference: Json) -> str:
    """Build the page of a difference."""
    return render(
        "difference.html.j2",
        t,
        title=t("difference.title", name=name, other=difference["against"]),
        difference=difference_section(t, difference),
    )


def difference_section(t: Translator, difference: Json) -> Json:
    """Return what the template shows of a difference."""
    layers = difference["layers"]
    return {
        "summary": difference_summary(t, difference),
        "figure": difference_lines(t, difference).svg if layers else "",
        "layers": [_line(layer, difference) for layer in layers],
        "most": MOST_ROWS,
        "weights": _changed_weights(difference),
        "rows": [_row(row) for row in difference["samples"]],
        "unmatched": [
            t("difference.unmatched", which=t(f"network.{side}"), names=t.join(names[:6]), count=len(names))
            for side, names in difference["unmatched"].items()
            if names
        ],
    }


def confusion_page(t: Translator, name: str, confusion: Json) -> str:
    """Build the page of confused classes with examples."""
    title = t("confusion.by example", name=name)
    return render("confusion.html.j2", t, title=title, confused=confusion_section(t, confusion))


def confusion_section(t: Translator, confusion: Json) -> Json:
    """Return what the template shows of confused classes."""
    rows, wrong = t.count(confusion["rows"], "row"), confusion["wrong"]
    pairs = [{**pair, "samples": [_sample(sample) for sample in pair["samples"]]} for pair in confusion["pairs"]]
    sentences = [t("confusion.counted", wrong=f"{wrong:,}", rows=rows)]
    count = confusion.get("confused_pairs", len(pairs))
    if count > len(pairs):
        sentences.append(t("confusion.most", shown=len(pairs), count=f"{count:,}"))
    return {"summary": t.join_sentences(sentences), "pairs": pairs}


def difference_summary(t: Translator, difference: Json) -> str:
    """Say in a sentence or two where two networks part."""
    layers, first = difference["layers"], difference["first_below"]
    threshold = format_number(float(difference["threshold_db"]))
    equal = sum(layer["equal"] for layer in layers)
    sentences = [t("difference.compared", layers=t.count(len(layers), "layer"), equal=equal)]
    key = "difference.none" if first is None else "difference.first"
    sentences.append(t(key, threshold=threshold, first=first or ""))
    apart = difference["answers"]["largest"]
    sentences.append(t("difference.answers", largest=format_number(float(apart))))
    return t.join_sentences(sentences)


def _line(layer: Json, difference: Json) -> Json:
    return {
        **layer,
        "is_under": layer["snr_db"] is not None and layer["snr_db"] < difference["threshold_db"],
        "shown": "=" if layer["equal"] else format_number(layer["snr_db"]),
        "angle": "–" if layer["cosine"] is None else f"{layer['cosine']:.6g}",
    }


def _changed_weights(difference: Json) -> list[Json]:
    """Return the weights that differ, those that changed most first."""
    changed = [each for each in difference["weights"] if each["change"] > 0]
    ordered = sorted(changed, key=lambda each: -each["change"])
    return [
        {**each, "shown": f"{each['change']:.3g}", "pairs": ", ".join(f"{a} ↔ {b}" for a, b in each["swapped"][:6])}
        for each in ordered
    ]


def _row(row: Json) -> Json:
    return {**_sample(row), "apart": f"{row['apart']:.3g}"}


def _sample(sample: Json) -> Json:
    fields = list(sample["fields"].items())
    return {**sample, "fields": fields[:MOST_FIELDS] + ([("…", "")] if len(fields) > MOST_FIELDS else [])}
