"""danlu train RECIPE, danlu train --from RUN, danlu train --resume RUN"""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from danlu.cli.options import (
    FromRun,
    Json,
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
from danlu.cli.show import print_document, say
from danlu.core.distributed.env import dist_env
from danlu.errors import ArgumentError

Verify = Annotated[
    int | None, Parameter(help="With --resume: first repeat at least this many of the last steps and compare.")
]


def train(
    recipe: OptionalRecipe = None,
    *,
    overrides: Overrides = (),
    output: Output = Path("runs"),
    name: Name = None,
    overwrite: Overwrite = False,
    from_run: FromRun = None,
    resume: Resume = None,
    verify: Verify = None,
    profile: Profile = False,
    processes: Processes = None,
    restarts: Restarts = None,
    json: Json = False,
) -> int:
    """Train a model into a run directory, or resume a stopped run; evaluate it later."""
    from danlu.api.train import resume as resume_verb
    from danlu.api.train import train as train_verb

    check_recipe_or_resume(recipe, resume, overrides, name, from_run)
    times = resolve_restarts(restarts, processes)
    if verify is not None and resume is None:
        raise ArgumentError(
            "--verify repeats steps of a run that was stopped; name it with --resume, or leave --verify out",
            code="DL401",
        )
    if processes is not None:
        from danlu.launch.processes import launch_train

        given = recipe_file(recipe, from_run)
        return launch_train(sys.argv[1:], given, resume, overrides, output, name, overwrite, processes, times)
    if resume is not None:
        directory = resume_verb(resume, verify=verify, profile=profile)
    else:
        directory = train_verb(
            recipe_to_run(recipe, overrides, from_run),
            output=output,
            name=name,
            overwrite=overwrite,
            profile=profile,
        )
    if not dist_env().is_main:
        return 0
    if json:
        print_document({"run": str(directory.path)})
    else:
        say(f"run     {directory.path}\nmodel   {directory.model}\nnext    danlu evaluate {directory.path}")
    return 0
