"""danlu export BUNDLE FOLDER"""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from danlu.cli.options import Json, OwnCode
from danlu.cli.show import print_document
from danlu.core.console import info


def export(
    bundle: Annotated[Path, Parameter(help="A bundle's or a run's folder; or a file of your own, such as model.onnx.")],
    folder: Annotated[Path, Parameter(help="The folder to write; must not exist yet.")],
    *,
    to: Annotated[
        Literal[
            "onnx",
            "openvino",
            "torch-export",
            "numpy",
            "gguf",
            "transformers",
            "sentence-transformers",
            "timm",
            "lightgbm",
        ]
        | None,
        Parameter(
            help="The form; by default that of the model's own library. numpy is for models of tables, gguf for "
            "language models."
        ),
    ] = None,
    into: Annotated[
        bool,
        Parameter(help="Write a new bundle that holds the form beside the weights, for its engine.", negative=()),
    ] = False,
    opset: Annotated[int | None, Parameter(help="Version of ONNX's operators, for onnx and openvino.")] = None,
    outtype: Annotated[
        str | None,
        Parameter(help="How gguf keeps weights: f32, f16, q8_0 (the default), q5_1, q5_0, q4_1 or q4_0."),
    ] = None,
    tolerance: Annotated[
        float | None,
        Parameter(help="Largest deviation from the bundle's answers, for onnx, openvino, torch-export and gguf."),
    ] = None,
    own_code: OwnCode = False,
    as_json: Json = False,
) -> int:
    """Write a bundle's model in another form, and verify its answers."""
    from danlu.api.export import write_export

    document = write_export(
        bundle, folder, to=to, into=into, opset=opset, outtype=outtype, tolerance=tolerance, own_code=own_code
    )
    info(f"{folder}: {'a bundle that its engine answers' if into else 'can be read without danlu'}")
    if as_json:
        print_document({"folder": str(folder), **document})
    return 0
