"""The stage of a run that draws its network, where the recipe asks for it.

In: a run whose bundle is written, and its data. Out: files in the run's folder `visualize`.
"""

from danlu.artifacts.run import RunDirectory
from danlu.experiment.data_context import DataContext
from danlu.reporting.i18n import get_translator
from danlu.reporting.sections.network import FOLDER


def visualize_run(context: DataContext, run: RunDirectory, language: str) -> None:
    """Draw the pictures that the recipe asks for; say which this model cannot have.

    Args:
        context: the run's own data.
        run: with its bundle.
        language: of the pictures.
    """
    options = context.recipe.visualization
    if options is None:
        return
    from danlu.experiment.inspected import run_subject_of
    from danlu.experiment.picture_files import write_pictures
    from danlu.experiment.visualization import pictures_of

    subject = run_subject_of(context, run, options.rows)
    pictures = pictures_of(subject, options.pictures, is_asked=False)
    write_pictures(get_translator(language), subject.name, len(subject.dataset), pictures, run.path / FOLDER)
