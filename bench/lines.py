"""Lines over time, one panel above the other, as plain SVG."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT, LEFT, RIGHT, TOP = 760, 130, 70, 20, 40
COLOUR, GREY = "#2b6cb0", "#718096"


@dataclass(frozen=True, slots=True)
class Panel:
    """A line: what it shows, and its values in the order of the times."""

    title: str
    values: list[float]


def lines(heading: str, minutes: list[float], panels: list[Panel]) -> str:
    """An SVG document. Every panel begins at nought, so that what is flat looks flat."""
    height = TOP + len(panels) * (HEIGHT + 50)
    drawn = [_text(10, 22, heading, GREY)]
    for number, panel in enumerate(panels):
        drawn += _panel(panel, minutes, TOP + number * (HEIGHT + 50))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}"'
        f' viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">\n'
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>\n'
        + "\n".join(drawn)
        + "\n</svg>\n"
    )


def _panel(panel: Panel, minutes: list[float], top: int) -> list[str]:
    bottom, most = top + 20 + HEIGHT, max([*panel.values, 1]) * 1.15
    across, longest = WIDTH - LEFT - RIGHT, max(minutes[-1], 1e-9)
    points = " ".join(
        f"{LEFT + across * at / longest:.1f},{bottom - HEIGHT * value / most:.1f}"
        for at, value in zip(minutes, panel.values, strict=True)
    )
    low, high = min(panel.values), max(panel.values)
    return [
        _text(LEFT, top + 14, f"{panel.title}: {low:,.0f} to {high:,.0f}", "black"),
        f'<path d="M{LEFT} {top + 20}V{bottom}H{WIDTH - RIGHT}" fill="none" stroke="{GREY}"/>',
        _text(10, top + 30, f"{most:,.0f}", GREY),
        _text(10, bottom, "0", GREY),
        _text(WIDTH - RIGHT - 60, bottom + 16, f"{longest:.0f} min", GREY),
        f'<polyline points="{points}" fill="none" stroke="{COLOUR}" stroke-width="2"/>',
    ]


def _text(x: float, y: float, text: str, colour: str) -> str:
    return f'<text x="{x:.1f}" y="{y}" font-size="12" fill="{colour}">{escape(text)}</text>'
