"""Lasting members of rooms, connected or not, which the handlers of a tenant share.

Whether the user may see or change them is for the handler to decide. Changes are effects; reads do not see this event's
own.
"""

from dataclasses import dataclass

from wit_world.imports import members as _host

from .host import call, text, whole


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a room."""

    user: str
    role: str
    """What handlers call the member's role."""
    joined_at: int
    """When the user became a member, in milliseconds since the Unix epoch."""
    read_up_to: int
    """The `seq` up to which the member has read."""
    mentions: int
    """How often the member was mentioned since reading the room's last message."""


@dataclass(frozen=True, slots=True)
class Membership:
    """A room in which the event's user is a member."""

    room: str
    role: str
    """What handlers call the user's role."""
    joined_at: int
    """When the user became a member, in milliseconds since the Unix epoch."""
    last_seq: int
    """The `seq` of the room's last message; 0 for none. What lies after `read_up_to` is unread."""
    read_up_to: int
    mentions: int


def add(room: str, user: str, role: str = "member") -> None:
    """Makes the user a member, to whom all messages of now count as read, or gives a member another role.

    The room gets `member-added`, the user's connections `unread-changed`. This is an effect.
    """
    call(
        "members.add",
        _host.add,
        text("the room of members.add()", room),
        text("the user of members.add()", user),
        text("the role of members.add()", role),
    )


def remove(room: str, user: str) -> None:
    """Ends the membership. The room gets `member-removed`, the user's connections `unread-changed`. An effect."""
    call(
        "members.remove",
        _host.remove,
        text("the room of members.remove()", room),
        text("the user of members.remove()", user),
    )


def get(room: str, user: str) -> Member | None:
    """The member of the room, if the user is one."""
    found = call(
        "members.get",
        _host.get,
        text("the room of members.get()", room),
        text("the user of members.get()", user),
    )
    return None if found is None else _member(found)


def list_of(room: str, *, after: str | None = None, limit: int = 200) -> list[Member]:
    """Members after the user `after`, in the order of their ids' bytes; at most 200."""
    found = call(
        "members.list_of",
        _host.list,
        text("the room of members.list_of()", room),
        None if after is None else text("after of members.list_of()", after),
        whole("limit of members.list_of()", limit, 0, 2**32 - 1),
    )
    return [_member(each) for each in found]


def rooms(*, after: str | None = None, limit: int = 1000) -> list[Membership]:
    """The rooms after `after` in which the event's user is a member, in the order of their ids' bytes; at most 1,000."""
    found = call(
        "members.rooms",
        _host.rooms,
        None if after is None else text("after of members.rooms()", after),
        whole("limit of members.rooms()", limit, 0, 2**32 - 1),
    )
    return [
        Membership(each.room, each.role, each.joined_at, each.last_seq, each.read_up_to, each.mentions)
        for each in found
    ]


def mention(room: str, user: str) -> None:
    """Counts a mention of the member, whose connections get `unread-changed`. This is an effect."""
    call(
        "members.mention",
        _host.mention,
        text("the room of members.mention()", room),
        text("the user of members.mention()", user),
    )


def _member(found: object) -> Member:
    return Member(found.user, found.role, found.joined_at, found.read_up_to, found.mentions)  # type: ignore[attr-defined]
