"""What a first-time user reads when the service has started.

Its one rule: every line of it can be pasted into a shell as it stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from shlex import quote

import orjson

from services.bootstrap import Example

_MAKE_KEY = ".venv/bin/quart --app app keys create --user 1 --scope admin"
_ANY_HOST = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}


def welcome(
    host: str, port: int, key_file: Path, examples: Sequence[Example], first_key: str | None
) -> str:
    """The text: where the service is, where the key is, and what to try."""
    url = f"http://{_ANY_HOST.get(host, f'[{host}]' if ':' in host else host)}:{port}"
    said = [
        "",
        f"WaddleBot Workflow Core is running on {url}  (API page: {url}/docs)",
    ]
    there = key_file.exists()
    if there:
        said.append(f"Your admin API key is in {key_file}")
    else:
        said += [
            f"{key_file} with the first admin API key is gone. To make another:",
            f"  {_MAKE_KEY}",
        ]
    if first_key is not None:
        said.append(f"It is shown this once: {first_key}")
    if examples and there:
        simplest = min(examples, key=lambda example: len(orjson.dumps(example.request)))
        said += ["", "Examples: " + ", ".join(example.name for example in examples)]
        said += ["", "Try:", *_lines(url, key_file, simplest)]
    return "\n".join([*said, ""])


def _lines(url: str, key_file: Path, example: Example) -> list[str]:
    base = f"{url}/api/v1/workflows"
    body = quote(orjson.dumps(example.request).decode())
    curl = "curl -s -w '\\n' -H \"X-API-Key: $KEY\""
    return [
        f"  KEY=$(cat {quote(str(key_file))})",
        f'  {curl} "{base}?limit=5"',
        f"  {curl} -H 'Content-Type: application/json' -d {body} \\",
        f'    "{base}/{example.workflow_id}/execute?wait=10"',
        f'  {curl} "{base}/{example.workflow_id}/executions"',
    ]
