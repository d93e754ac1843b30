"""One trial of a mutant: a fork that runs the tests until one fails.

One rule: a trial ends. It has a time limit, a memory limit and a process of its own; dying counts
as being noticed, as a hanging or exhausted service would be.
"""

from __future__ import annotations

import inspect
import os
import resource
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

_MEMORY = 3 << 30
_SLOW = 0.05
_SURVIVED, _KILLED = 0, 1
_FOR_COROUTINES = {"event_loop_policy"}
"""What pytest-asyncio lets every test ask for."""
_MARKS = ("skip", "skipif", "xfail", "usefixtures")


@dataclass(slots=True)
class Trials:
    """The tests of a session: those that noticed something lately first, slow ones last."""

    session: pytest.Session
    order: list[int] = field(default_factory=list)
    seconds: float = 60.0

    def rehearse(self) -> str | None:
        """Runs every test once on the code as it is, and learns which of them are slow. Gives the
        name of one that fails: then no mutant can be judged."""
        taken = []
        for item in self.session.items:
            begun = time.monotonic()
            if not self._passes(item):
                return item.nodeid
            taken.append(time.monotonic() - begun)
        self.order = sorted(range(len(taken)), key=lambda index: taken[index] > _SLOW)
        self.seconds = 10 + 3 * sum(taken)
        return None

    def notices(self, change: Callable[[], int | None]) -> bool:
        """Whether a test fails after `change`, which is made in a fork. A change that gives a
        number has run the tests itself, and that is pytest's exit code."""
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            self._try(change, writing)
        os.close(writing)
        killer = os.read(reading, 2)
        os.close(reading)
        _, status = os.waitpid(child, 0)
        if killer:
            index = int.from_bytes(killer, "big")
            self.order.remove(index)
            self.order.insert(0, index)
        return status != _SURVIVED

    def _try(self, change: Callable[[], int | None], writing: int) -> None:
        """The child: never returns."""
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(int(self.seconds))
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
        silence = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(silence, stream)
        try:
            code = change()
            if code is not None:
                os._exit(_SURVIVED if code == 0 else _KILLED)
            for index in self.order:
                if not self._passes(self.session.items[index]):
                    os.write(writing, index.to_bytes(2, "big"))
                    os._exit(_KILLED)
        except BaseException:
            os._exit(_KILLED)
        os._exit(_SURVIVED)

    def _passes(self, item: pytest.Item) -> bool:
        arguments = _only_arguments(item)
        if arguments is None or not isinstance(item, pytest.Function):
            before = self.session.testsfailed
            self.session.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
            return self.session.testsfailed == before
        try:
            item.obj(**arguments)
        except (Exception, pytest.fail.Exception):
            return False
        return True


def _only_arguments(item: pytest.Item) -> dict[str, object] | None:
    """The arguments of a test that needs no more than its parameters: it can be called as it is,
    a hundred times as fast as through pytest. None for any other."""
    if not isinstance(item, pytest.Function) or inspect.iscoroutinefunction(item.obj):
        return None
    parameters: dict[str, object] = item.callspec.params if hasattr(item, "callspec") else {}
    is_marked = any(item.get_closest_marker(mark) for mark in _MARKS)
    needed = set(item.fixturenames) - set(parameters) - _FOR_COROUTINES
    return None if is_marked or needed else parameters
