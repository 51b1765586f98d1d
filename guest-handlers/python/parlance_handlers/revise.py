"""Changes of messages that are posted, on behalf of the event's user, who must be in the room.

Whether the user may make a change is for the handler to decide. Changes are effects.

    @on_revise
    def change(context: Context, message: str, change: revise.Change) -> None:
        match change:
            case revise.Edit():
                revise.edit(message, change.content, change.metadata)
            case revise.Delete():
                revise.delete(message)
            case revise.Mark():
                revise.mark(message, change.kind, change.value, change.on)
"""

from dataclasses import dataclass
from typing import Any, TypeAlias

from wit_world.imports import revise as _host

from .host import call, text
from .values import Json
from .wire import dump_optional, load_optional


@dataclass(frozen=True, slots=True)
class Edit:
    """A client asks for a new text (`edit-message`)."""

    content: str
    metadata: Json


@dataclass(frozen=True, slots=True)
class Delete:
    """A client asks to delete the message (`delete-message`)."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A client marks the message, or takes the mark back (`mark-message`)."""

    kind: str
    """What kind of mark, such as `reaction`."""
    value: str
    """Which one of that kind."""
    on: bool


Change: TypeAlias = Edit | Delete | Mark
"""What a client asks for. Sizes are within the limits."""


@dataclass(frozen=True, slots=True)
class Marks:
    """The marks of one kind and value on a message."""

    kind: str
    value: str
    count: int
    """How many users have set it."""
    users: list[str]
    """The first of them, at most 50."""


@dataclass(frozen=True, slots=True)
class Revision:
    """What has become of a message since it was posted."""

    rev: int
    """The number of its last change in its room; 0 for none."""
    edited_at: int | None
    """When its text was changed last, in milliseconds since the Unix epoch."""
    marks: list[Marks]
    """In the order in which the first of each was set."""


def edit(id: str, content: str, metadata: Json = None) -> None:
    """Gives the message another text, and other metadata or none. Its room gets `message-edited`. This is an effect."""
    call(
        "revise.edit",
        _host.edit,
        text("the id of revise.edit()", id),
        text("the content of revise.edit()", content),
        dump_optional(metadata),
    )


def append(id: str, fragment: str, done: bool = False) -> None:
    """Adds text to the end of the message: an answer that comes word by word. No edit. This is an effect.

    Its room gets `message-appended`: what is added within 40 ms comes as one, and at once when `done` says that the text is
    complete. An empty fragment without `done` does nothing.
    """
    call(
        "revise.append",
        _host.append,
        text("the id of revise.append()", id),
        text("the fragment of revise.append()", fragment),
        bool(done),
    )


def delete(id: str) -> None:
    """Removes the message's text, metadata and marks; its place stays. Its room gets `message-deleted`. An effect."""
    call("revise.delete", _host.delete, text("the id of revise.delete()", id))


def mark(id: str, kind: str, value: str, on: bool = True) -> None:
    """Marks the message for this user, or takes the mark back. `kind` and `value` have 1 to 64 bytes.

    Its room gets `message-marked`, unless the mark was so already. This is an effect.
    """
    call(
        "revise.mark",
        _host.mark,
        text("the id of revise.mark()", id),
        text("the kind of revise.mark()", kind),
        text("the value of revise.mark()", value),
        bool(on),
    )


def get(id: str) -> Revision:
    """What has become of a message. Does not see this event's own changes."""
    found = call("revise.get", _host.get, text("the id of revise.get()", id))
    marks = [Marks(each.kind, each.value, each.count, list(each.users)) for each in found.marks]
    return Revision(found.rev, found.edited_at, marks)


def read_change(change: Any) -> Change:
    """What the host gives to a handler."""
    match type(change).__name__:
        case "Change_Edit":
            return Edit(change.value.content, load_optional(change.value.metadata))
        case "Change_Mark":
            return Mark(change.value.kind, change.value.value, change.value.on)
        case _:
            return Delete()
