"""The command `danlu`: its verbs, and how errors become exit codes.

Exit codes: 0 done, 2 the recipe or the arguments are wrong, 3 the data is wrong, 1 anything else.
"""

import os
import sys

from cyclopts import App

from danlu import __version__
from danlu.core.console import say
from danlu.core.errors import DanluError
from danlu.core.failing import end_with_launcher, say_failure
from danlu.core.world import this_world

app = App(
    name="danlu",
    help="Raw data to a trained, evaluated and portable model from one typed recipe. "
    "Any verb takes --debug, which shows where an error arose.",
    version=__version__,
    suppress_keyboard_interrupt=False,
)

# Named by string, so that asking for help imports none of them.
VERBS = {
    "run": "Every stage that a recipe names: data, model, training, evaluation, report.",
    "new": "Look at data and write a commented recipe for it.",
    "check": "Validate a recipe, profile its data and audit it for leakage; train nothing.",
    "plan": "Foresee the memory, arithmetic and time of a training; say what would fit if it does not.",
    "models": "List the models a recipe may name, with what each weighs and computes.",
    "train": "Train a model into a run directory; judge it later.",
    "tune": "Search over recipes: train many, keep the one that validates best.",
    "evaluate": "Judge a run's model on its validation and test splits; write the report.",
    "predict": "Answer every row of a file, folder or glob with a bundle.",
    "generate": "Have a language model go on with a text, or answer a conversation.",
    "export": "Write a bundle's model in the form of its own library: transformers, timm, LightGBM.",
    "deploy": "Write what a cluster that exists needs: to train a recipe on SLURM, Kubeflow or Ray.",
    "visualize": "Show what a recipe does to its data, as a file to look at.",
    "compare": "Compare runs on the test rows they share, by paired intervals.",
    "runs": "List runs, or compare some.",
    "schema": "Print the recipe's JSON Schema, for editors.",
    "doctor": "Look at this installation and say what to mend.",
}
for verb, purpose in VERBS.items():
    app.command(f"danlu.cli.{verb}:{verb}", name=verb, help=purpose)


def main() -> None:
    """Run the command line and exit."""
    end_with_launcher()
    code = _run(sys.argv[1:])
    if this_world().size == 1:
        sys.exit(code)
    for stream in (sys.stdout, sys.stderr):
        if not stream.closed:
            stream.flush()
    # While Python ends, threads of the backend that processes speak through abort one of them now and then.
    os._exit(code)


def _run(arguments: list[str]) -> int:
    """The exit code of the verb that the arguments name."""
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    try:
        code = app(arguments, result_action="return_value", exit_on_error=True)
        return code if isinstance(code, int) else 0
    except DanluError as error:
        if debug:
            raise
        return say_failure(error)
    except KeyboardInterrupt:
        say("danlu: stopped")
        return 1
    except BrokenPipeError:  # `danlu schema | head`
        sys.stderr.close()
        return 0
    except Exception as error:
        if debug:
            raise
        return say_failure(error)
