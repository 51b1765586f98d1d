"""Whether an event is being handled. The host answers no calls while the component is built."""

_in_event = False


def begin() -> None:
    """An event begins."""
    global _in_event
    _in_event = True


def end() -> None:
    """The event is over."""
    global _in_event
    _in_event = False


def is_event() -> bool:
    """Whether an event is being handled."""
    return _in_event


def needs_event(what: str) -> None:
    """Fails while the component is built: the module's top level runs then, once, and not for each event."""
    if not _in_event:
        raise RuntimeError(f"{what}() works only during an event: call it in a handler, not at the top level of a module")
