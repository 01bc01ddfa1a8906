"""The public functions of danlu, one module per verb, and the two tables that name them.

A verb only composes: it opens artifacts, passes values from stage to stage and writes the results. A new verb is
`api/NAME.py`, `cli/NAME.py`, a line in `COMMANDS`, and its import in `danlu/__init__.py` for editors and type checkers.
"""

# Command -> help, in the order of `danlu --help`. Modules are named by string, so that --help imports none of them.
COMMANDS: dict[str, str] = {
    "run": "Every stage that a recipe names: data, model, training, evaluation, report.",
    "new": "Inspect data and write a commented recipe for it.",
    "check": "Validate a recipe, profile its data and audit it for leakage; train nothing.",
    "plan": "Predict memory, FLOPs and time of a training; suggest settings if it does not fit.",
    "models": "List the models a recipe may name, with parameters and FLOPs.",
    "train": "Train a model into a run directory; evaluate it later.",
    "tune": "Search over recipes: train many, keep the one that validates best.",
    "evaluate": "Evaluate a run's model on its validation and test splits; write the report.",
    "report": "Draw a run's report again from its files, in any language; compute nothing.",
    "predict": "Predict every row of a file, folder or glob with a bundle.",
    "explain": "Say what each column, word or pixel adds to an answer, with intervals.",
    "generate": "Continue a text or answer a conversation with a language model.",
    "chat": "Talk with a language model in the terminal: history, streaming, stop.",
    "serve": "Answer requests over HTTP from bundles: batches, versions, reloads without a lost request.",
    "replay": "Answer a server's log again, and show where answers differ.",
    "export": "Write a bundle's model in its library's own format, and say what is not inside it.",
    "compress": "Make a run's model smaller or faster by steps, and write it as a bundle.",
    "deploy": "Write what serves a bundle (container, Kubernetes, edge) or trains a recipe on a cluster.",
    "sign": "Sign a bundle, so that a server can tell who made it.",
    "visualize": "Draw what a recipe does to its data, or what a network is and does.",
    "compare": "Compare runs on the test rows they share, by paired intervals.",
    "runs": "List runs.",
    "schema": "Print the recipe's JSON Schema, for editors.",
    "doctor": "Check this installation, a run or the cache, and say how to fix problems.",
}
# Function -> its module. `models` would hide the package danlu.models; `resume` shares a module with `train`.
FUNCTIONS: dict[str, str] = {
    name: f"danlu.api.{name}" for name in ("list_models" if command == "models" else command for command in COMMANDS)
} | {"batch": "danlu.api.batch", "load": "danlu.api.load", "resume": "danlu.api.train"}
