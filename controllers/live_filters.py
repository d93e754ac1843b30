"""The filters of live streams as clients write them: in a query string, or in a message.

Its one rule: what is not a filter is refused, and the answer names those that there are.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from quart import request

from controllers.requests import problems_of
from controllers.schemas import MAX_ID, Uuid, same
from engine.context import ExecutionStatus, Json, JsonObject
from services.errors import NotValid, Problem
from services.execution_service import LONGEST_SOUGHT
from services.live_filters import LiveFilter

_STATUSES = tuple(str(status) for status in ExecutionStatus)
_LISTED = "^ *({0}) *(, *({0}) *)*$".format("|".join(_STATUSES))
_ALIASES = {"workflow_template_id": "workflow_id"}


class LiveQuery(BaseModel):
    """Which executions a live stream shows. All filters may be combined."""

    model_config = ConfigDict(extra="forbid")

    status: Annotated[str, Field(json_schema_extra={"pattern": _LISTED})] | None = Field(
        default=None,
        description="Events with one of these statuses: a comma list, or given several times.",
    )
    workflow_id: Uuid | None = None
    workflow_template_id: Uuid | None = Field(default=None, description="The same.")
    community_id: int | None = Field(default=None, ge=0, le=MAX_ID)
    trigger_source: str | None = Field(default=None, max_length=LONGEST_SOUGHT)
    user_id: int | None = Field(
        default=None, ge=0, le=MAX_ID, description="Who triggered them: for admins, or yourself."
    )
    session_id: str | None = Field(default=None, max_length=LONGEST_SOUGHT)
    execution_id: Uuid | None = None

    @field_validator("status")
    @classmethod
    def _known(cls, text: str | None) -> str | None:
        for name in [] if text is None else text.split(","):
            if name.strip() not in _STATUSES:
                raise ValueError(f"must be of {', '.join(_STATUSES)}")
        return text


FILTERS = tuple(name for name in LiveQuery.model_fields)


def query_filter() -> LiveFilter:
    """The filter that the query string is. Raises `NotValid`."""
    given: JsonObject = {}
    problems: list[Problem] = []
    for name, values in request.args.lists():
        if name == "status":
            given[name] = ",".join(values)
        elif len(values) > 1 and name in FILTERS:
            problems.append(Problem(path=f"/{name}", message="is given more than once"))
        else:
            given[name] = values[-1]
    if problems:
        raise NotValid(problems)
    return filter_of(given)


def filter_of(given: Json) -> LiveFilter:
    """The filter that an object is. Raises `NotValid`."""
    if not isinstance(given, dict):
        raise NotValid([Problem(path="", message="the filters must be an object")])
    unknown = [_unknown(name) for name in given if name not in FILTERS]
    if unknown:
        raise NotValid(unknown)
    statuses = given.get("status")
    if isinstance(statuses, list) and all(isinstance(each, str) for each in statuses):
        given = {**given, "status": ",".join(statuses)}
    try:
        read = LiveQuery.model_validate(given)
    except ValidationError as error:
        raise NotValid(problems_of(error, LiveQuery)) from None
    twins = ("workflow_id", read.workflow_id, "workflow_template_id", read.workflow_template_id)
    workflow_id = same(*twins)
    named = [] if read.status is None else read.status.split(",")
    return LiveFilter(
        statuses=tuple(dict.fromkeys(name.strip() for name in named)),
        workflow_id=workflow_id,
        community_id=read.community_id,
        trigger_source=read.trigger_source,
        user_id=read.user_id,
        session_id=read.session_id,
        execution_id=read.execution_id,
    )


def as_json(narrow: LiveFilter) -> JsonObject:
    """A filter as a client would write it, without what is not set."""
    values: JsonObject = {"status": list(narrow.statuses) or None}
    values |= {n: getattr(narrow, n, None) for n in FILTERS if n not in _ALIASES and n != "status"}
    return {name: value for name, value in values.items() if value is not None}


def _unknown(name: str) -> Problem:
    shown = name[:64]
    message = f"unknown filter; known: {', '.join(FILTERS)}"
    problem = Problem(path=f"/{shown.replace('~', '~0').replace('/', '~1')}", message=message)
    nearest = get_close_matches(shown, FILTERS, n=1)
    if nearest:
        problem["hint"] = f"Did you mean '{nearest[0]}'?"
    return problem
