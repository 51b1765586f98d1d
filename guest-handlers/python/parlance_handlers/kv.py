"""A small key-value space that belongs to this handler of this tenant.

Reads see what this event wrote; writes are effects. Events of other connections run at the same time: between a `get`
and a `set` another event may set the key, and its change is then lost. `increment` never loses a change. A key has 1 to
512 bytes, a value at most 64 KiB.
"""

import json

from wit_world.imports import kv as _host

from .host import call, text, whole
from .values import Json
from .wire import dump


def get(key: str) -> bytes | None:
    """The value; None if the key is absent or has expired."""
    return call("kv.get", _host.get, text("the key of kv.get()", key))


def get_json(key: str) -> Json:
    """The value that `set_json` set; None if the key is absent or has expired."""
    value = get(key)
    return None if value is None else json.loads(value)


def set(key: str, value: bytes | str, *, ttl_ms: int | None = None) -> None:
    """Sets the value; text is stored as UTF-8. With `ttl_ms` the key expires this many milliseconds after the event
    arrived. This is an effect."""
    if not isinstance(value, (bytes, str)):
        raise TypeError(f"kv.set() takes bytes or a str, not {type(value).__name__}; kv.set_json() takes any value")
    stored = value.encode() if isinstance(value, str) else value
    ttl = None if ttl_ms is None else whole("ttl_ms of kv.set()", ttl_ms, 0, 2**64 - 1)
    call("kv.set", _host.set, text("the key of kv.set()", key), stored, ttl)


def set_json(key: str, value: Json, *, ttl_ms: int | None = None) -> None:
    """Sets the value as JSON. This is an effect."""
    set(key, dump(value), ttl_ms=ttl_ms)


def delete(key: str) -> None:
    """Removes the key, if it exists. This is an effect."""
    call("kv.delete", _host.delete, text("the key of kv.delete()", key))


def increment(key: str, by: int = 1) -> int:
    """Adds to the integer at the key, where an absent one counts as 0, and returns the sum as this event sees it. This is
    an effect."""
    amount = whole("the second argument of kv.increment()", by, -(2**63), 2**63 - 1)
    return call("kv.increment", _host.increment, text("the key of kv.increment()", key), amount)
