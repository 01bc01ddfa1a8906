"""The exceptions that danlu raises on purpose, each with its exit code and a stable code that docs/errors.md explains.

A message says what is wrong, where, and how to fix it; it addresses the person who made the mistake. The code names the
problem whatever the message's words are, so that it can be searched, documented and handled by programs.
"""

from dataclasses import dataclass

# Code -> the problem in a few words. The hundreds: 1 recipe, 2 data and pretrained files, 3 runs and bundles,
# 4 arguments and own code, 5 training, 6 several processes, 7 what is not installed, 9 danlu itself.
CODES: dict[str, str] = {
    "DL101": "no such recipe",
    "DL102": "the recipe file cannot be read",
    "DL103": "extends cannot be followed",
    "DL104": "a key of --set or of a search leads nowhere",
    "DL105": "unknown key",
    "DL106": "a required key is missing",
    "DL107": "unknown name or word",
    "DL108": "a value has the wrong type or is out of range",
    "DL110": "keys contradict one another",
    "DL112": "danlu leaves this task or model to others",
    "DL113": "a searched value makes the recipe wrong",
    "DL114": "does not fit the kind of data",
    "DL115": "does not fit the task",
    "DL116": "does not fit the model or its tokenizer",
    "DL117": "a metric is unknown or does not fit",
    "DL118": "the evaluation lacks the rows or columns that it needs",
    "DL119": "the chat template cannot be used",
    "DL120": "the sequence length does not fit",
    "DL201": "no such file, folder or built-in data",
    "DL202": "a file or folder of data cannot be read",
    "DL203": "there are no rows",
    "DL204": "a table's lines or its files do not match",
    "DL205": "a folder of images can be read in several ways",
    "DL206": "a class has no image that can be read",
    "DL207": "rows in memory have an unusable form",
    "DL210": "no such column",
    "DL211": "a column's values cannot be read as its type",
    "DL212": "no column to learn from",
    "DL213": "a column's name cannot be used",
    "DL214": "a column can be read in several ways",
    "DL220": "it is not known what to predict",
    "DL221": "the target has the wrong type",
    "DL222": "the target is missing in some rows",
    "DL223": "the target's values cannot be learned",
    "DL225": "labels or tags of a row are malformed",
    "DL227": "a label is absent from the training split",
    "DL230": "an image cannot be read",
    "DL231": "a row has several images",
    "DL240": "a conversation or prompt is malformed",
    "DL242": "the tokenizer cannot be used",
    "DL250": "the rows cannot be split or folded as asked",
    "DL251": "a column cannot decide the split",
    "DL253": "cleaning left no rows",
    "DL254": "the classes cannot be balanced this way",
    "DL260": "the data has changed since training",
    "DL271": "a pretrained model needs code to be run",
    "DL272": "a file of pretrained weights is damaged or of another format",
    "DL273": "pretrained weights belong to another network",
    "DL301": "no bundle or artifact here",
    "DL302": "the bundle is of a newer danlu",
    "DL303": "an artifact's file is missing or damaged",
    "DL305": "an artifact's file was changed",
    "DL306": "a folder cannot be written, or the disk is full",
    "DL307": "another process holds the run or did not write its file",
    "DL309": "the bundle needs permission to run its own code",
    "DL310": "the bundle's model cannot be built here",
    "DL311": "the bundle no longer gives its recorded predictions",
    "DL312": "training is not reproduced",
    "DL313": "a model that training depends on has changed",
    "DL315": "an exported form answers otherwise than the bundle",
    "DL316": "the bundle is not signed",
    "DL317": "the signature is not that of a trusted key",
    "DL318": "a signed bundle is not changed",
    "DL319": "the bundle cannot be served by the packages that it should need",
    "DL320": "the store of jobs cannot be read or written",
    "DL401": "arguments are missing or exclude one another",
    "DL402": "an argument has an invalid value",
    "DL404": "the output exists already",
    "DL406": "not a run that this can be done with",
    "DL407": "the runs cannot be compared",
    "DL408": "the output file's suffix is not supported",
    "DL409": "this model does not offer what is asked",
    "DL411": "own code cannot be imported",
    "DL412": "own code or a plugin does not have the expected form",
    "DL414": "a prompt cannot be continued",
    "DL416": "the command line is wrong",
    "DL420": "a request to a server cannot be read",
    "DL421": "a request to a server is too large",
    "DL501": "the device or its precision is not available",
    "DL503": "out of memory",
    "DL504": "the loss is not finite",
    "DL505": "the watched metric is undefined",
    "DL506": "no learning rate was found",
    "DL507": "there is nothing to train, or parameter groups are wrong",
    "DL508": "an experiment tracker cannot be reached",
    "DL509": "every trial or a fold failed",
    "DL510": "stopped by a signal",
    "DL511": "the fine-tuning mode does not fit the model",
    "DL512": "the network cannot use a model option",
    "DL513": "the library has no such model",
    "DL515": "the teacher and the student do not fit",
    "DL601": "the number of processes does not fit",
    "DL602": "this does not work with several processes",
    "DL603": "the model cannot be divided among processes this way",
    "DL605": "a process was lost",
    "DL607": "the layout cannot be estimated",
    "DL701": "optional packages are not installed",
    "DL900": "an unexpected error",
}


class DanluError(Exception):
    """Base class of everything that danlu refuses or cannot do.

    Exit code 1 unless a subclass says otherwise.

    Attributes:
        kind: the kind of problem, as programs read it: recipe, argument, data, artifact, stopped, extra or training.
        code: names the problem, a key of `CODES`; empty where a plugin's error has none.

    Example:
        >>> import danlu
        >>> try:
        ...     danlu.load("runs/none")
        ... except danlu.DanluError as error:
        ...     print(error.code, error.exit_code)
        DL301 1
    """

    exit_code = 1
    kind = "training"

    def __init__(self, message: str = "", *, code: str = "") -> None:
        self.code = code
        super().__init__(message)


@dataclass(frozen=True)
class Problem:
    """Describe one thing wrong with a recipe: place, key, message and code."""

    place: str
    key: str
    message: str
    code: str = ""

    def __str__(self) -> str:
        return ": ".join(part for part in (self.place, self.key, self.message) if part)


class RecipeError(DanluError):
    """Report a wrong recipe, with every problem found and not the first alone.

    Its code is that of the first problem.
    """

    exit_code = 2
    kind = "recipe"

    def __init__(self, *problems: Problem) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems), code=problems[0].code)

    def __reduce__(self) -> tuple[type["RecipeError"], tuple[Problem, ...]]:
        return type(self), self.problems  # copied between processes with its problems, not with their text


class ArgumentError(DanluError):
    """Report a wrong argument of a command or function."""

    exit_code = 2
    kind = "argument"


class DataError(DanluError):
    """Report wrong data: missing, unreadable, or not as the recipe says."""

    exit_code = 3
    kind = "data"


class ArtifactError(DanluError):
    """Report a run directory or bundle that cannot be written or read."""

    kind = "artifact"


class Stopped(DanluError):
    """Report a stop by a signal; the message says where the work is kept."""

    kind = "stopped"


class MissingExtra(DanluError):
    """Report optional packages that are not installed."""

    kind = "extra"


def message_with_codes(error: DanluError) -> str:
    """Return an error's message as a terminal shows it, with its code.

    The code is in brackets at the end. A wrong recipe has a line and a code for each problem.
    """
    found = error.problems if isinstance(error, RecipeError) else (error,)
    return "\n".join(f"{each} [{each.code}]" if each.code else str(each) for each in found)
