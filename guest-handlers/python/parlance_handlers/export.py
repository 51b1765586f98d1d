"""Makes the component's exports of the handlers. `parlance build` writes the module that calls this."""

import json
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from componentize_py_types import Err
from wit_world.imports import refusal, types

from . import handlers, phase, presence, requests, revise, system
from .errors import Rejection
from .values import Argument, Context, Draft, PresenceChange, RoomRequest
from .wire import dump_optional, from_wire, load_optional, to_wire

_REJECTIONS: dict[str, Any] = {
    "denied": types.Rejection_Denied,
    "invalid": types.Rejection_Invalid,
    "not-found": types.Rejection_NotFound,
    "conflict": types.Rejection_Conflict,
    "too-large": types.Rejection_TooLarge,
    "rate-limited": types.Rejection_RateLimited,
    "quota-exceeded": types.Rejection_QuotaExceeded,
    "unavailable": types.Rejection_Unavailable,
}
_MAX_RETRY_MS = 86_400_000


def _context(host: Any) -> Context:
    return Context(host.user, host.connection, host.received_at)


def _reject(rejection: Rejection) -> NoReturn:
    after = rejection.retry_after_ms
    if after is not None:
        refusal.retry_after(min(max(int(after), 1), _MAX_RETRY_MS))
    raise Err(_REJECTIONS[rejection.code](str(rejection)))


def _run(name: str, args: Sequence[Any], write: Callable[[Any], Any]) -> Any:
    """Runs the handler, and returns what it returned as the host wants it."""
    phase.begin()
    try:
        result = handlers.registered[name](*args)
        try:
            return write(result)
        except (TypeError, ValueError) as error:
            raise TypeError(f"what the handler of @{name} returned is no acknowledgement: {error}") from None
    except Rejection as rejection:
        _reject(rejection)
    except BaseException as error:
        system.log_exception(error)
        raise
    finally:
        system.end_event()
        phase.end()


def _nothing(_result: Any) -> None:
    return None


class OnMessage:
    def handle(self, ctx: Any, message: Any) -> str | None:
        draft = Draft(message.room, message.content, load_optional(message.metadata), message.client_id)
        return _run("on_message", (_context(ctx), draft), dump_optional)


class OnTyping:
    def handle(self, ctx: Any, room: str, typing: bool) -> None:
        _run("on_typing", (_context(ctx), room, typing), _nothing)


class OnReceipt:
    def handle(self, ctx: Any, message: str) -> None:
        _run("on_receipt", (_context(ctx), message), _nothing)


class OnRevise:
    def handle(self, ctx: Any, message: str, change: Any) -> str | None:
        return _run("on_revise", (_context(ctx), message, revise.read_change(change)), dump_optional)


class OnPresence:
    def handle(self, ctx: Any, change: Any) -> None:
        kind = type(change).__name__
        if kind == "Change_Set":
            event = PresenceChange("set", presence.name_of(change.value))
        else:
            event = PresenceChange("connected" if kind == "Change_Connected" else "disconnected")
        _run("on_presence", (_context(ctx), event), _nothing)


def _rooms(result: list[str] | None) -> list[str]:
    rooms = [] if result is None else list(result)
    if not all(isinstance(room, str) for room in rooms):
        raise TypeError("it must be a list of rooms' ids, or None")
    return rooms


class OnConnect:
    def handle(self, ctx: Any) -> list[str]:
        return _run("on_connect", (_context(ctx),), _rooms)


class OnRoom:
    def handle(self, ctx: Any, request: Any) -> str | None:
        kind = "join" if type(request).__name__ == "Request_Join" else "leave"
        return _run("on_room", (_context(ctx), RoomRequest(kind, request.value)), dump_optional)


class OnEvent:
    def handle(self, ctx: Any, name: str, arguments: str, attachments: list[bytes]) -> str | None:
        return _run("on_event", (_context(ctx), name, from_wire(arguments, attachments)), dump_optional)


def _acknowledgement(result: list[Argument] | None) -> Any:
    from wit_world.exports import on_event_ack

    if result is None:
        return on_event_ack.Acknowledgement_Silent()
    if not isinstance(result, (list, tuple)):
        raise TypeError("it must be a list, the arguments of the acknowledgement, or None")
    arguments, attachments = to_wire(result)
    return on_event_ack.Acknowledgement_Answer(on_event_ack.Answer(arguments, attachments))


class OnEventAck:
    def handle(self, ctx: Any, name: str, arguments: str, attachments: list[bytes]) -> Any:
        return _run("on_event_ack", (_context(ctx), name, from_wire(arguments, attachments)), _acknowledgement)


class OnAnswer:
    def handle(self, ctx: Any, tag: str, answer: Any) -> None:
        given = None if answer is None else from_wire(answer.arguments, answer.attachments)
        _run("on_answer", (_context(ctx), tag, given), _nothing)


class OnServerEvent:
    def handle(self, received_at: int, name: str, arguments: str) -> str | None:
        return _run("on_server_event", (received_at, name, from_wire(arguments, [])), dump_optional)


class OnTimer:
    def handle(self, name: str, due_ms: int, payload: str) -> None:
        _run("on_timer", (name, json.loads(payload), due_ms), _nothing)


class OnResponse:
    def handle(self, id: str, tag: str, number: int, part: Any) -> None:
        _run("on_response", (requests.ResponseEvent(id, tag, number, requests.read_part(part)),), _nothing)


def check(expected: Sequence[str]) -> None:
    """Fails if the decorators that ran are not those that stand in the sources."""
    missing = [name for name in expected if name not in handlers.registered]
    if missing:
        names = ", ".join(f"@{name}" for name in missing)
        raise RuntimeError(f"{names} stands in a source that the handler's main module does not import")


__all__ = [
    "OnAnswer",
    "OnConnect",
    "OnEvent",
    "OnEventAck",
    "OnMessage",
    "OnPresence",
    "OnReceipt",
    "OnResponse",
    "OnRevise",
    "OnRoom",
    "OnServerEvent",
    "OnTimer",
    "OnTyping",
    "check",
]
