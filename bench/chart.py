"""The chart of a run: how much of each target is used, and how many times as fast as peers it is.

Plain SVG, so that it stands in the repository as text and a page shows it as it is.
"""

from __future__ import annotations

from html import escape
from math import ceil, log10

from bench.measure import Figure

ROW, LABEL, BARS, VALUE = 20, 430, 380, 90
WIDTH = LABEL + BARS + VALUE
MOST = 1.5
"""What is beyond it is cut: so much too much is seen as well."""
GOOD, BAD, PEER, GREY = "#2f855a", "#c53030", "#2b6cb0", "#718096"


def chart(figures: list[Figure], heading: str) -> str:
    """An SVG document of the figures that have a target of one number, or a peer."""
    targets = [(each, share) for each in figures if (share := each.share_of_target) is not None]
    peers = [each for each in figures if each.beside_a_peer]
    drawn = [_text(10, 22, heading, size=12, colour=GREY)]
    top = 40
    if targets:
        drawn += _against_targets(targets, top)
        top += ROW * (len(targets) + 2) + 10
    if peers:
        drawn += _against_peers(peers, top)
        top += ROW * (len(peers) + 2)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{top}"'
        f' viewBox="0 0 {WIDTH} {top}" font-family="sans-serif">\n'
        f'<rect width="{WIDTH}" height="{top}" fill="white"/>\n' + "\n".join(drawn) + "\n</svg>\n"
    )


def _against_targets(rows: list[tuple[Figure, float]], top: int) -> list[str]:
    title = "Share of what the target allows that is used (up to the line is within it)"
    line, bottom = LABEL + BARS / MOST, top + ROW * (len(rows) + 1) + 4
    drawn = [
        _text(10, top + 14, title, weight="bold"),
        f'<path d="M{line:.1f} {top + ROW}V{bottom}" stroke="black" stroke-dasharray="4 3"/>',
    ]
    for number, (figure, share) in enumerate(rows):
        y = top + ROW * (number + 1) + 4
        colour = GOOD if share <= 1 else BAD
        length = BARS * min(max(share, 0), MOST) / MOST
        drawn += _row(y, f"{figure.workload}  {figure.what}  ({figure.target})", length, colour)
        drawn.append(_text(LABEL + length + 6, y + 14, f"{share:.0%}"))
    return drawn


def _against_peers(rows: list[Figure], top: int) -> list[str]:
    drawn = [_text(10, top + 14, "Times as fast as a peer (each step is ten times)", weight="bold")]
    decades = max(ceil(log10(max(each.middle for each in rows) + 1)), 1)
    bottom = top + ROW * (len(rows) + 1) + 4
    for decade in range(decades + 1):
        x = LABEL + BARS * decade / decades
        drawn.append(f'<path d="M{x:.1f} {top + ROW}V{bottom}" stroke="#cbd5e0"/>')
        drawn.append(_text(x - 6, bottom + 14, f"{10**decade:,}", size=11, colour=GREY))
    for number, figure in enumerate(rows):
        y = top + ROW * (number + 1) + 4
        length = BARS * max(log10(max(figure.middle, 1e-9)), 0) / decades
        colour = PEER if figure.middle >= 1 else BAD
        drawn += _row(y, f"{figure.workload}  {figure.what}", length, colour)
        drawn.append(_text(LABEL + length + 6, y + 14, f"{figure.middle:,.1f} x"))
    return drawn


def _row(y: int, label: str, length: float, colour: str) -> list[str]:
    return [
        _text(10, y + 14, label),
        f'<rect x="{LABEL}" y="{y + 3}" width="{max(length, 1):.1f}" height="{ROW - 6}"'
        f' fill="{colour}"/>',
    ]


def _text(
    x: float, y: float, text: str, *, size: int = 12, weight: str = "normal", colour: str = "black"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y}" font-size="{size}" font-weight="{weight}" fill="{colour}"'
        ' stroke="white" stroke-width="3" paint-order="stroke" xml:space="preserve">'
        f"{escape(text)}</text>"
    )
