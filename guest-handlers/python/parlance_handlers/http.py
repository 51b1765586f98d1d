"""HTTP requests to the servers that the operator grants (`grants.http`).

A component that imports this module needs a grant: without one, a server refuses it. Redirects are not followed. The
event waits for the answer, and its time (`sandbox.wall_time`, 2 seconds) goes on: a `timeout_ms` below that leaves the
handler time to do without.

    response = http.request("POST", "https://api.example.org/ask", json={"question": text}, timeout_ms=1000)
"""

import json as _json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn
from urllib.parse import urlsplit

from componentize_py_types import Err

from . import phase
from .errors import Fault
from .host import text, whole
from .values import Json
from .wire import dump

try:
    from wit_world.imports import outgoing_handler as _host
    from wit_world.imports import streams as _streams
    from wit_world.imports import wasi_http as _http
except ImportError:
    raise ImportError(
        "`parlance build` did not find where the module `http` is imported: write `from parlance_handlers import http`"
    ) from None

_CALL = "http.request"
_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")
_MAX_TIMEOUT_MS = 3_600_000
_NANOS_PER_MS = 1_000_000
_WRITE_BYTES = 4096
"""What a stream takes at a time."""
_READ_BYTES = 65536


@dataclass(frozen=True, slots=True)
class Response:
    """What a server answered, with any status."""

    status: int
    headers: list[tuple[str, str]]
    """The headers in order, with names in lower case."""
    body: bytes

    def text(self) -> str:
        """The body as UTF-8; what is none becomes U+FFFD."""
        return self.body.decode(errors="replace")

    def json(self) -> Json:
        """The body as JSON. Raises `ValueError` if it is none."""
        return _json.loads(self.body)


def get(url: str, *, headers: Mapping[str, str] | None = None, timeout_ms: int | None = None) -> Response:
    """Sends a GET request, as `request` does."""
    return request("GET", url, headers=headers, timeout_ms=timeout_ms)


def request(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes | str = b"",
    json: Json = None,
    timeout_ms: int | None = None,
) -> Response:
    """Sends a request, and waits for the answer. `json` is sent as the body, with its content type.

    Raises `Fault`: `denied` if no grant covers the server, `unavailable` if it does not answer (within `timeout_ms`),
    or the event's requests are used up. An answer with any status is no fault.
    """
    phase.needs_event(_CALL)
    fields = dict(headers or {})
    content = body.encode() if isinstance(body, str) else body
    if json is not None:
        content = dump(json).encode()
        fields.setdefault("content-type", "application/json")
    try:
        return _receive(_send(_outgoing(method, url, fields), content, _options(timeout_ms)))
    except Err as error:
        _fail(error.value)


def _outgoing(method: str, url: str, headers: Mapping[str, str]) -> Any:
    if method not in _METHODS:
        raise ValueError(f"the method of http.request() is one of {', '.join(_METHODS)}, not {method!r}")
    parts = urlsplit(text("the url of http.request()", url))
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ValueError(f"the url of http.request() is like https://api.example.org/words, not {url!r}")
    fields = _http.Fields()
    for name, value in headers.items():
        try:
            fields.append(text("a header's name", name), text("a header's value", value).encode())
        except Err as error:
            raise ValueError(f"the header {name!r} is not allowed: {type(error.value).__name__}") from None
    outgoing = _http.OutgoingRequest(fields)
    outgoing.set_method(getattr(_http, f"Method_{method.capitalize()}")())
    outgoing.set_scheme(_http.Scheme_Https() if parts.scheme == "https" else _http.Scheme_Http())
    try:
        outgoing.set_authority(parts.netloc)
        outgoing.set_path_with_query((parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
    except Err:
        raise ValueError(f"the url of http.request() is not valid: {url!r}; quote what is not ASCII") from None
    return outgoing


def _options(timeout_ms: int | None) -> Any:
    if timeout_ms is None:
        return None
    options = _http.RequestOptions()
    # The host adds the times to connect and to the first byte.
    options.set_connect_timeout(0)
    nanos = whole("timeout_ms of http.request()", timeout_ms, 1, _MAX_TIMEOUT_MS) * _NANOS_PER_MS
    options.set_first_byte_timeout(nanos)
    options.set_between_bytes_timeout(nanos)
    return options


def _send(outgoing: Any, content: bytes, options: Any) -> Any:
    if not content:
        return _host.handle(outgoing, options)
    body = outgoing.body()
    future = _host.handle(outgoing, options)
    with body.write() as stream:
        for at in range(0, len(content), _WRITE_BYTES):
            try:
                stream.blocking_write_and_flush(content[at : at + _WRITE_BYTES])
            except Err:
                # The host has ended the request; its answer says why.
                return future
    _http.OutgoingBody.finish(body, None)
    return future


def _receive(future: Any) -> Response:
    with future.subscribe() as ready:
        ready.block()
    result = future.get().value
    if isinstance(result, Err):
        raise result
    response = result.value
    headers = [(name.lower(), value.decode("latin-1")) for name, value in response.headers().entries()]
    read: list[bytes] = []
    with response.consume() as body, body.stream() as stream:
        while True:
            try:
                read.append(stream.blocking_read(_READ_BYTES))
            except Err as error:
                if isinstance(error.value, _streams.StreamError_Closed):
                    break
                raise Fault(_CALL, "unavailable", "the server's answer ended before its end, or is too large") from None
    return Response(response.status(), headers, b"".join(read))


def _fail(code: Any) -> NoReturn:
    name = type(code).__name__.removeprefix("ErrorCode_")
    if name == "HttpRequestDenied":
        raise Fault(_CALL, "denied", "the operator grants no requests to this server") from None
    raise Fault(_CALL, "unavailable", f"the request failed: {name}") from None
