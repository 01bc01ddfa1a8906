"""Figures of the pages: matplotlib's or hand-written SVG in the page's colours."""
