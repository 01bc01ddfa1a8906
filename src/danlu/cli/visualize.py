"""danlu visualize RECIPE|RUN|BUNDLE|FOLDER|FILE [DATA] --only graph"""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from danlu.cli.options import Json, Lang, Overrides, Overwrite
from danlu.cli.show import print_json
from danlu.core.console import info


def visualize(
    source: Annotated[
        str,
        Parameter(
            help="A recipe, a run, a bundle, a folder of transformers or timm, or a file: .safetensors, .gguf, .onnx."
        ),
    ],
    data: Annotated[
        str | None,
        Parameter(
            help="Of an .onnx file: rows that its activations are measured on, a table with its columns or an .npz "
            "file with an array for each input."
        ),
    ] = None,
    *,
    only: Annotated[
        str | None,
        Parameter(
            help="Pictures, joined by commas. Of a recipe: augment (training samples next to their augmented versions) "
            "or graph. Of all else every one that the model can have: graph, features, activations, weights, "
            "attention, embeddings, curves, gradients, landscape, confusion."
        ),
    ] = None,
    against: Annotated[
        Path | None,
        Parameter(help="A bundle, run, export or ONNX file to compare with, layer by layer on the same rows."),
    ] = None,
    threshold_db: Annotated[
        float, Parameter(help="With --against: signal to noise, in dB, under which a layer counts as parted.")
    ] = 20.0,
    rows: Annotated[int, Parameter(help="Of a run: rows that the network is run on; 0 for a few hundred.")] = 0,
    output: Annotated[
        Path | None,
        Parameter(
            name=["--output", "-o"],
            help="The folder for the pictures; for augment the file: .png for images, .html for texts and tables.",
        ),
    ] = None,
    samples: Annotated[int, Parameter(help="For augment: number of training samples.")] = 6,
    epochs: Annotated[int, Parameter(help="For augment: number of epochs.")] = 6,
    overrides: Overrides = (),
    lang: Lang = None,
    own_code: Annotated[bool, Parameter(help="Allow code outside danlu that the model names.", negative=())] = False,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Draw what a recipe does to its data, or what a network is and does."""
    from danlu.api.visualize import visualize as visualize_verb
    from danlu.inspection.weight_files import SUFFIXES
    from danlu.recipe.load import load_recipe

    is_recipe = not Path(source).is_dir() and Path(source).suffix.lower() not in SUFFIXES
    found = visualize_verb(
        load_recipe(source, overrides=overrides) if is_recipe else source,
        data=data,
        only=only,
        against=against,
        threshold_db=threshold_db,
        rows=rows,
        output=output,
        samples=samples,
        epochs=epochs,
        language=lang,
        own_code=own_code,
        overwrite=overwrite,
    )
    if json:
        print_json(found.json)
        return
    for file in found.files:
        info(f"wrote {file}")
