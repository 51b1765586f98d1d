"""A small key-value space that belongs to this handler of this tenant.

Reads see what this event wrote; writes are effects. A key has 1 to 512 bytes, a value at most 64 KiB.

An event may read and write keys as if it ran alone: if another event changes a key that this one has read, the host runs
this one again before anybody has seen what it did. After five more runs it fails with `conflict`. Where the operator has
set `isolation_level = "none"`, only `swap`, `set_if_absent` and `increment` lose no change.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar, cast

from wit_world.imports import kv as _host

from .host import call, text, whole
from .values import Json
from .wire import dump

T = TypeVar("T", bound=Json)

_PAGE = 200
"""Most keys that the host returns in one page."""
_MEMBER = b"1"
"""The value of a set's members. Not empty, so that it counts as true."""


def get(key: str) -> bytes | None:
    """The value; None if the key is absent or has expired."""
    return call("kv.get", _host.get, text("the key of kv.get()", key))


def get_json(key: str) -> Json:
    """The value that `set_json` set; None if the key is absent or has expired."""
    value = get(key)
    return None if value is None else json.loads(value)


def get_many(keys: Sequence[str]) -> list[bytes | None]:
    """The values of up to 100 keys, in their order, as of one moment. Each counts as a call of the host."""
    if isinstance(keys, str):
        raise TypeError("the keys of kv.get_many() must be a list of str, not one str")
    return call("kv.get_many", _host.get_many, [text("each key of kv.get_many()", key) for key in keys])


def scan(prefix: str, *, after: str | None = None, limit: int = _PAGE) -> list[tuple[str, bytes]]:
    """A page of the keys that begin with `prefix`, which may be empty, with their values, in the order of their bytes.

    It begins after the key `after`, and has at most `limit` keys, or 200. A page also ends when its values have 256 KiB
    together. It is empty only at the end.
    """
    start = None if after is None else text("after of kv.scan()", after)
    most = whole("limit of kv.scan()", limit, 0, _PAGE)
    found = call("kv.scan", _host.scan, text("the prefix of kv.scan()", prefix), start, most)
    return [(entry.key, entry.value) for entry in found]


def set(key: str, value: bytes | str, *, ttl_ms: int | None = None) -> None:
    """Sets the value; text is stored as UTF-8. With `ttl_ms` the key expires this many milliseconds after the event
    arrived. This is an effect."""
    call("kv.set", _host.set, text("the key of kv.set()", key), _bytes("kv.set()", value), _ttl("kv.set()", ttl_ms))


def set_json(key: str, value: Json, *, ttl_ms: int | None = None) -> None:
    """Sets the value as JSON. This is an effect."""
    set(key, dump(value), ttl_ms=ttl_ms)


def swap(key: str, expected: bytes | str | None, value: bytes | str, *, ttl_ms: int | None = None) -> bool:
    """Sets the value if the key has the value `expected`, or is absent for None, and returns whether it did. This is an
    effect."""
    what = "kv.swap()"
    before = None if expected is None else _bytes(what, expected)
    return call("kv.swap", _host.swap, text(f"the key of {what}", key), before, _bytes(what, value), _ttl(what, ttl_ms))


def set_if_absent(key: str, value: bytes | str, *, ttl_ms: int | None = None) -> bool:
    """Sets the value if the key is absent, and returns whether it did. This is an effect."""
    what = "kv.set_if_absent()"
    name = text(f"the key of {what}", key)
    return call("kv.set_if_absent", _host.set_if_absent, name, _bytes(what, value), _ttl(what, ttl_ms))


def delete(key: str) -> None:
    """Removes the key, if it exists. This is an effect."""
    call("kv.delete", _host.delete, text("the key of kv.delete()", key))


def increment(key: str, by: int = 1) -> int:
    """Adds to the integer at the key, where an absent one counts as 0, and returns the sum as this event sees it. This is
    an effect."""
    amount = whole("the second argument of kv.increment()", by, -(2**63), 2**63 - 1)
    return call("kv.increment", _host.increment, text("the key of kv.increment()", key), amount)


