"""Charts as inline SVG that takes its colours and font from the page."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator

from markupsafe import Markup
from matplotlib import rc_context, style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Stand-ins that matplotlib accepts as colours; in the SVG they become what the style sheet says.
INK, RULE, FAINT, ACCENT = "#0a0b0c", "#0a0b0d", "#0a0b0e", "#0a0b0f"
_COLOURS = {INK: "currentColor", RULE: "var(--rule)", FAINT: "var(--faint)", ACCENT: "var(--after)"}


@contextlib.contextmanager
def axes_of_a_chart(*, height: float = 2.15) -> Iterator[tuple[Figure, Axes]]:
    """Yield a figure and its axes, dressed as the page is. height: in inches, the width being 4.4."""
    # "default" shuts out a user's matplotlibrc; text stays text, so the page's font draws it.
    with style.context("default", after_reset=True), rc_context({"svg.fonttype": "none", "svg.hashsalt": "weitiao", "font.size": 8.5}):
        figure = Figure(figsize=(4.4, height))
        figure.patch.set_alpha(0)
        below = 0.376 / height  # room for the ticks and the label of the axis
        axes = figure.add_axes((0.115, below, 0.87, 0.95 - below))
        axes.patch.set_alpha(0)
        axes.tick_params(length=0, pad=4, labelcolor=INK)
        axes.grid(axis="y", color=RULE, linewidth=0.6)
        axes.set_axisbelow(True)
        for side, spine in axes.spines.items():
            spine.set_visible(side == "bottom")
            spine.set_color(RULE)
        yield figure, axes


def as_svg(figure: Figure) -> str:
    """Return a figure as an SVG file whose bytes are always the same."""
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return file.getvalue()


def inline(svg: str, name: str, told: str) -> Markup:
    """Return an SVG file as an element: ids its own, colours and fonts the page's, size left to the style sheet."""
    svg = svg[svg.index("<svg") :]
    # Its <style> would apply to the whole page; the style sheet says the same for charts alone.
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->|<style.*?</style>|<defs>\s*</defs>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # names of groups, which nothing points to
    svg = re.sub(r'( id="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r"font-family:[^;\"]*;? ?", "", svg)
    svg = re.sub(r"\s+", " ", svg)
    for stand_in, colour in _COLOURS.items():
        svg = svg.replace(stand_in, colour)
    opening = Markup('<svg viewBox="{}" role="img" aria-label="{}"').format(re.findall(r'viewBox="([^"]*)"', svg)[0], told)
    return Markup(re.sub(r"<svg [^>]*", lambda _: str(opening), svg, count=1))  # noqa: S704 (drawn above; the one text in it is escaped)
