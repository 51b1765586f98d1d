"""The decorators that make functions handlers."""

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from .requests import ResponseEvent
from .revise import Change
from .values import Argument, Context, Draft, Json, PresenceChange, RoomRequest

registered: dict[str, Callable[..., Any]] = {}
"""The handlers, by the name of their decorator."""

F = TypeVar("F", bound=Callable[..., Any])
_Message = TypeVar("_Message", bound=Callable[[Context, Draft], Json])
_Typing = TypeVar("_Typing", bound=Callable[[Context, str, bool], None])
_Receipt = TypeVar("_Receipt", bound=Callable[[Context, str], None])
_Revise = TypeVar("_Revise", bound=Callable[[Context, str, Change], Json])
_Presence = TypeVar("_Presence", bound=Callable[[Context, PresenceChange], None])
_Connect = TypeVar("_Connect", bound=Callable[[Context], "list[str] | None"])
_Room = TypeVar("_Room", bound=Callable[[Context, RoomRequest], Json])
_Event = TypeVar("_Event", bound=Callable[[Context, str, list[Argument]], Json])
_EventAck = TypeVar("_EventAck", bound=Callable[[Context, str, list[Argument]], "list[Argument] | None"])
_Answer = TypeVar("_Answer", bound=Callable[[Context, str, "list[Argument] | None"], None])
_ServerEvent = TypeVar("_ServerEvent", bound=Callable[[int, str, list[Argument]], Json])
_Timer = TypeVar("_Timer", bound=Callable[[str, Any, int], None])
_Response = TypeVar("_Response", bound=Callable[[ResponseEvent], None])


def _register(name: str, function: F) -> F:
    if not callable(function):
        raise TypeError(f"@{name} stands before a function, without parentheses")
    if inspect.iscoroutinefunction(function):
        raise TypeError(f"@{name} {function.__name__}: a handler cannot be async, since nothing in it waits; drop `async`")
    if name in registered:
        raise TypeError(f"@{name} stands before two functions: {registered[name].__name__} and {function.__name__}")
    registered[name] = function
    return function


def on_message(function: _Message) -> _Message:
    """Handles `send-message`: `(context, message)`.

    To accept the message, post it: `messages.post(message)`. The acknowledgement is `{ok: true, message}` with the
    event's first post, and `data` with the result.
    """
    return _register("on_message", function)


def on_typing(function: _Typing) -> _Typing:
    """Handles `typing`: `(context, room, typing)`. Whether the user is in the room has not been checked yet."""
    return _register("on_typing", function)


def on_receipt(function: _Receipt) -> _Receipt:
    """Handles `read-message`: `(context, message_id)`. To accept it, call `messages.mark_read`."""
    return _register("on_receipt", function)


def on_revise(function: _Revise) -> _Revise:
    """Handles `edit-message`, `delete-message` and `mark-message`: `(context, message_id, change)`.

    To accept the change, make it with `revise`. Whether the message exists has not been checked yet. The acknowledgement is
    `{ok: true}`, and `data` with the result.
    """
    return _register("on_revise", function)


def on_presence(function: _Presence) -> _Presence:
    """Handles opened and closed connections, and `set-presence`: `(context, change)`.

    To show the status to others, call `presence.set`.
    """
    return _register("on_presence", function)


def on_connect(function: _Connect) -> _Connect:
    """Handles a client that wants to connect, before its connection opens: `(context)`.

    The result is the list of rooms in which the connection begins, or None. A rejection refuses the connection.
    """
    return _register("on_connect", function)


def on_room(function: _Room) -> _Room:
    """Handles `join-room` and `leave-room`: `(context, request)`.

    To grant the request, call `rooms.join` or `rooms.leave`.
    """
    return _register("on_room", function)


def on_event(function: _Event) -> _Event:
    """Handles every custom event: `(context, name, args)`, where `args` are its arguments, with bytes in their places.

    The result is the acknowledgement, unchanged; `{ok: true}` if there is none.
    """
    return _register("on_event", function)


def on_event_ack(function: _EventAck) -> _EventAck:
    """Handles custom events as `on_event` does, with all of Socket.IO's acknowledgements.

    The result is the list of the acknowledgement's arguments, which may hold bytes; with None there is none.
    """
    return _register("on_event_ack", function)


def on_answer(function: _Answer) -> _Answer:
    """Handles clients' answers to `ask`: `(context, tag, answer)`, where `answer` is None if there was none in time.

    `context` is that of the client that was asked. A rejection is only logged.
    """
    return _register("on_answer", function)


def on_server_event(function: _ServerEvent) -> _ServerEvent:
    """Handles events of other servers of the fleet: `(received_at, name, args)`.

    No client causes them: posting, reading history, joining, members, presence and `Audience.sender` are denied.
    """
    return _register("on_server_event", function)


def on_timer(function: _Timer) -> _Timer:
    """Handles this handler's timers, in the order in which they are due: `(name, payload, due_ms)`.

    `due_ms` is when the timer was due; `time.time()` is later after an outage. No client causes it, so the same is denied
    as in `on_server_event`. A rejection or a mistake is only logged; it ends the timer, or this turn of one that repeats.
    """
    return _register("on_timer", function)


def on_response(function: _Response) -> _Response:
    """Handles the answers to this handler's requests, each part once and in order: `(event)`, a `requests.ResponseEvent`.

    No client causes it, so the same is denied as in `on_server_event`; `kv`, `timers`, `requests` and `emit` to rooms and
    users work. A rejection or a mistake is only logged; it ends the request, no further part comes, and the request is
    among those that have failed.
    """
    return _register("on_response", function)
