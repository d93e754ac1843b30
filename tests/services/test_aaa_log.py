"""The AAA log: its exact form, and that no input can forge a line or leak a secret."""

from __future__ import annotations

import io
import json
import logging
import re
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.ports import EngineLog
from services.aaa_log import MAX_VALUE, AaaLog, LibraryHandler, LogFormat, route_library_logs

KEY = "wa-" + "0123456789abcdef" * 4


class Written:
    """A log at noon, and what it has written."""

    def __init__(self, level: str = "INFO", format: LogFormat = "text") -> None:
        self.stream = io.StringIO()
        noon = datetime(2025, 12, 9, 12, 0, 0, 900_000, tzinfo=UTC)
        self.log = AaaLog(self.stream, level=level, format=format, now=lambda: noon)

    @property
    def lines(self) -> list[str]:
        return self.stream.getvalue().split("\n")[:-1]

    @property
    def line(self) -> str:
        [line] = self.lines
        return line


def test_a_line_has_exactly_the_documented_form() -> None:
    written = Written()

    written.log.audit(
        "execute_workflow", "SUCCESS", community=123, user=456, execution_id="0198-a", ms=1.5
    )

    assert written.line == (
        "[2025-12-09T12:00:00Z] INFO workflow_core_module AUDIT community=123 user=456 "
        "action=execute_workflow result=SUCCESS execution_id=0198-a ms=1.5"
    )


def test_each_category_has_its_method_and_only_success_is_quiet() -> None:
    written = Written()

    written.log.auth("login", "SUCCESS")
    written.log.authz("can_view", "DENIED", user=1)
    written.log.audit("publish", "FAILURE")
    written.log.error("claim")
    written.log.system("start", port=8080, ready=True, missing=None)

    assert [line.split(" ", 1)[1] for line in written.lines] == [
        "INFO workflow_core_module AUTH community=- user=- action=login result=SUCCESS",
        "WARNING workflow_core_module AUTHZ community=- user=1 action=can_view result=DENIED",
        "WARNING workflow_core_module AUDIT community=- user=- action=publish result=FAILURE",
        "ERROR workflow_core_module ERROR community=- user=- action=claim result=FAILURE",
        "INFO workflow_core_module SYSTEM community=- user=- action=start result=SUCCESS "
        "port=8080 ready=true missing=-",
    ]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("plain", "plain"),
        ("https://x.example/a", "https://x.example/a"),
        ("", '""'),
        ("-", '"-"'),
        ("two words", '"two words"'),
        ("a=b", '"a=b"'),
        ('say "hi"', r'"say \"hi\""'),
        ("back\\slash", r'"back\\slash"'),
        ("x\n[2025-12-09T12:00:00Z] INFO", r'"x\n[2025-12-09T12:00:00Z] INFO"'),
        ("x\r\u2028\x85\x1b[31m\u202e", r'"x\r\u2028\u0085\u001b[31m\u202e"'),
        ("\ud800", r'"\ud800"'),
        ("Zoë", '"Zoë"'),
        ({"a": ["b c"]}, r'"{\"a\": [\"b c\"]}"'),
    ],
)
def test_values_are_bare_only_if_they_cannot_be_mistaken(value: Any, shown: str) -> None:
    written = Written()

    written.log.audit("a", "SUCCESS", name=value)

    assert written.line.endswith(f" result=SUCCESS name={shown}")


def test_a_key_can_neither_forge_a_field_nor_replace_a_fixed_one() -> None:
    written = Written()

    written.log.audit("a", "DENIED", **{"x result=SUCCESS\n": 1, "level": 2, "time": 3, "": 4})

    assert written.line.endswith("result=DENIED x_result_SUCCESS_=1 field_level=2 field_time=3 _=4")


PAIR = re.compile(r' ([A-Za-z0-9_.]+)=("(?:[^"\\]|\\.)*"|[^\s"=]+)')


@given(st.text(), st.text(), st.text())
def test_any_line_reads_back_as_the_fields_that_were_logged(
    action: str, one: str, two: str
) -> None:
    written = Written()

    written.log.audit(action, "DENIED", one=one, two=two)

    assert len(written.line.splitlines()) == 1
    head, pairs = written.line[:51], written.line[51:]
    assert head == "[2025-12-09T12:00:00Z] WARNING workflow_core_module"
    assert [key for key, _ in PAIR.findall(pairs)] == [
        "community",
        "user",
        "action",
        "result",
        "one",
        "two",
    ]
    assert PAIR.sub("", pairs) == " AUDIT"


@pytest.mark.parametrize(
    "fields",
    [
        {"token": "hunter22"},
        {"api_key": "hunter22"},
        {"X-API-Key": "hunter22"},
        {"Authorization": "hunter22"},
        {"client_secret": "hunter22", "db_password": "hunter22"},
        {"headers": {"Authorization": "hunter22", "deep": [{"password": "hunter22"}]}},
        {"message": "GET /x?token=hunter22&y=1"},
        {"message": 'body {"password": "hunter22"}'},
        {"message": "Authorization: Bearer hunter22hunter22"},
        {"message": "postgresql://waddle:hunter22@db/x"},
        {"message": "signed with whsec_hunter22hunter22hunter22hunter22"},
    ],
)
def test_secrets_never_appear(fields: dict[str, Any]) -> None:
    for format in ("text", "json"):
        written = Written(format=format)

        written.log.audit("a", "SUCCESS", **fields)

        assert "hunter22" not in written.line
        assert "***" in written.line


