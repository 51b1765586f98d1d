"""A handler as a Python tool chain makes it: with all of WASI, for what CPython may want of a system."""

import json
import random
import sys
import time

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import ambient, log
from wit_world.imports.types import Rejection_Invalid


def prints(_):
    print("printed first")
    log.write(log.Level.INFO, "logged second")
    print("printed as an error", file=sys.stderr)
    return {"ok": True}


def clock(_):
    """Both clocks of the host, in milliseconds."""
    return {"clock": time.time_ns() // 1_000_000, "ambient": ambient.now_ms()}


def echo(action):
    return {"ok": True, "action": action}


def chance(_):
    return {"number": random.SystemRandom().randrange(2**53)}


def fail(_):
    raise RuntimeError("nobody expects this")


def files(action):
    return {"ok": True, "text": open(action["path"]).read()}


counted = 0


def count(_):
    """How many events of this name the instance has had."""
    global counted
    counted += 1
    return {"ok": True, "count": counted}


DEEDS = {
    "print": prints,
    "clock": clock,
    "echo": echo,
    "chance": chance,
    "fail": fail,
    "files": files,
    "count": count,
}


class OnEvent(exports.OnEvent):
    def handle(self, ctx, name, arguments, attachments):
        action = DEEDS.get(name)
        if action is None:
            raise Err(Rejection_Invalid(f"no such action: {name}"))
        (argument,) = json.loads(arguments)
        return json.dumps(action(argument))
