"""What a Parlance handler in Python may call, and the decorators that make a function a handler.

A handler is a function with one of the decorators below. What it returns accepts the event; what it raises refuses it:

- a `Rejection`, such as `Denied("...")`: the client gets its code and message;
- a `Fault`, with which the host refused a call, not caught: likewise;
- anything else is a mistake: the traceback is logged, and the client gets `handler-failed`.

Effects (posts, emits, keys, joins ...) happen after the function has returned, all of them or none.

The standard library has the event's time, which stands still during the event, and the host's random numbers. What
`print` and `logging` write is in the server's log.
"""

from . import identity, kv, members, messages, moderate, presence, requests, revise, rooms, settings, timers
from .emit import Audience, ask, emit
from .errors import (
    Conflict,
    Denied,
    Fault,
    Invalid,
    NotFound,
    QuotaExceeded,
    RateLimited,
    Rejection,
    TooLarge,
    Unavailable,
)
from .handlers import (
    on_answer,
    on_connect,
    on_event,
    on_event_ack,
    on_message,
    on_presence,
    on_receipt,
    on_response,
    on_revise,
    on_room,
    on_server_event,
    on_timer,
    on_typing,
)
from .values import Argument, Context, Draft, Json, Message, PresenceChange, PresenceState, RoomRequest, Status

__all__ = [
    "Argument",
    "Audience",
    "Conflict",
    "Context",
    "Denied",
    "Draft",
    "Fault",
    "Invalid",
    "Json",
    "Message",
    "NotFound",
    "PresenceChange",
    "PresenceState",
    "QuotaExceeded",
    "RateLimited",
    "Rejection",
    "RoomRequest",
    "Status",
    "TooLarge",
    "Unavailable",
    "ask",
    "emit",
    "identity",
    "kv",
    "members",
    "messages",
    "moderate",
    "on_answer",
    "on_connect",
    "on_event",
    "on_event_ack",
    "on_message",
    "on_presence",
    "on_receipt",
    "on_response",
    "on_revise",
    "on_room",
    "on_server_event",
    "on_timer",
    "on_typing",
    "presence",
    "requests",
    "revise",
    "rooms",
    "settings",
    "timers",
]
