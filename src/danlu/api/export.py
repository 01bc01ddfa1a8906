"""`danlu export`: write a bundle's model in another form, verified against the bundle's predictions."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from danlu.artifacts.files import StrPath, atomic_folder
from danlu.core.arguments import checked
from danlu.core.console import each_line_once, info
from danlu.errors import ArgumentError
from danlu.models.bundle_form import open_checked

if TYPE_CHECKING:
    from danlu.artifacts.bundle import Bundle


@checked
def export(
    bundle: StrPath,
    folder: str | Path,
    *,
    to: str | None = None,
    into: bool = False,
    opset: int | None = None,
    outtype: str | None = None,
    tolerance: float | None = None,
    own_code: bool = False,
) -> Path:
    """Write a bundle's model into a folder that can be read without danlu.

    A transformers model becomes a folder for `from_pretrained` and `pipeline`, a pooled encoder one for
    sentence-transformers, a timm model weights and config.json in timm's layout, boosted trees LightGBM's text file.
    `onnx`, `openvino` and `torch-export` take every family; the preparation of a table and what is done to answers
    are inside where the form can hold them. `danlu.json`, beside the files, names what is inside and what is not. The
    files are read back by their own engine and must answer as the bundle does.

    Args:
        bundle: folder of a bundle or a run; or a file of one's own, `model.onnx`, or a folder of safetensors with its
            config.json.
        folder: must not exist yet.
        to: onnx, openvino, torch-export, transformers, sentence-transformers, timm or lightgbm; by default the model's
            own library; or numpy, a table model as plain numpy with a program that answers rows; or gguf, a language
            model for llama.cpp.
        into: write a new bundle that holds the form beside the weights, for danlu's own engines.
        opset: version of ONNX's operators, for onnx and openvino; 20 by default.
        outtype: how gguf keeps weights: f32, f16, q8_0 (the default), q5_1, q5_0, q4_1 or q4_0.
        tolerance: the largest deviation from the bundle's answers, 1e-4 by default; of numbers in deviations of the
            target, relative where an answer is larger than 1. For the first three forms, and gguf, where it follows
            from the type of the weights.
        own_code: import the module that the bundle names, if its model is your own.

    Returns:
        the folder.

    Raises:
        ArgumentError: the folder exists, or the model has no such form.
        ArtifactError: the bundle is damaged, or the written model predicts something else.
        MissingExtra: packages that write or read the form are not installed.

    Example:
        >>> import danlu
        >>> trees = {"name": "trees", "data": {"source": "builtin:wine"}, "model": {"name": "boosting", "rounds": 5}}
        >>> run = danlu.train(trees, name="trees")
        >>> sorted(file.name for file in danlu.export(run, "exported").iterdir())
        ['README.md', 'danlu.json', 'lightgbm.txt']
    """
    write_export(bundle, folder, to=to, into=into, opset=opset, outtype=outtype, tolerance=tolerance, own_code=own_code)
    return Path(folder)


@each_line_once()
def write_export(
    bundle: StrPath,
    folder: str | Path,
    *,
    to: str | None,
    into: bool,
    opset: int | None,
    outtype: str | None,
    tolerance: float | None,
    own_code: bool,
) -> dict[str, Any]:
    """Write like `export`, and return the document of what was written."""
    from danlu.exporters.forms import FORMS, TOLERANCE
    from danlu.exporters.own_files import is_own_file

    target = Path(folder)
    if target.exists():
        raise ArgumentError(f"{target}: exists already; choose another folder", code="DL404")
    if outtype is not None and to != "gguf":
        raise ArgumentError("--outtype is for --to gguf; give both", code="DL401")
    if to not in FORMS:
        _require_form(to, into, opset, tolerance)
    allowed = TOLERANCE if tolerance is None else tolerance
    if not 0 < allowed < float("inf"):
        raise ArgumentError(f"--tolerance {allowed:g}: must be above 0, such as {TOLERANCE:g}", code="DL402")
    if to is not None and to in FORMS and opset is not None and not FORMS[to].takes_opset:
        raise ArgumentError(f"--opset is of ONNX's operators, which {to} has none of", code="DL401")
    if is_own_file(Path(bundle)):
        return _write_own_file(Path(bundle), target, to, into, opset, outtype, tolerance)
    opened = open_checked(bundle)
    if to == "numpy":
        from danlu.exporters.edge.write import write_edge

        with atomic_folder(target) as written:
            document = write_edge(opened, written)
        _say_check(document)
        return document
    if to == "gguf":
        return _write_gguf(opened, target, outtype, tolerance, own_code)
    if to is not None and to in FORMS:
        return _write_form(opened, target, to, into, opset, allowed, own_code)
    return _write_for_library(opened, target, to, own_code)


def _write_own_file(
    path: Path,
    target: Path,
    to: str | None,
    into: bool,
    opset: int | None,
    outtype: str | None,
    tolerance: float | None,
) -> dict[str, Any]:
    """Write a model without a bundle in another form."""
    from danlu.exporters.own_files import write_own_file

    if into:
        raise ArgumentError(f"--into writes a new bundle, and {path} is none; leave it out", code="DL401")
    with atomic_folder(target) as written:
        document = write_own_file(path, written, to, opset, outtype, tolerance)
    _say_check(document)
    return document


def _require_form(to: str | None, into: bool, opset: int | None, tolerance: float | None) -> None:
    """Raise ArgumentError for options that a library's own format does not have."""
    from danlu.exporters.forms import FORMS

    given = {"--into": into, "--opset": opset is not None}
    if to != "gguf":
        given["--tolerance"] = tolerance is not None
    engines = [name for name, form in FORMS.items() if form.write_network is not None]
    versioned = [name for name, form in FORMS.items() if form.takes_opset]
    forms = {"--into": engines, "--opset": versioned, "--tolerance": [*FORMS, "gguf"]}
    for name, is_given in given.items():
        if is_given:
            raise ArgumentError(f"{name} is for --to {', '.join(forms[name])}; give one of them", code="DL401")


