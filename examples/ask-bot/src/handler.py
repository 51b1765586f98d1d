"""A bot: it answers messages such as `!ask how high is the Eiffel Tower?` with what a web service says.

The settings: `service`, the URL to which the question goes, and `token`, if the service wants one. The operator grants
requests to the service's host.
"""

import logging

from parlance_handlers import Context, Denied, Draft, Fault, Invalid, http, messages, on_message, settings

COMMAND = "!ask"
QUESTION_MAX = 500
"""Most characters of a question; of an answer four times as many are shown."""
TIMEOUT_MS = 1000
"""How long the service may take. The event has 2 seconds (`sandbox.wall_time`), and the question is posted in any case."""


@on_message
def answer(context: Context, message: Draft) -> None:
    if isinstance(message.metadata, dict) and "bot" in message.metadata:
        raise Denied("`bot` in the metadata is for the bot's answers")
    # First, since the host refuses it if the user is not in the room: then nothing is asked.
    messages.post(message)
    command, _, question = message.content.partition(" ")
    if command == COMMAND:
        # A handler acts for the event's user. The metadata tells clients to show the answer as the bot's.
        messages.post(Draft(message.room, ask(question.strip()), metadata={"bot": "ask"}))


def ask(question: str) -> str:
    if not 1 <= len(question) <= QUESTION_MAX:
        raise Invalid(f"{COMMAND} takes a question of up to {QUESTION_MAX} characters")
    token = settings.get("token")
    headers = {"authorization": f"Bearer {token}"} if token else {}
    try:
        response = http.request(
            "POST",
            settings.get("service", ""),
            headers=headers,
            json={"question": question},
            timeout_ms=TIMEOUT_MS,
        )
    except Fault as fault:
        logging.warning("the service cannot be asked: %s", fault)
        return "I cannot reach my service. Ask me again later."
    try:
        answered = response.json() if response.status == 200 else None
    except ValueError:
        answered = None
    text = answered.get("answer") if isinstance(answered, dict) else None
    if not isinstance(text, str) or not text.strip():
        logging.warning("the service answered with status %d, and nothing that is an answer", response.status)
        return "My service has no answer."
    return text[: 4 * QUESTION_MAX]
