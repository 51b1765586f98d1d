"""The types of events, and of what the host answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, Union

Json: TypeAlias = Union[None, bool, int, float, str, Sequence["Json"], Mapping[str, "Json"]]
"""A value that JSON can hold."""

Argument: TypeAlias = Union[None, bool, int, float, str, bytes, Sequence["Argument"], Mapping[str, "Argument"]]
"""An argument of an event: JSON, in which bytes may stand anywhere."""

Status: TypeAlias = Literal["online", "away", "offline"]
"""A status of a connection or a user. A user is online while any of their connections is, else away, else offline."""


@dataclass(frozen=True, slots=True)
class Context:
    """Who caused the event, and when."""

    user: str
    """The user, from the verified token and never from the client's event."""
    connection: str
    """The connection that sent the event: the client's `socket.id`, new for each connection."""
    received_at: int
    """When the event arrived, in milliseconds since the Unix epoch. `time.time()` says the same, in seconds."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A message that a client sent and nobody has stored yet, or that the handler makes itself."""

    room: str
    """The room to which it goes. Whether the user is in it has not been checked yet."""
    content: str
    """The text: 1 byte to 16 KiB, unless the operator set another limit."""
    metadata: Json = None
    """Data of the client's application, at most 4 KiB as JSON, unless the operator set another limit."""
    client_id: str | None = None
    """The sender's own id of this message, 1 to 128 bytes. A user's message with a given id is stored once."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message of a room's history."""

    id: str
    room: str
    seq: int
    """Its position in the room: 1, 2, 3 ... without gaps."""
    sender: str
    """The user who posted it."""
    content: str
    metadata: Json
    sent_at: int
    """When it was posted, in milliseconds since the Unix epoch."""


@dataclass(frozen=True, slots=True)
class PresenceState:
    """A user's status over all of their connections."""

    user: str
    status: Status
    """The most active status among the user's connections."""
    connections: int
    """How many connections the user has, whatever their status."""
    since: int
    """When this status began, in milliseconds since the Unix epoch; 0 for a user not seen since the server started."""


@dataclass(frozen=True, slots=True)
class PresenceChange:
    """A connection has opened (it is in no room yet), or closed (it is still in its rooms), or the client asks for a
    status."""

    kind: Literal["connected", "disconnected", "set"]
    status: Status | None = None
    """The status that the client asks for, if it does."""


@dataclass(frozen=True, slots=True)
class RoomRequest:
    """To join a room, or to leave it."""

    kind: Literal["join", "leave"]
    room: str
