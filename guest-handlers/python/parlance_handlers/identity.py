"""The user who caused the event, from the verified token, and what the client sent when it connected."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from wit_world.imports import identity as _host

from .host import call
from .values import Json


@dataclass(frozen=True, slots=True)
class Handshake:
    """What the client sent when it connected. Nothing of it is verified except the address."""

    auth: Mapping[str, Json]
    """The client's `auth` without the token."""
    query: list[tuple[str, str]]
    """The decoded query of the request that opened the connection, in order."""
    address: str | None
    """The client's IP address, as the server sees it."""
    transport: str
    """The connection's first transport: `polling` or `websocket`."""
    headers: list[tuple[str, str]]
    """The request headers that the operator named, with names in lower case."""


def username() -> str:
    """The display name: the claim `name`, else `username`, else the user's id."""
    return call("identity.username", _host.username)


def claims() -> Mapping[str, Json]:
    """All claims of the token."""
    return json.loads(call("identity.claims", _host.claims))


def handshake() -> Handshake:
    """What the client sent when the event's connection opened."""
    data = call("identity.handshake", _host.handshake)
    return Handshake(json.loads(data.auth), data.query, data.address, data.transport, data.headers)