class Key(Generic[T]):
    """A key whose value is a `T`, stored as JSON: `Key[str]("title", room)`.

    Its name is the parts, joined by `/`. Within a part `/`, `:` and `%` are escaped, so different parts never make one
    name.
    """

    def __init__(self, *name: str) -> None:
        self.key = _join(name)
        """The key as the functions of this module take it."""

    def get(self) -> T | None:
        """The value; None if the key is absent or has expired."""
        return cast("T | None", get_json(self.key))

    def set(self, value: T, *, ttl_ms: int | None = None) -> None:
        """Sets the value. This is an effect."""
        set_json(self.key, value, ttl_ms=ttl_ms)

    def set_if_absent(self, value: T, *, ttl_ms: int | None = None) -> bool:
        """Sets the value if the key is absent, and returns whether it did. This is an effect."""
        return set_if_absent(self.key, dump(value), ttl_ms=ttl_ms)

    def update(self, change: Callable[[T | None], T]) -> T:
        """Replaces the value by what `change` makes of it, and returns the new value, which does not expire. No change of
        another event is lost. `change` may be called more than once. This is an effect."""
        while True:
            before = get(self.key)
            after = change(None if before is None else json.loads(before))
            # Another event can change the key between the two calls.
            if swap(self.key, before, dump(after)):
                return after

    def increment(self: "Key[int]", by: int = 1) -> int:
        """Adds to the number, as `kv.increment` does. This is an effect."""
        return increment(self.key, by)

    def delete(self) -> None:
        """Removes the key, if it exists. This is an effect."""
        delete(self.key)


class _Member(Key[T]):
    """The key of a map's member."""

    def __init__(self, prefix: str, member: str) -> None:
        self.key = prefix + text("a member", member)


class Map(Generic[T]):
    """A map of members, which may be any text, to values, stored as JSON: `Map[int]("votes", poll)`.

    It is the keys that begin with its name and a `:`. The name is that of a `Key`.
    """

    def __init__(self, *name: str) -> None:
        self._prefix = f"{_join(name)}:"

    def key(self, member: str) -> Key[T]:
        """The key of a member, to update it, or to set it if it is absent."""
        return _Member(self._prefix, member)

    def get(self, member: str) -> T | None:
        """The value of a member; None if there is no such member."""
        return self.key(member).get()

    def set(self, member: str, value: T, *, ttl_ms: int | None = None) -> None:
        """Sets the value of a member. This is an effect."""
        self.key(member).set(value, ttl_ms=ttl_ms)

    def remove(self, member: str) -> bool:
        """Removes a member, and returns whether it was there. This is an effect."""
        return _remove(self._prefix, member)

    def items(self) -> Iterator[tuple[str, T]]:
        """The members with their values, in the order of the members' bytes. A page of up to 200 is read when it is
        needed."""
        return ((member, json.loads(value)) for member, value in _members(self._prefix))

    def count(self) -> int:
        """How many members there are. All of them are read."""
        return sum(1 for _ in self)

    def __contains__(self, member: str) -> bool:
        return _contains(self._prefix, member)

    def __iter__(self) -> Iterator[str]:
        return (member for member, _ in _members(self._prefix))


class Set:
    """A set of members, which may be any text: `Set("guests", room)`.

    It is the keys that begin with its name and a `:`. The name is that of a `Key`.
    """

    def __init__(self, *name: str) -> None:
        self._prefix = f"{_join(name)}:"

    def add(self, member: str) -> bool:
        """Adds a member, and returns whether it is new. Of events that add one member at once, one gets True. This is an
        effect."""
        return set_if_absent(self._prefix + text("a member", member), _MEMBER)

    def remove(self, member: str) -> bool:
        """Removes a member, and returns whether it was there. This is an effect."""
        return _remove(self._prefix, member)

    def count(self) -> int:
        """How many members there are. All of them are read."""
        return sum(1 for _ in self)

    def __contains__(self, member: str) -> bool:
        return _contains(self._prefix, member)

    def __iter__(self) -> Iterator[str]:
        """The members, in the order of their bytes. A page of up to 200 is read when it is needed."""
        return (member for member, _ in _members(self._prefix))


def _bytes(what: str, value: object) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bytes):
        return value
    raise TypeError(f"{what} takes bytes or a str, not {type(value).__name__}; kv.set_json() takes any value")


def _ttl(what: str, ttl_ms: int | None) -> int | None:
    return None if ttl_ms is None else whole(f"ttl_ms of {what}", ttl_ms, 0, 2**64 - 1)


def _join(parts: Sequence[str]) -> str:
    """The name of these parts. Neither `/` nor `:` is within a part, so the first `:` of a key ends the name of a map or a
    set, and no two names have a key in common."""
    if not parts:
        raise TypeError("a key, map or set takes a name: Map('votes', poll)")
    names = [text("each part of a name", part) for part in parts]
    return "/".join(name.replace("%", "%25").replace("/", "%2F").replace(":", "%3A") for name in names)


def _contains(prefix: str, member: str) -> bool:
    return get(prefix + text("a member", member)) is not None


def _remove(prefix: str, member: str) -> bool:
    was_there = _contains(prefix, member)
    if was_there:
        delete(prefix + member)
    return was_there


def _members(prefix: str) -> Iterator[tuple[str, bytes]]:
    after = None
    while page := scan(prefix, after=after):
        for key, value in page:
            yield key.removeprefix(prefix), value
        after = page[-1][0]