def _write_form(
    bundle: "Bundle", target: Path, to: str, into: bool, opset: int | None, tolerance: float, own_code: bool
) -> dict[str, Any]:
    """Write one of the forms of engines."""
    from danlu.exporters.document import write_documents
    from danlu.exporters.forms import write_form
    from danlu.exporters.into import write_into
    from danlu.models.predictor import Predictor

    predictor = Predictor.load(bundle, engine="torch", own_code=own_code)
    with atomic_folder(target) as written:
        if into:
            document = write_into(to, predictor, bundle, written, opset, tolerance, own_code)
        else:
            document = write_form(to, predictor, bundle, written, opset, tolerance)
            write_documents(document, written)
    _say_check(document)
    return document


def _write_gguf(
    bundle: "Bundle", target: Path, outtype: str | None, tolerance: float | None, own_code: bool
) -> dict[str, Any]:
    """Write a language model's file for llama.cpp."""
    from danlu.exporters.document import write_documents
    from danlu.exporters.gguf.write import write_gguf
    from danlu.models.predictor import Predictor

    predictor = Predictor.load(bundle, engine="torch", own_code=own_code)
    with atomic_folder(target) as written:
        document = write_gguf(predictor, bundle, written, outtype, tolerance)
        write_documents(document, written)
    _say_check(document)
    return document


def _write_for_library(bundle: "Bundle", target: Path, to: str | None, own_code: bool) -> dict[str, Any]:
    """Write the format of the model's own library."""
    from danlu.exporters.document import compare_answers, describe_export, write_documents
    from danlu.exporters.table import EXPORTERS, choose_format
    from danlu.models.answer_folding import unfolded
    from danlu.models.predictor import Predictor

    predictor = Predictor.load(bundle, engine="torch", own_code=own_code)
    golden, name = bundle.golden(), choose_format(predictor, to)
    exporter, check = EXPORTERS[name], None
    with atomic_folder(target, replaces=False) as written:
        placement = exporter.write(predictor, written)
        again = exporter.read(predictor, written)
        if again is None:
            info(f"not compared with the bundle: {exporter.package} is not installed here")
        elif golden is not None:
            read_back = predictor.with_model(unfolded(again, placement.folded))
            read_back.replay(golden)
            check = compare_answers(predictor, read_back, exporter.package, golden)
            difference = f"(largest difference {check['max_deviation']:.1g})"
            info(f"read back, it reproduces the bundle's golden samples {difference}")
        document = describe_export(predictor, name, written, placement, check)
        write_documents(document, written)
    for step in placement.outside:
        info(f"not inside the exported model, see danlu.json: {step.what}")
    return document


def _say_check(document: dict[str, Any]) -> None:
    """Say how far the written answers are off, and what is left to others."""
    check = document["check"]
    if check is not None:
        info(
            f"{check['engine']} answers as the bundle does on {check['rows']} rows (largest difference "
            f"{check['max_deviation']:.1g})"
        )
    for what in dict.fromkeys(step["what"] for step in document["outside"]):
        info(f"not inside the exported model, see danlu.json: {what}")
