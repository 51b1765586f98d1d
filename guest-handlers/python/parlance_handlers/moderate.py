"""Power over other users, and messages of bots, where the operator has granted it (`moderate = true` in `[grants]`).

All else is refused with `denied`. All but `banned_until` are effects. A reason has at most 1 KiB; the user's client gets
it. A time is in milliseconds since the Unix epoch.
"""

from wit_world.imports import moderate as _host

from .host import call, text, whole
from .values import Json
from .wire import dump_optional

_TIME_MAX = 2**64 - 1


def _reason(name: str, reason: str | None) -> str | None:
    return None if reason is None else text(f"the reason of moderate.{name}()", reason)


def kick(room: str, user: str, reason: str | None = None) -> None:
    """Takes the user's connections out of the room, on all nodes. Each gets `kicked`. The user may join again."""
    call(
        "moderate.kick",
        _host.kick,
        text("the room of moderate.kick()", room),
        text("the user of moderate.kick()", user),
        _reason("kick", reason),
    )


def ban(room: str, user: str, until_ms: int, reason: str | None = None) -> None:
    """Kicks the user, who cannot join the room again until this time."""
    call(
        "moderate.ban",
        _host.ban,
        text("the room of moderate.ban()", room),
        text("the user of moderate.ban()", user),
        whole("the time of moderate.ban()", until_ms, 0, _TIME_MAX),
        _reason("ban", reason),
    )


def unban(room: str, user: str) -> None:
    """Ends a ban, if there is one."""
    call(
        "moderate.unban",
        _host.unban,
        text("the room of moderate.unban()", room),
        text("the user of moderate.unban()", user),
    )


def banned_until(room: str, user: str) -> int | None:
    """Until when the user is banned from the room, if so."""
    return call(
        "moderate.banned_until",
        _host.banned_until,
        text("the room of moderate.banned_until()", room),
        text("the user of moderate.banned_until()", user),
    )


def disconnect(user: str, reason: str | None = None) -> None:
    """Closes the user's connections, on all nodes. Each gets `disconnect-reason` first."""
    call(
        "moderate.disconnect",
        _host.disconnect,
        text("the user of moderate.disconnect()", user),
        _reason("disconnect", reason),
    )


def post_as(bot: str, room: str, content: str, metadata: Json = None) -> str:
    """Posts a message as the bot with this name, in any room, and returns its id. Its sender is `bot:` and the name."""
    return call(
        "moderate.post_as",
        _host.post_as,
        text("the bot of moderate.post_as()", bot),
        text("the room of moderate.post_as()", room),
        text("the content of moderate.post_as()", content),
        dump_optional(metadata),
    )
