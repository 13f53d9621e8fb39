"""Tables and figures of the report as plain data: what a section says, before any HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from markupsafe import Markup


@dataclass(frozen=True)
class Grid:
    """A table as text: the first cell of a row names it; columns of `words` are aligned as text and may wrap."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: tuple[int, ...] = ()


@dataclass(frozen=True)
class Block:
    """One part of a section; without a figure its grid is shown at once."""

    title: str
    text: str
    grid: Grid
    figure: Markup | None = None


def drawn(figure: Any, title: str, description: str) -> Markup:  # noqa: ANN401 - a matplotlib figure
    """A figure as SVG for the page, named for screen readers."""
    from markupsafe import Markup

    from rar_pipeline.evaluation.plots import svg

    return Markup(svg(figure, title, description))  # noqa: S704 - matplotlib escapes its text


def format_figure(value: float | None) -> str:
    """.192, as papers of the field print it; a dash where there is none."""
    return "–" if value is None else f"{value:.3f}".removeprefix("0") if 0 <= value < 1 else f"{value:.3f}"


def format_signed(value: float | None) -> str:
    """+.012 or −.004; a dash where there is none."""
    return "–" if value is None else ("−" if round(value, 3) < 0 else "+") + format_figure(abs(value))


def format_count(value: float | None) -> str:
    """12,345; a dash where there is none."""
    return "–" if value is None else f"{value:,.0f}"


def format_share(value: float | None) -> str:
    """98.2 %; a dash where there is none."""
    return "–" if value is None else f"{100 * value:.1f} %"
