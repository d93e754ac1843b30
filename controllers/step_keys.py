"""How the key of a step stands in a path: as it is, to the path's end.

Its one rule: whatever can be a node's id leads to its step, one that begins with a slash as well.
"""

from __future__ import annotations

from werkzeug.routing import PathConverter


class StepKeyConverter(PathConverter):
    """As `path`, which takes slashes, but none at the beginning."""

    regex = ".+?"
    part_isolating = False  # which a subclass has to say anew
