"""The world of attacks is that of the API's tests: the whole service and its clients."""

from __future__ import annotations

from tests.controllers.conftest import api, log, service

__all__ = ["api", "log", "service"]
