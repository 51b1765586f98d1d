"""Events that happen later.

A timer belongs to this handler of this tenant, survives restarts, and takes effect once: it is removed together with what
the function with `@on_timer` does. A name has 1 to 256 bytes, a payload at most 16 KiB as JSON. A handler has at most 1,000
timers, unless the operator set another limit.
"""

import time
from datetime import datetime, timedelta

from wit_world.imports import timers as _host

from .host import call, text, whole
from .values import Json
from .wire import dump


def set(name: str, due: int | datetime | timedelta, payload: Json = None, *, every_ms: int | None = None) -> None:
    """Sets a timer, or replaces the one with this name.

    `due` is a delay (`timedelta(minutes=5)`), an aware `datetime`, or milliseconds since the Unix epoch; a time that has
    passed is due at once. With `every_ms`, at least 1,000, the timer is due again that many milliseconds later, and so on;
    what an outage made it miss is made up for once. This is an effect.
    """
    every = None if every_ms is None else whole("every_ms of timers.set()", every_ms, 0, 2**64 - 1)
    at = whole("the time of timers.set()", _moment(due), 0, 2**64 - 1)
    call("timers.set", _host.set, text("the name of timers.set()", name), at, every, dump(payload))


def cancel(name: str) -> None:
    """Removes the timer, if there is one. One that is being handled at this moment may still take effect. This is an
    effect."""
    call("timers.cancel", _host.cancel, text("the name of timers.cancel()", name))


def _moment(due: int | datetime | timedelta) -> int:
    """Milliseconds since the Unix epoch."""
    if isinstance(due, timedelta):
        return time.time_ns() // 1_000_000 + due // timedelta(milliseconds=1)
    if isinstance(due, datetime):
        if due.tzinfo is None:
            raise TypeError("the time of timers.set() needs a time zone, such as datetime.now(timezone.utc)")
        return round(due.timestamp() * 1000)
    return due
