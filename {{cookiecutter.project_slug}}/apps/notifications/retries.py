"""When the other side asked to be tried again."""

import re
from datetime import UTC, datetime

from django.utils.http import parse_http_date_safe


def parse_retry_after(value: str) -> int | None:
    """Return the seconds that a Retry-After header asks to wait.

    Args:
        value: the header, a number of seconds or a date.

    Returns:
        The seconds, None if the header is blank or makes no sense.
    """
    if re.fullmatch(r"[0-9]{1,9}", value):
        return int(value)
    date = parse_http_date_safe(value)
    return None if date is None else max(0, date - int(datetime.now(UTC).timestamp()))
