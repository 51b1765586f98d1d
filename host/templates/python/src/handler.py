"""Refuses messages with words that the setting `words` lists, and answers the event `hello`."""

from parlance_handlers import (
    Argument,
    Context,
    Denied,
    Draft,
    Json,
    NotFound,
    identity,
    messages,
    on_event,
    on_message,
    settings,
)


@on_message
def moderate(context: Context, message: Draft) -> None:
    words = settings.get("words", "").split()
    content = message.content.lower()
    if any(word in content for word in words):
        raise Denied("please mind your language")
    messages.post(message)


@on_event
def greet(context: Context, name: str, args: list[Argument]) -> Json:
    if name != "hello":
        raise NotFound(f"there is no event `{name}`")
    return {"greeting": f"Hello, {identity.username()}!"}
