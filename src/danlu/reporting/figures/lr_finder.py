"""The plot of a learning-rate range test: a file of its own, `lr-range.svg` in the run."""

from collections.abc import Sequence

from danlu.reporting.figures.svg import FAINT, FIRST, INK, WIDTH, new_figure, standalone_svg
from danlu.reporting.format import format_number


def lr_finder_plot(rates: Sequence[float], losses: Sequence[float], suggested: float) -> str:
    """Plot smoothed loss by learning rate and the suggestion, as SVG text."""
    with new_figure(WIDTH, 2.7) as figure:
        axis = figure.subplots()
        axis.plot(rates, losses, color=FIRST, linewidth=2.0)
        axis.axvline(suggested, color=INK, linewidth=1.0, linestyle=":", label=f"suggested: {suggested:.2g}")
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter("{x:g}")  # the default writes powers in TeX, which needs parse_math
        axis.set(xlabel="learning rate", ylabel="training loss, smoothed")
        # Only that training diverges matters, not how far.
        axis.set_ylim(top=min(max(losses), 1.5 * losses[0]) if losses[0] > 0 else None)
        axis.grid(axis="y", color=FAINT, linewidth=0.5)
        axis.set_axisbelow(True)
        axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0))
        told = (
            f"Training loss by learning rate from {rates[0]:.0e} to {rates[-1]:.2g}: {format_number(losses[0])} at "
            f"first, {format_number(min(losses))} at best; suggested {suggested:.2g}"
        )
        return standalone_svg(figure, "lr-range", told)
