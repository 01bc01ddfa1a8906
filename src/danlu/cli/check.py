"""danlu check RECIPE"""

from danlu.cli.options import Json, Overrides, RecipeArgument
from danlu.cli.show import print_json, print_table


def check(recipe: RecipeArgument, *, overrides: Overrides = (), json: Json = False) -> None:
    """Validate a recipe, profile its data and audit it for leakage; train nothing."""
    from danlu.recipe.load import load_recipe
    from danlu.verbs.check import check as check_verb

    found = check_verb(load_recipe(recipe, overrides))
    if json:
        print_json(found)
        return
    parts = ", ".join(f"{name} {count:,}" for name, count in found["splits"].items())
    print(f"{found['origin']}: {found['rows']:,} rows of {found['kind']} data; {parts}")
    print(f"task: {found['task']} ({found['task_reason']})")
    if found["target"] is not None:
        print(f"target: {found['target']['name']}")
    print()
    print_table(
        [
            {key: column[key] for key in ("name", "type", "used", "missing", "unique", "reason")}
            for column in found["columns"]
        ]
    )
    print()
    for finding in found["findings"]:
        print(f"look at {finding['subject']}: {finding['message']}")
    print("the recipe is right" + ("" if found["findings"] else "; the audit found nothing"))
