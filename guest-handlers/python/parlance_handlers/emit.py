"""Events to clients that are not stored in history."""

from collections.abc import Sequence
from typing import Any, ClassVar

from wit_world.imports import broadcast as _host

from .host import call, text, whole
from .values import Argument
from .wire import to_wire


class Audience:
    """Who gets an event, always within the tenant."""

    sender: ClassVar["Audience"]
    """The connection that caused the event."""

    def __init__(self, host: Any) -> None:
        self.host = host

    @staticmethod
    def room(room: str) -> "Audience":
        """Every connection in the room."""
        return Audience(_host.Audience_Room(text("the room of Audience.room()", room)))

    @staticmethod
    def others_in_room(room: str) -> "Audience":
        """Every connection in the room except the one that caused the event."""
        return Audience(_host.Audience_OthersInRoom(text("the room of Audience.others_in_room()", room)))

    @staticmethod
    def user(user: str) -> "Audience":
        """Every connection of one user, on every node."""
        return Audience(_host.Audience_User(text("the user of Audience.user()", user)))


Audience.sender = Audience(_host.Audience_Sender())


def _checked(what: str, to: object) -> Any:
    if isinstance(to, Audience):
        return to.host
    raise TypeError(f"the first argument of {what}() says who gets the event, such as Audience.room('general')")


def emit(to: Audience, event: str, *args: Argument) -> None:
    """Emits an event once the handler has returned and everything that it wrote is durable. This is an effect."""
    arguments, attachments = to_wire(args)
    call("emit", _host.emit, _checked("emit", to), text("the event of emit()", event), arguments, attachments)


def ask(to: Audience, event: str, args: Sequence[Argument], *, tag: str, time_ms: int) -> None:
    """Emits an event, and asks each client that gets it for an acknowledgement. `on_answer` is called for each of them
    with this `tag`, with the answer, or without one if the client has not answered within `time_ms` (100 to 60,000)."""
    arguments, attachments = to_wire(args)
    call(
        "ask",
        _host.ask,
        _checked("ask", to),
        text("the event of ask()", event),
        arguments,
        attachments,
        text("the tag of ask()", tag),
        whole("time_ms of ask()", time_ms, 0, 60_000),
    )
