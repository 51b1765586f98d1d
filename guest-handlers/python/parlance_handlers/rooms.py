"""The rooms of this connection. Joining and leaving are effects."""

from collections.abc import Mapping

from wit_world.imports import rooms as _host

from .host import call, text, whole
from .values import Json
from .wire import dump


def join(room: str) -> None:
    """Puts this connection into the room. This is an effect."""
    call("rooms.join", _host.join, text("the room of rooms.join()", room))


def leave(room: str) -> None:
    """Takes this connection out of the room. This is an effect."""
    call("rooms.leave", _host.leave, text("the room of rooms.leave()", room))


def set_data(data: Mapping[str, Json]) -> None:
    """Keeps data with this connection until it closes, which other servers read with `fetchSockets`. This is an
    effect."""
    call("rooms.set_data", _host.set_data, dump(data))


def joined(room: str) -> bool:
    """Whether this connection is in the room, with this event's own joins and leaves applied."""
    return call("rooms.joined", _host.joined, text("the room of rooms.joined()", room))


def members(room: str, *, limit: int = 1000) -> list[str]:
    """Users with a connection in the room, each once, in no particular order, at most 1,000."""
    count = whole("limit of rooms.members()", limit, 0, 2**32 - 1)
    return call("rooms.members", _host.members, text("the room of rooms.members()", room), count)


def member_count(room: str) -> int:
    """How many users have a connection in the room, the event's own user included."""
    return call("rooms.member_count", _host.member_count, text("the room of rooms.member_count()", room))
