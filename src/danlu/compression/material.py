"""Open what a compression starts from: a run with its data, and the bundle that is to become smaller."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from danlu.artifacts.bundle import MANIFEST, Bundle
from danlu.artifacts.files import StrPath, translate_write_errors
from danlu.artifacts.ownership import RECIPE
from danlu.artifacts.run import RunDirectory
from danlu.artifacts.run_recipe import load_run_recipe
from danlu.compression.base import Candidate, Material
from danlu.errors import ArgumentError, ArtifactError
from danlu.experiment.run_data import load_run_data, with_stored_reference
from danlu.models.bundle_form import open_checked

COMPRESSED = "compressed"  # folder of a run
SCRATCH = ".compressing-"  # begins the name of a folder for what steps write on the way


def find_run(path: StrPath) -> tuple[RunDirectory, Path]:
    """Return the run of a path, and the folder of the bundle that is meant.

    Args:
        path: a run; or a bundle inside one, as RUN/model or RUN/compressed/p7.

    Raises:
        ArgumentError: there is none.
    """
    given = Path(path)
    if (given / RECIPE).is_file() and (given / "model" / MANIFEST).is_file():
        return RunDirectory(given), given / "model"
    if (given / MANIFEST).is_file():
        for folder in given.resolve().parents:
            if (folder / RECIPE).is_file() and (folder / "model" / MANIFEST).is_file():
                return RunDirectory(folder), given
        raise ArgumentError(
            f"{path}: is a bundle without its run, and compression needs the run's recipe.yaml and data/ to calibrate, "
            "fine-tune and judge on; give the run that trained it, or a bundle inside one",
            code="DL406",
        )
    raise ArgumentError(
        f"{path}: is no finished run (it needs {RECIPE} and model/{MANIFEST}); `danlu runs` lists them", code="DL406"
    )


@contextmanager
def open_material(path: StrPath, *, own_code: bool = False) -> Iterator[Material]:
    """Open a run's data and its model for compression.

    What steps write on the way is deleted at the end.

    Args:
        path: as `find_run` takes it.
        own_code: whether the bundle's own code may run.

    Raises:
        ArgumentError: there is no run, or its model cannot be compressed again.
        ArtifactError, DataError: the run is damaged, or its data has changed.
    """
    from danlu.models.predictor import Predictor

    run, folder = find_run(path)
    recipe = load_run_recipe(run.path / RECIPE)
    bundle = open_checked(folder)
    require_uncompressed_form(bundle)
    if bundle.golden() is None:
        raise ArtifactError(
            f"{folder}: holds no golden samples, by which a smaller model is checked; evaluate the run first "
            f"(danlu evaluate {run.path})",
            code="DL301",
        )
    context = with_stored_reference(load_run_data(recipe, run), run)
    predictor = Predictor.load(bundle, engine="torch", own_code=own_code, recipe_model=context.model)
    with translate_write_errors(run.path), TemporaryDirectory(prefix=SCRATCH, dir=run.path) as scratch:
        yield Material(run, context, bundle, predictor, Path(scratch))


def require_uncompressed_form(bundle: Bundle) -> None:
    """Raise ArgumentError for a bundle in whose form no step can go on."""
    from danlu.compression.table import STEPS

    last = [step for step in bundle.manifest.steps if step.get("name") in STEPS and STEPS[step["name"]].is_last]
    if last:
        raise ArgumentError(
            f"{bundle.folder}: was made by the step {last[0]['name']}, after which nothing can follow; compress the "
            "run it came from with all steps at once, that one last",
            code="DL409",
        )


def first_candidate(material: Material) -> Candidate:
    """Return the original as a candidate on which nothing was done."""
    from copy import deepcopy

    manifest, predictor = material.bundle.manifest, material.predictor
    network = deepcopy(predictor.model).cpu().float().eval()
    return Candidate(predictor.options, network, manifest.structure, engines=manifest.engines, steps=manifest.steps)
