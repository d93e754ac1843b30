"""`python -m sabotage [name …] [--list]`: breaks each promise in a copy of the source, and demands
that the tests go red.

Prints a table. Fails if a sabotage stays green, or does not fit the code any more.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from sabotage.catalogue import SABOTAGES
from sabotage.change import Sabotage
from sabotage.trial import Rotten, attempt, rehearse

_LINE = "{:32} {:5} {:>7}  {}"


def chosen(names: Sequence[str]) -> list[Sabotage]:
    """The sabotages with these names, all if there are none. Raises `LookupError`."""
    known = {sabotage.name: sabotage for sabotage in SABOTAGES}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise LookupError(f"there is no sabotage {unknown[0]!r}; see --list")
    return [known[name] for name in names] or list(SABOTAGES)


def try_all(sabotages: Sequence[Sabotage]) -> int:
    """Tries one after the other and prints the table; how many went unnoticed or do not fit."""
    unnoticed = 0
    print(_LINE.format("sabotage", "", "seconds", "noticed by"))
    for sabotage in sabotages:
        try:
            trial = attempt(sabotage)
        except Rotten as rotten:
            unnoticed += 1
            print(rotten, file=sys.stderr, flush=True)
            continue
        unnoticed += trial.noticed_by is None
        shown = trial.noticed_by or f"NOBODY, although {sabotage.promise}"
        line = _LINE.format(sabotage.name, sabotage.guarantee, f"{trial.seconds:.1f}", shown)
        print(line, flush=True)
    print(f"{len(sabotages) - unnoticed} of {len(sabotages)} sabotages were noticed")
    return unnoticed


def main() -> int:
    """The command: 1 unless every sabotage was noticed."""
    parser = argparse.ArgumentParser(prog="python -m sabotage", description=__doc__)
    parser.add_argument("names", nargs="*", help="such as flush-without-fence; all without any")
    parser.add_argument("--list", action="store_true", help="only name them and what they break")
    parser.add_argument(
        "--no-rehearsal", action="store_true", help="take it that the tests pass without a change"
    )
    asked = parser.parse_args()
    try:
        sabotages = chosen(asked.names)
    except LookupError as unknown:
        parser.error(str(unknown.args[0]))
    if asked.list:
        for each in sabotages:
            print(f"{each.name:32} {each.guarantee:5} breaks: {each.promise}")
        return 0
    failing = None if asked.no_rehearsal else rehearse(sabotages)
    if failing is not None:
        print(f"the tests fail without any change:\n{failing}", file=sys.stderr)
        return 1
    return 1 if try_all(sabotages) else 0


if __name__ == "__main__":
    sys.exit(main())
