"""Calls of the host: only during an event, and with its refusals as `Fault`."""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from componentize_py_types import Err

from . import phase
from .errors import Fault

P = ParamSpec("P")
T = TypeVar("T")

_CODES = {
    "Fault_Denied": ("denied", "not allowed"),
    "Fault_NotFound": ("not-found", "not found"),
    "Fault_Invalid": ("invalid", "invalid"),
    "Fault_TooLarge": ("too-large", "too large"),
    "Fault_QuotaExceeded": ("quota-exceeded", "the event asks for more than it is allowed"),
    "Fault_Unavailable": ("unavailable", "unavailable"),
}


def call(name: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Calls the host; what it refuses becomes a `Fault`."""
    phase.needs_event(name)
    try:
        return function(*args, **kwargs)
    except Err as error:
        fault: Any = error.value
        code, message = _CODES[type(fault).__name__]
        raise Fault(name, code, getattr(fault, "value", message)) from None


def text(what: str, value: object) -> str:
    """The value, if it is a string: the bindings would take anything and trap."""
    if isinstance(value, str):
        return value
    raise TypeError(f"{what} must be a str, not {type(value).__name__}")


def whole(what: str, value: object, low: int, high: int) -> int:
    """The value, if it is a whole number, raised or lowered to the range."""
    if isinstance(value, int) and not isinstance(value, bool):
        return min(max(value, low), high)
    raise TypeError(f"{what} must be an int, not {type(value).__name__}")
