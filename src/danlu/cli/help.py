"""`--help` in the language of the terminal's user."""

from typing import TYPE_CHECKING, Any

from danlu.cli.show import shown

if TYPE_CHECKING:
    from cyclopts.help import HelpPanel
    from rich.console import Console, ConsoleOptions


class TranslatedHelp:
    """Render help as cyclopts does, its texts translated before."""

    def __call__(self, console: "Console", options: "ConsoleOptions", panel: "HelpPanel") -> None:
        from cyclopts.help.formatters import DefaultFormatter

        title = shown(panel.title) if isinstance(panel.title, str) else panel.title
        entries = [entry.copy(description=_translated(entry.description)) for entry in panel.entries]
        DefaultFormatter()(console, options, panel.copy(title=title, entries=entries))

    def render_description(self, console: "Console", options: "ConsoleOptions", description: Any) -> None:
        from cyclopts.help.formatters import DefaultFormatter

        DefaultFormatter().render_description(console, options, _translated(description))

    def render_usage(self, console: "Console", options: "ConsoleOptions", usage: Any) -> None:
        from cyclopts.help.formatters import DefaultFormatter

        DefaultFormatter().render_usage(console, options, usage)


def _translated(description: Any) -> Any:
    """Return a description with its text translated.

    What cyclopts adds to it (defaults, choices) stays as it is.
    """
    from cyclopts.help import InlineText
    from rich.markdown import Markdown

    if not isinstance(description, InlineText) or not isinstance(description.primary_renderable, Markdown):
        return description
    told = InlineText(
        Markdown(shown(description.primary_renderable.markup)), force_empty_end=description.force_empty_end
    )
    told.texts = description.texts
    return told
