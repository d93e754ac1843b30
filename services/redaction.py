"""Secrets taken out of what a peer answers.

Its one rule: what was sent as a secret is recorded nowhere, in no form that a peer which means no
harm would give it back: as it is, URL-encoded, escaped for JSON or HTML, in base64 or in hex, alone
or within a longer text. A peer that hides it on purpose cannot be caught so; which hosts get it at
all is the answer to those.

Only answers of requests that carried secrets pay for it: one search for each form through the body,
and through each of the headers.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from urllib.parse import quote, quote_plus

from engine.context import Json
from engine.errors import StepFailure
from engine.json_door import dumps
from engine.ports import HttpResponse

MASK = "***"
_PERCENT = re.compile("%[0-9A-F]{2}")
_UNICODE = re.compile(r"\\u[0-9a-f]{4}")
_NO_MARKUP = str.maketrans({each: f"\\u{ord(each):04x}" for each in "<>&"})
"""How Go and others keep JSON harmless within HTML."""
_URL_SAFE = str.maketrans("+/", "-_")
_SAFE_CHARACTERS = ("", "/", "!'()*-._~", "/:@!$&'()*+,;=-._~?")
"""What encoders leave as it is besides letters and digits: all, paths, JavaScript, queries."""


class Redaction:
    """Takes these secrets out of whatever it is given."""

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = {form for secret in secrets for form in _forms(secret)}
        # The longer first: one form may begin with another.
        self._forms = sorted(forms, key=len, reverse=True)
        self._escaped = [dumps(form)[1:-1] for form in self._forms]

    def text(self, text: str) -> str:
        """The text with a mask for every secret."""
        for form in self._forms:
            if form in text:
                text = text.replace(form, MASK)
        return text

    def json(self, value: Json) -> Json:
        """The same of a JSON value: of its texts, its keys, and numbers that spell a secret."""
        # Most answers hold none, and one search through the whole finds that out.
        whole = dumps(value)
        return self._json(value) if any(form in whole for form in self._escaped) else value

    def _json(self, value: Json) -> Json:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(key): self._json(each) for key, each in value.items()}
        if isinstance(value, list):
            return [self._json(each) for each in value]
        if value is None or isinstance(value, bool):
            return value
        return value if self.text(str(value)) == str(value) else MASK

    def response(self, response: HttpResponse) -> HttpResponse:
        """An answer without the secrets."""
        headers = {self.text(name): self.text(text) for name, text in response.headers.items()}
        body = self.json(response.body)
        if response.cut and isinstance(body, dict):
            body |= {"preview": MASK}  # it may end in the middle of a secret
        return HttpResponse(response.status, headers, body, cut=response.cut)

    def failure(self, failure: StepFailure) -> StepFailure:
        """A failure that says the same without the secrets."""
        details = None if failure.details is None else self.json(failure.details)
        return replace(failure, message=self.text(failure.message), details=details)


def _forms(secret: str) -> Iterator[str]:
    """Every form of a secret that is looked for. Each is as long as the secret, or longer, but
    for the ends of base64 that depend on what is around it."""
    yield secret
    yield secret.encode().decode("latin-1")  # read by the wrong charset, as headers are
    for safe in _SAFE_CHARACTERS:
        yield from _with_small_letters(quote(secret, safe=safe))
    yield from _with_small_letters(quote_plus(secret))
    for plain in (json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]):
        for escaped in (plain, plain.translate(_NO_MARKUP)):
            yield escaped
            yield escaped.replace("/", "\\/")
            yield json.dumps(escaped)[1:-1]
            yield _UNICODE.sub(lambda found: "\\u" + found[0][2:].upper(), escaped)
    yield html.escape(secret)
    yield html.escape(secret, quote=False)
    decimal = html.escape(secret).replace("&#x27;", "&#39;").replace("&quot;", "&#34;")
    yield decimal  # as Jinja writes it
    yield decimal.replace("+", "&#43;")  # as Go does
    raw = secret.encode()
    yield raw.hex()
    yield raw.hex().upper()
    for before in range(3):
        core = _base64_core(raw, before)
        yield core
        yield core.translate(_URL_SAFE)
        yield quote(core, safe="")


def _with_small_letters(encoded: str) -> Iterator[str]:
    yield encoded
    yield _PERCENT.sub(lambda found: found[0].lower(), encoded)


def _base64_core(raw: bytes, before: int) -> str:
    """The characters of base64 that stand for `raw` alone when so many bytes of another text,
    modulo three, come before it."""
    encoded = base64.b64encode(bytes(before) + raw).decode()
    first = -(-before * 8 // 6)
    return encoded[first : (before + len(raw)) * 8 // 6]
