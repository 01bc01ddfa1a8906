"""danlu check RECIPE"""

from typing import Annotated, Any

from cyclopts import Parameter

from danlu.cli.options import Json, Overrides, RecipeArgument
from danlu.cli.show import print_json, print_table
from danlu.errors import DataError

Strict = Annotated[
    bool, Parameter(help="Exit with code 3 if a question is open or the audit finds more than notes.", negative=())
]


def check(recipe: RecipeArgument, *, overrides: Overrides = (), json: Json = False, strict: Strict = False) -> int:
    """Validate a recipe, profile its data and audit it for leakage; train nothing."""
    from danlu.api.check import check as check_verb
    from danlu.recipe.load import load_recipe

    found = check_verb(load_recipe(recipe, overrides=overrides))
    serious = [finding for finding in found["findings"] if finding["severity"] != "note"]
    if json:
        print_json(found)
    else:
        _print(found)
    return DataError.exit_code if strict and (serious or found["questions"]) else 0


def _print(found: dict[str, Any]) -> None:
    parts = ", ".join(f"{name} {count:,}" for name, count in found["splits"].items())
    print(f"{found['origin']}: {found['rows']:,} rows of {found['kind']} data; {parts}")
    print(f"task: {found['task']} ({found['task_reason']})")
    if found["target"] is not None:
        print(f"target: {found['target']['name']}")
    print()
    print_table(
        [
            {key: column[key] for key in ("name", "type", "used", "missing", "unique")}
            | {"read as": column["reading"]["shown"], "reason": column["reason"]}
            for column in found["columns"]
        ]
    )
    print()
    for finding in found["findings"]:
        print(f"{finding['severity']}: {finding['subject']}: {finding['message']}")
        if finding["cure"]:
            print(f"    {finding['cure']}")
    for question in found["questions"]:
        print(f"question: {question['subject']}: {question['message']}")
        for reading in question["readings"]:
            print(f"    --set '{reading['write']}': {reading['example']}")
    print(_verdict(found))


def _verdict(found: dict[str, Any]) -> str:
    if found["questions"]:
        return "nothing is trained before these questions are answered"
    return "the recipe is right" + ("" if found["findings"] else "; the audit found nothing")
