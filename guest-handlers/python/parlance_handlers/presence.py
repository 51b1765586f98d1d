"""The presence of users."""

from collections.abc import Sequence

from wit_world.imports import presence as _host

from .host import call, text
from .values import PresenceState, Status

_STATUSES = {"online": _host.Status.ONLINE, "away": _host.Status.AWAY, "offline": _host.Status.OFFLINE}
_NAMES: dict[object, Status] = {status: name for name, status in _STATUSES.items()}  # type: ignore[misc]


def get(users: Sequence[str]) -> list[PresenceState]:
    """The states of up to 200 users before this event, in the order of `users`."""
    if isinstance(users, str):
        raise TypeError("the users of presence.get() must be a list of str, not one str")
    names = [text("each user of presence.get()", user) for user in users]
    return [
        PresenceState(state.user, _NAMES[state.status], state.connections, state.since)
        for state in call("presence.get", _host.get, names)
    ]


def set(status: Status) -> None:
    """Sets this connection's status. If that changes the user's, the user's rooms get `presence`. This is an effect."""
    if status not in _STATUSES:
        raise TypeError(f"presence.set() takes 'online', 'away' or 'offline', not {status!r}")
    call("presence.set", _host.set, _STATUSES[status])


def name_of(status: object) -> Status:
    """The name of one of the host's statuses."""
    return _NAMES[status]
