"""The errors that refuse an event, and the one with which the host refuses a call."""


class Rejection(Exception):
    """Refuses the event: the client gets the code and the message, and nothing that the handler asked for happens."""

    code: str = "denied"

    def __init__(self, message: str = "not allowed", *, retry_after_ms: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after_ms = retry_after_ms
        """After how many milliseconds the client may try again: 1 to 86,400,000 (a day). The client gets it with
        `RateLimited`, `QuotaExceeded` and `Unavailable`."""


class Denied(Rejection):
    """The user may not do this."""

    code = "denied"


class Invalid(Rejection):
    """The event is malformed or breaks a rule of the handler."""

    code = "invalid"


class NotFound(Rejection):
    """What the event refers to does not exist, or this user may not know that it exists."""

    code = "not-found"


class Conflict(Rejection):
    """It conflicts with the current state."""

    code = "conflict"


class TooLarge(Rejection):
    """A size limit is exceeded."""

    code = "too-large"


class RateLimited(Rejection):
    """There were too many events in a short time. The client may try again later; `retry_after_ms` says when."""

    code = "rate-limited"


class QuotaExceeded(Rejection):
    """A quota is used up."""

    code = "quota-exceeded"


class Unavailable(Rejection):
    """Something that the handler needs is down. The client may try again later."""

    code = "unavailable"


class Fault(Rejection):
    """The host refuses a call, which then had no effect; the handler may continue.

    `code` is `denied`, `not-found`, `invalid`, `too-large`, `quota-exceeded` or `unavailable`. A handler that does not
    catch it refuses the event with this code.
    """

    def __init__(self, call: str, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.call = call
        """The call, such as `messages.post`."""
