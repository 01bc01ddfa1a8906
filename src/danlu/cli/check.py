"""danlu check RECIPE, danlu check DATA --against BUNDLE"""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from danlu.cli.options import Json, Overrides
from danlu.cli.show import print_document, print_table, say
from danlu.core.language import console_language
from danlu.errors import ArgumentError, DataError

LEARNED = "⟪⟫"  # around what a model learns to say

Strict = Annotated[
    bool, Parameter(help="Exit with code 3 if a question is open or there is more than notes.", negative=())
]


def check(
    recipe: Annotated[
        str,
        Parameter(
            help="A recipe file, or the name of a built-in one such as breast-cancer. With --against, the new data: "
            "a file, folder, glob or builtin:NAME."
        ),
    ],
    *,
    against: Annotated[
        Path | None, Parameter(help="A bundle's or a run's folder: compare the data with what it was trained on.")
    ] = None,
    overrides: Overrides = (),
    json: Json = False,
    strict: Strict = False,
) -> int:
    """Check a recipe and its data, or find drift in new data; train nothing."""
    from danlu.api.check import check as check_verb
    from danlu.recipe.load import load_recipe

    if against is not None:
        if overrides:
            raise ArgumentError(
                "--set changes a recipe, and --against compares data with a bundle; remove --set", code="DL401"
            )
        found = check_verb(recipe, against=against)
    else:
        found = check_verb(load_recipe(recipe, overrides=overrides))
    serious = [finding for finding in found["findings"] if finding["severity"] != "note"]
    if json:
        print_document(found)
    elif against is not None:
        _print_comparison(found)
    else:
        _print(found)
    return DataError.exit_code if strict and (serious or found.get("questions")) else 0


def _print(found: dict[str, Any]) -> None:
    from danlu.reporting.i18n import Translator
    from danlu.reporting.sections.findings import translate_reason

    parts = ", ".join(f"{name} {count:,}" for name, count in found["splits"].items())
    say(f"{found['origin']}: {found['rows']:,} rows of {found['kind']} data; {parts}")
    t = Translator(console_language())
    say(f"task: {found['task']} ({translate_reason(t, found['task_reason'])})")
    if found["target"] is not None:
        say(f"target: {found['target']['name']}")
    say()
    print_table(
        [
            {key: column[key] for key in ("name", "type", "used", "missing", "unique")}
            | {"read as": column["reading"]["shown"], "reason": translate_reason(t, column["reason"])}
            for column in found["columns"]
        ]
    )
    say()
    _print_shown(found["shown"])
    _print_findings(found)
    _print_questions(found)
    say(_verdict(found))


def _print_shown(texts: list[dict[str, Any]]) -> None:
    """Print a row as the model reads it, with marks around what is learned."""
    for text in texts:
        cut = f", {text['cut']:,} more are cut off" if text["cut"] else ""
        say(
            f"the first row ({text['name']}) as the model reads it; {LEARNED[0]}…{LEARNED[1]} is learned, "
            f"{text['learned']:,} of {text['tokens']:,} tokens{cut}:"
        )
        marked = "".join(
            f"{LEARNED[0]}{part['text']}{LEARNED[1]}" if part["learned"] else part["text"] for part in text["parts"]
        )
        say("\n".join(f"    {line}".rstrip() for line in marked.rstrip("\n").split("\n")))
        say()


def _print_comparison(found: dict[str, Any]) -> None:
    say(f"{found['origin']}: {found['rows']:,} rows\n")
    print_table([_comparison_row(column) for column in found["columns"]])
    say()
    _print_findings(found)
    if not found["findings"]:
        say("nothing is otherwise than in the training data")


def _comparison_row(column: dict[str, Any]) -> dict[str, Any]:
    outside, drift = column.get("outside"), column.get("drift")
    return {
        "name": column["name"],
        "type": column["type"],
        "missing": column["missing"]["value"],
        "missing in training": column["missing"]["reference"],
        "unreadable": column["unreadable"],
        "unseen": column.get("unseen_rows"),
        "outside": None if outside is None else outside["below"] + outside["above"],
        "distance": None if drift is None else drift["distance"],
    }


def _print_findings(found: dict[str, Any]) -> None:
    from danlu.reporting.i18n import Translator
    from danlu.reporting.sections.findings import translate_findings

    for finding in translate_findings(Translator(console_language()), found):
        say(f"{finding['severity']}: {finding['subject']}: {finding['message']}")
        if finding["cure"]:
            say(f"    {finding['cure']}")


def _print_questions(found: dict[str, Any]) -> None:
    for question in found["questions"]:
        say(f"question: {question['subject']}: {question['message']}")
        for reading in question["readings"]:
            say(f"    --set '{reading['write']}': {reading['example']}")


def _verdict(found: dict[str, Any]) -> str:
    if found["questions"]:
        return "nothing is trained before these questions are answered"
    return "the recipe is right" if found["findings"] else "the recipe is right; the audit found nothing"
