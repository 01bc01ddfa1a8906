"""The command `danlu`: its subcommands, and the exit codes of errors.

Exit codes: 0 done, 2 the recipe or the arguments are wrong, 3 the data is wrong, 1 anything else.
"""

import errno
import os
import sys
from inspect import Parameter
from pathlib import Path

from cyclopts import App, CycloptsError

from danlu._version import __version__
from danlu.api import COMMANDS
from danlu.cli.help import TranslatedHelp
from danlu.cli.show import print_json, shown
from danlu.core.console import info, log_to_stderr
from danlu.core.distributed.env import dist_env
from danlu.core.error_document import error_document
from danlu.core.language import LANGUAGE_VARIABLE, LANGUAGES
from danlu.errors import ArgumentError, ArtifactError
from danlu.launch.failures import exit_with_parent, report_failure

LAST_STANDARD_STREAM = 2
PAGES = ("run", "evaluate", "report", "compare", "new", "visualize")  # commands whose own option --lang is

app = App(
    name="danlu",
    help="Raw data to a trained, evaluated and portable model from one typed recipe. "
    "Every command takes --debug, which shows the traceback of an error, and --lang en or zh.",
    version=__version__,
    suppress_keyboard_interrupt=False,
    help_formatter=TranslatedHelp(),
)

for verb, purpose in COMMANDS.items():
    app.command(f"danlu.cli.{verb}:{verb}", name=verb, help=purpose)


def main() -> None:
    """Run the command line and exit."""
    _open_standard_streams()
    exit_with_parent()
    log_to_stderr(shown)
    code = _flush(_run(sys.argv[1:]))
    if dist_env().world_size == 1:
        sys.exit(code)
    for stream in (sys.stdout, sys.stderr):
        if not stream.closed:
            stream.flush()
    # At interpreter exit, threads of the communication backend sometimes abort a process.
    os._exit(code)


def _open_standard_streams() -> None:
    """Open /dev/null where a standard stream is closed.

    Else a file of danlu's would take its number.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= LAST_STANDARD_STREAM:
        os.set_inheritable(number, True)
    os.close(number)
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:  # so Python leaves a stream that was closed when it began
            setattr(sys, name, Path(os.devnull).open("r" if name == "stdin" else "w", encoding="utf-8"))  # noqa: SIM115


def _flush(code: int) -> int:
    """Write out stdout and return the exit code: 1 where that failed."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        pass
    except OSError as error:
        info(f"danlu: stdout: cannot be written: {error.strerror or error}")
        code = code or 1
    else:
        return code
    # What is left in the buffer would fail again while Python ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


def _run(arguments: list[str]) -> int:
    """Run the command that the arguments name and return its exit code."""
    debug, as_json = "--debug" in arguments, "--json" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    try:
        arguments = _with_language(arguments)
        code = app(arguments, result_action="return_value", exit_on_error=False)
        return code if isinstance(code, int) else 0
    except CycloptsError as error:  # cyclopts has printed it
        if as_json:
            print_json(error_document(ArgumentError(str(error), code="DL416")))
        return ArgumentError.exit_code
    except KeyboardInterrupt:
        info("danlu: stopped")
        return 1
    except BrokenPipeError:  # `danlu schema | head`
        return 0
    except Exception as error:
        if debug:
            raise
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:  # of stdout, or of a library's temporary file
            error = ArtifactError(f"cannot be written: {error.strerror}; free some space", code="DL306")
        if isinstance(error, ArgumentError):
            error = _with_option(error, arguments)
        return report_failure(error, as_json=as_json)


def _with_language(arguments: list[str]) -> list[str]:
    """Let --lang decide what language this process and those that it starts speak.

    Returns the arguments, without it where the command has no page to write in that language.
    """
    for place, argument in enumerate(arguments):
        option, sign, value = argument.partition("=")
        if option != "--lang":
            continue
        rest = arguments[place + 1 :]
        if not sign:
            value, rest = (rest[0] if rest else ""), rest[1:]
        if value not in LANGUAGES:
            raise ArgumentError(f"--lang {value}: danlu speaks {' and '.join(LANGUAGES)}", code="DL402")
        os.environ[LANGUAGE_VARIABLE] = value
        verb = next((word for word in arguments if word in COMMANDS), "")
        return [*arguments[:place], *rest, *(("--lang", value) if verb in PAGES else ())]
    return arguments


def _with_option(error: ArgumentError, arguments: list[str]) -> ArgumentError:
    """Name the option of the command in an error about a function's argument.

    Other errors are returned as they are.
    """
    name, sign, rest = str(error).partition(": ")
    verb, commands, _ = app.parse_commands(arguments)
    if not verb:
        return error
    options = {
        argument.field_info.name: argument.names[0]
        for argument in commands[-1].assemble_argument_collection()
        if argument.field_info.kind is Parameter.KEYWORD_ONLY
    }
    return ArgumentError(f"{options[name]}{sign}{rest}", code=error.code) if sign and name in options else error