def test_keys_and_tokens_are_masked_wherever_they_stand() -> None:
    written = Written()
    token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI0NTYifQ.c2lnbmF0dXJl"

    written.log.error(f"use {KEY}", message=f"{KEY} and {token}", cause=ValueError(KEY.upper()))

    assert "0123456789abcdef" not in written.line.lower()
    assert "eyJ" not in written.line
    assert "wa-***" in written.line


def test_names_that_only_resemble_secrets_are_shown() -> None:
    written = Written()

    written.log.audit("a", "SUCCESS", tokens_used=12, key_prefix="wa-01234567", reset=None)

    assert written.line.endswith("tokens_used=12 key_prefix=wa-01234567 reset=-")


def test_a_long_value_is_cut_after_masking() -> None:
    written = Written()

    written.log.audit("a", "SUCCESS", name="x" * (MAX_VALUE - 10) + KEY, other="y" * 1_000_000)

    assert "0123" not in written.line
    assert len(written.line) < 3 * MAX_VALUE


def test_the_json_format_has_the_same_fields_with_their_types() -> None:
    written = Written(format="json")

    written.log.audit("execute", "SUCCESS", community=1, name="a\nb", tags=["x"], level="z")

    assert json.loads(written.line) == {
        "time": "2025-12-09T12:00:00Z",
        "level": "INFO",
        "module": "workflow_core_module",
        "category": "AUDIT",
        "community": 1,
        "user": None,
        "action": "execute",
        "result": "SUCCESS",
        "name": "a\nb",
        "tags": ["x"],
        "field_level": "z",
    }


class Unprintable:
    def __str__(self) -> str:
        raise AssertionError("a filtered event must not be formatted")


def test_a_filtered_event_is_not_even_formatted() -> None:
    written = Written(level="ERROR")

    written.log.audit("a", "SUCCESS", value=Unprintable())
    written.log.authz("a", "DENIED", value=Unprintable())

    assert written.lines == []


def test_an_unknown_level_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"LOUD.*INFO"):
        AaaLog(io.StringIO(), level="LOUD")


def test_a_closed_stream_costs_the_line_not_the_operation() -> None:
    written = Written()
    written.stream.close()

    written.log.audit("a", "SUCCESS")

    assert written.log.lost == 1


def test_a_stream_without_unicode_gets_escapes() -> None:
    raw = io.BytesIO()
    log = AaaLog(io.TextIOWrapper(raw, encoding="ascii"))

    log.audit("a", "SUCCESS", name="Zoë")

    assert raw.getvalue().endswith(b'name="Zo\\xeb"\n')


@pytest.fixture
def routed() -> Iterator[Written]:
    written = Written()
    undo = route_library_logs(written.log)
    yield written
    undo()


def test_library_records_come_out_in_the_same_form(routed: Written) -> None:
    logging.getLogger("hypercorn.error").setLevel(logging.NOTSET)  # a server that ran has set it
    logging.getLogger("hypercorn.error").info("Running on %s", "http://127.0.0.1:8080")
    logging.getLogger("aiohttp.client").debug("never seen")
    logging.getLogger("asyncio").error("Task failed\nFAKE LINE")

    assert [line.split(" ", 1)[1] for line in routed.lines] == [
        "INFO workflow_core_module SYSTEM community=- user=- action=hypercorn.error "
        'result=SUCCESS message="Running on http://127.0.0.1:8080"',
        "ERROR workflow_core_module ERROR community=- user=- action=asyncio "
        r'result=FAILURE message="Task failed\nFAKE LINE"',
    ]


def test_exceptions_keep_their_traceback_on_the_one_line(routed: Written) -> None:
    try:
        raise KeyError("lost")
    except KeyError:
        logging.getLogger("x").exception("failed")

    assert "error_type=KeyError" in routed.line
    assert 'traceback="Traceback (most recent call last):\\n' in routed.line
    assert "test_aaa_log.py" in routed.line


def test_a_record_whose_arguments_do_not_fit_is_still_logged() -> None:
    written = Written()
    record = logging.LogRecord("x", logging.WARNING, "x.py", 1, "%d apples", ("many",), None)

    LibraryHandler(written.log).handle(record)

    assert 'action=x result=FAILURE message="%d apples"' in written.line


def test_python_warnings_are_routed_too(routed: Written) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", UserWarning, stacklevel=1)

    assert "action=py.warnings" in routed.line


def test_routing_can_be_undone() -> None:
    before = logging.getLogger().handlers[:]

    route_library_logs(Written().log)()

    assert logging.getLogger().handlers == before


def test_the_engine_can_log_through_it() -> None:
    written = Written()
    port: EngineLog = written.log

    port.system("start_worker", "SUCCESS", worker="w1")
    port.error("claim", "FAILURE", reason="no database")

    assert [line.rpartition(" ")[0].split(" ", 3)[3] for line in written.lines] == [
        "SYSTEM community=- user=- action=start_worker result=SUCCESS",
        'ERROR community=- user=- action=claim result=FAILURE reason="no',
    ]


def test_a_loop_in_trouble_has_a_line_when_it_begins_once_a_minute_and_at_its_end() -> None:
    written = Written()
    seconds = iter([0.0, 1.0, 61.0, 62.0, 63.0, 64.0])
    log = AaaLog(written.stream, monotonic=lambda: next(seconds))

    for _ in range(4):
        log.trouble("sweep", cause=OSError("gone"))
    log.over("sweep")
    log.over("sweep")
    log.over("claim")

    assert [line.split("action=")[1] for line in written.lines] == [
        "sweep result=FAILURE error_type=OSError error=gone",
        "sweep result=FAILURE error_type=OSError error=gone seconds=61.0 tries=3",
        "sweep result=SUCCESS over_after_seconds=63.0 failed_tries=4",
    ]
