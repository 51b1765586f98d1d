"""Values as the host has them: JSON texts with attachments beside them."""

import json
from collections.abc import Sequence

from .values import Argument, Json


def dump(value: Json) -> str:
    """The value as JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def dump_optional(value: Json) -> str | None:
    """The value as JSON; None for None."""
    return None if value is None else dump(value)


def load_optional(text: str | None) -> Json:
    """The value of a JSON text; None for none."""
    return None if text is None else json.loads(text)


def to_wire(values: Sequence[Argument]) -> tuple[str, list[bytes]]:
    """A JSON array of the values, with a placeholder for each bytes object, and these objects."""
    attachments: list[bytes] = []

    def place(value: object) -> object:
        if isinstance(value, (bytes, bytearray, memoryview)):
            attachments.append(bytes(value))
            return {"_placeholder": True, "num": len(attachments) - 1}
        raise TypeError(f"an argument of an event cannot be a {type(value).__name__}: use what JSON can hold, or bytes")

    text = json.dumps(list(values), ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=place)
    return text, attachments


def from_wire(text: str, attachments: Sequence[bytes]) -> list[Argument]:
    """The values of a JSON array, with the attachments in their places."""

    def place(object_: dict[str, Argument]) -> Argument:
        number = object_.get("num")
        if object_.get("_placeholder") is True and isinstance(number, int) and 0 <= number < len(attachments):
            return bytes(attachments[number])
        return object_

    values = json.loads(text, object_hook=place)
    return values if isinstance(values, list) else [values]
