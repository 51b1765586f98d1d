"""The settings that the tenant's operator gave the handler."""

from typing import TypeVar, overload

from wit_world.imports import settings as _host

from .host import call, text

T = TypeVar("T")


@overload
def get(key: str) -> str | None: ...
@overload
def get(key: str, default: T) -> str | T: ...
def get(key: str, default: object = None) -> object:
    """The value of a setting; `default` if the operator gave none."""
    value = call("settings.get", _host.get, text("the key of settings.get()", key))
    return default if value is None else value
