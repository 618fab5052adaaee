"""What can become of a notification that was not delivered."""


class PermanentDeliveryError(Exception):
    """The notification will not be delivered by trying again: a person has to act.

    The text reaches the log, so it names hosts and status codes but no recipient, path or content.
    """


class TemporaryDeliveryError(Exception):
    """The notification may be delivered later.

    Args:
        message: what happened; it reaches the log, as above.
        retry_after: seconds that the other side asked to wait, None if it did not say.
    """

    def __init__(self, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
