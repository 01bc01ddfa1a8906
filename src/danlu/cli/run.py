"""danlu run RECIPE, danlu run --from RUN, danlu run --resume RUN"""

import sys
from pathlib import Path

from danlu.cli.options import (
    DryRun,
    FromRun,
    Json,
    Lang,
    Name,
    OptionalRecipe,
    Output,
    Overrides,
    Overwrite,
    Processes,
    Profile,
    Restarts,
    Resume,
    check_recipe_or_resume,
    recipe_file,
    recipe_to_run,
    resolve_restarts,
)
from danlu.cli.show import print_document, print_evaluation, say
from danlu.core.console import info
from danlu.core.distributed.env import dist_env
from danlu.errors import ArgumentError


def run(
    recipe: OptionalRecipe = None,
    *,
    overrides: Overrides = (),
    output: Output = Path("runs"),
    name: Name = None,
    overwrite: Overwrite = False,
    from_run: FromRun = None,
    resume: Resume = None,
    profile: Profile = False,
    dry_run: DryRun = False,
    processes: Processes = None,
    restarts: Restarts = None,
    lang: Lang = None,
    json: Json = False,
) -> int:
    """Run every stage of a recipe, or resume a run that was stopped."""
    from danlu.api.run import dry_run as dry
    from danlu.api.run import resume_run
    from danlu.api.run import run as run_verb

    check_recipe_or_resume(recipe, resume, overrides, name, from_run)
    times = resolve_restarts(restarts, processes)
    if lang is not None and resume is None:
        overrides = (*overrides, f"evaluation.language={lang}")
    if processes is not None:
        if dry_run:
            raise ArgumentError("--dry-run uses one process; leave out --processes", code="DL602")
        from danlu.launch.processes import launch_train

        given = recipe_file(recipe, from_run)
        return launch_train(sys.argv[1:], given, resume, overrides, output, name, overwrite, processes, times)
    if resume is not None:
        directory = resume_run(resume, profile=profile, language=lang)
    elif dry_run:
        dry(recipe_to_run(recipe, overrides, from_run))
        info("dry run: every stage works; nothing was kept")
        return 0
    else:
        directory = run_verb(
            recipe_to_run(recipe, overrides, from_run),
            output=output,
            name=name,
            overwrite=overwrite,
            profile=profile,
        )
    if not dist_env().is_main:
        return 0
    evaluation = directory.evaluation()
    if json:
        print_document({"run": str(directory.path), "evaluation": evaluation})
        return 0
    print_evaluation(evaluation)
    say(f"\nreport  {directory.path / 'report.html'}\nmodel   {directory.model}")
    return 0
