"""The command `danlu`: its subcommands, and the exit codes of errors.

Exit codes: 0 done, 2 the recipe or the arguments are wrong, 3 the data is wrong, 1 anything else.
"""

import os
import sys

from cyclopts import App

from danlu import __version__
from danlu.core.console import info, log_to_stderr
from danlu.core.distributed.env import dist_env
from danlu.errors import DanluError
from danlu.launch.failures import exit_with_parent, report_failure

app = App(
    name="danlu",
    help="Raw data to a trained, evaluated and portable model from one typed recipe. "
    "Every command takes --debug, which shows the traceback of an error.",
    version=__version__,
    suppress_keyboard_interrupt=False,
)

# Named by string, so that --help imports none of them.
COMMANDS = {
    "run": "Every stage that a recipe names: data, model, training, evaluation, report.",
    "new": "Inspect data and write a commented recipe for it.",
    "check": "Validate a recipe, profile its data and audit it for leakage; train nothing.",
    "plan": "Predict memory, FLOPs and time of a training; suggest settings if it does not fit.",
    "models": "List the models a recipe may name, with parameters and FLOPs.",
    "train": "Train a model into a run directory; evaluate it later.",
    "tune": "Search over recipes: train many, keep the one that validates best.",
    "evaluate": "Evaluate a run's model on its validation and test splits; write the report.",
    "predict": "Predict every row of a file, folder or glob with a bundle.",
    "generate": "Continue a text or answer a conversation with a language model.",
    "export": "Write a bundle's model in its library's own format: transformers, timm, LightGBM.",
    "deploy": "Write the files that train a recipe on a cluster: SLURM, Kubeflow or Ray.",
    "visualize": "Show what a recipe does to its data, as a file to look at.",
    "compare": "Compare runs on the test rows they share, by paired intervals.",
    "runs": "List runs, or compare some.",
    "schema": "Print the recipe's JSON Schema, for editors.",
    "doctor": "Check this installation and say how to fix problems.",
}
for verb, purpose in COMMANDS.items():
    app.command(f"danlu.cli.{verb}:{verb}", name=verb, help=purpose)


def main() -> None:
    """Run the command line and exit."""
    exit_with_parent()
    log_to_stderr()
    code = _run(sys.argv[1:])
    if dist_env().world_size == 1:
        sys.exit(code)
    for stream in (sys.stdout, sys.stderr):
        if not stream.closed:
            stream.flush()
    # At interpreter exit, threads of the communication backend sometimes abort a process.
    os._exit(code)


def _run(arguments: list[str]) -> int:
    """Run the command that the arguments name and return its exit code."""
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    try:
        code = app(arguments, result_action="return_value", exit_on_error=True)
        return code if isinstance(code, int) else 0
    except DanluError as error:
        if debug:
            raise
        return report_failure(error)
    except KeyboardInterrupt:
        info("danlu: stopped")
        return 1
    except BrokenPipeError:  # `danlu schema | head`
        sys.stderr.close()
        return 0
    except Exception as error:
        if debug:
            raise
        return report_failure(error)
