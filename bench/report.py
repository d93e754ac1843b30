"""What a run of the benchmark leaves: its JSON, its chart, and the README's figures.

`python -m bench.report` puts the newest committed result into the README, between the marks;
with `--all` it prints the whole table instead. The one rule: nobody types a figure.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.chart import chart
from bench.measure import Figure, table

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).parent / "results"
README = ROOT / "README.md"
BEGIN, END = "<!-- bench:begin -->\n", "<!-- bench:end -->"
WHOLE = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9].json"
"""The names of results with every workload."""


@dataclass(slots=True)
class Report:
    """One run: where and when, what was measured, and what was not and why."""

    machine: str
    quick: bool = False
    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    figures: list[Figure] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    """Of the peers and servers that were measured as well."""
    skipped: list[str] = field(default_factory=list)
    failed: bool = False
    """Whether a workload of ours is among what was skipped."""

    def __str__(self) -> str:
        """The whole table with what is needed to read it."""
        return "\n".join([self._heading(), "", table(self.figures), *self._notes()])

    @property
    def chosen(self) -> list[Figure]:
        """Those with a target, beside a peer or beside the default server."""
        return [
            figure
            for figure in self.figures
            if figure.target or figure.beside_a_peer or figure.beside_the_default
        ]

    def for_readme(self, image: str | None) -> str:
        """The block of the README, with the chart if there is one at `image`."""
        lines = [self._heading(), "", table(self.chosen), *self._notes()]
        block = "\n```text\n" + "\n".join(lines) + "\n```\n\n"
        return block + (f"![The same figures as bars]({image})\n\n" if image else "")

    def as_json(self) -> dict[str, object]:
        return {
            "at": self.at.isoformat(timespec="seconds"),
            "machine": self.machine,
            "quick": self.quick,
            "versions": self.versions,
            "skipped": self.skipped,
            "figures": [figure.as_json() for figure in self.figures],
        }

    def save(self, file: Path) -> None:
        """Writes the JSON."""
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(self.as_json(), indent=1) + "\n", encoding="utf-8")

    def draw(self, file: Path) -> None:
        """Writes the chart."""
        file.write_text(chart(self.figures, self._heading()), encoding="utf-8")

    def _heading(self) -> str:
        return (
            f"{self.at:%Y-%m-%d}: {self.machine}; fsync and synchronous_commit on;"
            " medians, in turn with their floors"
        )

    def _notes(self) -> list[str]:
        peers = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        skipped = [f"not measured: {each}" for each in self.skipped]
        return [*([f"\nwith {peers}"] if peers else []), *skipped]


def load(file: Path) -> Report:
    """A saved run."""
    saved: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    figures = [
        Figure(each["workload"], each["what"], each["unit"], each["rounds"], each["target"])
        for each in saved["figures"]
    ]
    return Report(
        machine=saved["machine"],
        quick=saved["quick"],
        at=datetime.fromisoformat(saved["at"]),
        figures=figures,
        versions=saved.get("versions", {}),
        skipped=saved.get("skipped", []),
    )


def newest() -> Path:
    """The newest result that is committed with every workload."""
    return max(RESULTS.glob(WHOLE))


def with_figures(text: str, file: Path) -> str:
    """A README with the figures of a result between its marks."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    assert begin, f"the README has no {BEGIN.strip()}"
    assert end, f"the README has no {END}"
    drawn = file.with_suffix(".svg")
    image = str(drawn.relative_to(ROOT)) if drawn.exists() else None
    return before + begin + load(file).for_readme(image) + end + after


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.report", description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, default=newest(), help="a saved result")
    parser.add_argument("--all", action="store_true", help="print the whole table")
    given = parser.parse_args()
    if given.all:
        print(load(given.file))
        return
    file = given.file.resolve()
    README.write_text(with_figures(README.read_text(encoding="utf-8"), file), encoding="utf-8")
    print(f"README.md shows {file.name}")


if __name__ == "__main__":
    main()
