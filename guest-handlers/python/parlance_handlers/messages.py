"""The tenant's durable history, on behalf of the event's user, who must be in the room."""

from typing import Any

from wit_world.imports import messages as _host

from .host import call, text, whole
from .values import Draft, Message
from .wire import dump_optional, load_optional


def post(draft: Draft) -> str:
    """Posts a message, which the room gets as `new-message` once it is durable, and returns its id. This is an effect.

    To accept what a client sent, post the draft that the handler got.
    """
    if not isinstance(draft, Draft):
        raise TypeError(f"messages.post() takes a Draft, such as the handler's message, not a {type(draft).__name__}")
    client_id = draft.client_id
    return call(
        "messages.post",
        _host.post,
        _host.Draft(
            room=text("the room of messages.post()", draft.room),
            content=text("the content of messages.post()", draft.content),
            metadata=dump_optional(draft.metadata),
            client_id=None if client_id is None else text("the client_id of messages.post()", client_id),
        ),
    )


def get(id: str) -> Message:
    """Reads one message. Does not see this event's own posts."""
    return _message(call("messages.get", _host.get, text("the id of messages.get()", id)))


def history(room: str, *, before: int | None = None, limit: int = 50) -> list[Message]:
    """The newest messages of the room with a `seq` below `before`, in ascending order, at most 200."""
    below = None if before is None else whole("before of messages.history()", before, 0, 2**64 - 1)
    count = whole("limit of messages.history()", limit, 0, 2**32 - 1)
    found = call("messages.history", _host.history, text("the room of messages.history()", room), below, count)
    return [_message(stored) for stored in found]


def mark_read(id: str) -> None:
    """Marks the message as read by the user. The first time, its room gets `message-read`. This is an effect."""
    call("messages.mark_read", _host.mark_read, text("the id of messages.mark_read()", id))


def _message(stored: Any) -> Message:
    return Message(
        id=stored.id,
        room=stored.room,
        seq=stored.seq,
        sender=stored.sender,
        content=stored.content,
        metadata=load_optional(stored.metadata),
        sent_at=stored.sent_at,
    )
