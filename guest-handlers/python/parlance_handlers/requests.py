"""Requests to web services that the operator has granted (`grants.http`), and the parts of their answers.

The host sends a request once the event's effects are committed, so an event that fails has sent nothing. A request survives
restarts. The parts of its answer are events, for the function with `@on_response`; without one the handler only sends.

    requests.send("https://api.example.org/ask", json={"question": text}, tag=room)

    @on_response
    def answered(event: requests.ResponseEvent) -> None:
        match event.part:
            case requests.Whole(ok=True) as answer:
                emit(Audience.room(event.tag), "answer", answer.json())
            case part:
                print("no answer:", part)

A request may reach the service more than once. Each time it carries the header `Idempotency-Key` with the request's id,
unless the handler has set one; a service that knows the key does the work once.
"""

import json as _json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast

from wit_world.imports import requests as _host

from .host import call, text, whole
from .values import Json
from .wire import dump

_PARTS = {
    "whole": _host.Parts.WHOLE,
    "lines": _host.Parts.LINES,
    "server-sent-events": _host.Parts.SERVER_SENT_EVENTS,
}


@dataclass(frozen=True, slots=True)
class Head:
    """An answer in parts begins."""

    status: int
    headers: list[tuple[str, str]]
    """The headers in order, with names in lower case."""

    def header(self, name: str) -> str | None:
        """The first header of this name, in upper or lower case; None if there is none."""
        return _first(self.headers, name)


@dataclass(frozen=True, slots=True)
class Whole:
    """The whole answer. An answer that was asked for in parts comes like this too if its status is not 2xx."""

    status: int
    headers: list[tuple[str, str]]
    """The headers in order, with names in lower case."""
    body: bytes

    @property
    def ok(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status < 300

    def header(self, name: str) -> str | None:
        """The first header of this name, in upper or lower case; None if there is none."""
        return _first(self.headers, name)

    def text(self) -> str:
        """The body as UTF-8; other bytes become U+FFFD."""
        return self.body.decode(errors="replace")

    def json(self) -> Json:
        """The body as JSON. Raises `ValueError` if it is not JSON."""
        return cast(Json, _json.loads(self.body))


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the answer."""

    line: str
    """The line, without its end."""


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """An event of a `text/event-stream`."""

    event: str
    """Its name; `message` if the service names none."""
    data: str
    id: str | None
    """The last id that the service has given."""


@dataclass(frozen=True, slots=True)
class End:
    """The answer has ended."""


Reason: TypeAlias = Literal["denied", "unreachable", "timeout", "too-large", "interrupted"]
"""Why there is no answer.

`denied`: no grant covers the server, or its address is not public. `unreachable`: the server could not be reached, or does
not speak HTTP. `timeout`: it took too long. `too-large`: the answer, or one part of it, has more bytes than
`sandbox.http_bytes`. `interrupted`: the answer broke off, and another request did not give the rest.
"""


@dataclass(frozen=True, slots=True)
class Failed:
    """There is no answer, or no more of it."""

    reason: Reason
    message: str
    """For a log."""
    attempts: int
    """How often the request was tried."""


Part: TypeAlias = Whole | Head | Line | ServerSentEvent | End | Failed
"""A part of an answer. `Whole`, `End` and `Failed` are the last part."""


@dataclass(frozen=True, slots=True)
class ResponseEvent:
    """A part of the answer to one of this handler's requests."""

    id: str
    """The request's id, as `send` has returned it."""
    tag: str
    """The request's tag; empty if it has none."""
    number: int
    """Counts the parts of this answer: 0, 1, 2 ..."""
    part: Part


def send(
    url: str,
    *,
    method: str | None = None,
    headers: Mapping[str, str] | Iterable[tuple[str, str]] | None = None,
    body: bytes | str | None = None,
    json: Json = None,
    tag: str = "",
    parts: Literal["whole", "lines", "server-sent-events"] = "whole",
    timeout_ms: int | None = None,
    attempts: int | None = None,
) -> str:
    """Sends a request to an absolute URL of at most 8 KiB, and returns the request's id. This is an effect.

    `method` is neither `CONNECT` nor `TRACE`; it is `POST` if there is a body, else `GET`. `headers` are at most 64, with
    16 KiB together; `Host`, `Content-Length` and those that belong to the connection are the host's. A body has at most
    256 KiB; text is sent as UTF-8. `json` is sent as the body, with its content type unless `headers` have one. `tag`, at
    most 256 bytes, comes back with each part of the answer.

    `parts` says how the answer is cut into parts, each of which is an event. `whole`: one part. `lines`: the head, then each
    line of the body, then the end. `server-sent-events`: the head, then each event of a `text/event-stream`, then the end.

    `timeout_ms`, 1 to 600,000, or 30,000 if absent, is for the whole answer, or, where it comes in parts, for its head and
    for each pause in it. A request is tried `attempts` times at most: 1 to 20, or 5 if absent. It is tried again, later each
    time, when no answer comes, and after a status of 408, 425, 429, 500, 502, 503 or 504, not before what a `Retry-After`
    says.
    """
    if parts not in _PARTS:
        raise TypeError(f"the parts of requests.send() are 'whole', 'lines' or 'server-sent-events', not {parts!r}")
    pairs = _pairs(headers)
    content = _content(body, json)
    if json is not None and _first(pairs, "content-type") is None:
        pairs.append(("content-type", "application/json"))
    if method is None:
        method = "GET" if content is None else "POST"
    request = _host.Request(
        text("the method of requests.send()", method).upper(), text("the url of requests.send()", url), pairs, content or b""
    )
    timeout = None if timeout_ms is None else whole("timeout_ms of requests.send()", timeout_ms, 0, 2**32 - 1)
    most = None if attempts is None else whole("attempts of requests.send()", attempts, 0, 255)
    options = _host.Options(text("the tag of requests.send()", tag), _PARTS[parts], timeout, most)
    return call("requests.send", _host.send, request, options)


def cancel(id: str) -> None:
    """Forgets a request. If it was sent already the service may still have got it, but no further part of an answer becomes
    an event. This is an effect."""
    call("requests.cancel", _host.cancel, text("the id of requests.cancel()", id))


def read_part(part: Any) -> Part:
    """The part that the host gives."""
    kind = type(part).__name__
    if kind == "Part_Whole":
        return Whole(part.value.status, part.value.headers, part.value.body)
    if kind == "Part_Head":
        return Head(part.value.status, part.value.headers)
    if kind == "Part_Line":
        return Line(part.value)
    if kind == "Part_Event":
        return ServerSentEvent(part.value.event, part.value.data, part.value.id)
    if kind == "Part_End":
        return End()
    reason = part.value.reason.name.lower().replace("_", "-")
    return Failed(cast(Reason, reason), part.value.message, part.value.attempts)


def _pairs(headers: Mapping[str, str] | Iterable[tuple[str, str]] | None) -> list[tuple[str, str]]:
    if headers is None:
        return []
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    return [(text("a header's name", name), text(f"the header {name}", value)) for name, value in pairs]


def _content(body: object, json: Json) -> bytes | None:
    """The bytes of the body, if there is one."""
    if json is not None:
        if body is not None:
            raise TypeError("requests.send() takes a body or a value as json, not both")
        return dump(json).encode()
    if body is None or isinstance(body, bytes):
        return body
    if isinstance(body, str):
        return body.encode()
    raise TypeError(f"the body of requests.send() must be bytes or a str, not {type(body).__name__}; json= takes any value")


def _first(headers: list[tuple[str, str]], name: str) -> str | None:
    wanted = name.lower()
    return next((value for own, value in headers if own.lower() == wanted), None)
