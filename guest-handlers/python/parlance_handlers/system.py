"""Python's random numbers and logging, over those of the host.

Time, `os.urandom`, `secrets`, `uuid` and `print` need nothing: the component's system interface has them from the host.
The module `random` does, since its state would be the one that it had when the component was built, in each event.
`install` runs before the author's modules are imported.
"""

import contextlib
import importlib.util
import io
import logging
import os
import random
import sys
import traceback
from types import TracebackType
from typing import Any

from wit_world.imports import log

from . import phase

_SEED_BYTES = 32


class _EventRandom(random.Random):
    """Begins anew in each event, with a seed of the host's."""

    def __init__(self) -> None:
        self._seeded = True
        super().__init__(0)
        self._seeded = False

    def forget(self) -> None:
        self._seeded = False

    def _begin(self) -> None:
        if not self._seeded:
            phase.needs_event("random")
            self._seeded = True
            super().seed(os.urandom(_SEED_BYTES))

    def seed(self, *args: Any, **kwargs: Any) -> None:
        self._seeded = True
        super().seed(*args, **kwargs)

    def random(self) -> float:
        self._begin()
        return super().random()

    def getrandbits(self, k: int) -> int:
        self._begin()
        return super().getrandbits(k)


_random = _EventRandom()


class _Log(logging.Handler):
    """Writes what is logged with the standard library to the server's log."""

    def emit(self, record: logging.LogRecord) -> None:
        if not phase.is_event():
            return
        level = log.Level.TRACE
        for least, own in (
            (logging.ERROR, log.Level.ERROR),
            (logging.WARNING, log.Level.WARN),
            (logging.INFO, log.Level.INFO),
            (logging.DEBUG, log.Level.DEBUG),
        ):
            if record.levelno >= least:
                level = own
                break
        for line in self.format(record).split("\n"):
            log.write(level, line)


_sources: tuple[str, str] | None = None
"""The directory of the author's modules: in the component, and as its author names it."""


def log_exception(error: BaseException) -> None:
    """Logs the traceback, without the frames of this package."""
    frames: TracebackType | None = error.__traceback__
    while frames is not None and frames.tb_frame.f_globals.get("__package__") == __package__:
        frames = frames.tb_next
    for text in traceback.format_exception(type(error), error, frames):
        for line in text.rstrip("\n").split("\n"):
            if _sources is not None:
                line = line.replace(f'File "{_sources[0]}/', f'File "{_sources[1]}', 1)
            log.write(log.Level.ERROR, line)
    # The runtime prints it again, with these frames and its own.
    sys.stderr = io.StringIO()
    with contextlib.suppress(OSError):
        os.close(2)


def end_event() -> None:
    """Writes what was printed without a line's end, and forgets the event's random numbers."""
    sys.stdout.flush()
    sys.stderr.flush()
    _random.forget()


def install(module: str, directory: str) -> None:
    """Makes the standard library ask the host. `module` is the author's main one, and `directory` where it is."""
    global _sources
    found = importlib.util.find_spec(module)
    if found is not None and found.origin is not None:
        _sources = (os.path.dirname(found.origin), f"{directory}/" if directory else "")
    random._inst = _random  # type: ignore[attr-defined]
    for name in random.__all__:
        if not name[0].isupper() and hasattr(_random, name):
            setattr(random, name, getattr(_random, name))
    logging.basicConfig(level=logging.DEBUG, format="%(message)s", handlers=[_Log()])
