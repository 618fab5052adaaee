"""The five fields of a crontab, as far as every platform reads them in the same way."""

import re

# Field -> its least and its greatest value. Sunday is 0; not every cron takes 7 for it.
FIELDS = {
    "minute": (0, 59),
    "hour": (0, 23),
    "day of the month": (1, 31),
    "month": (1, 12),
    "day of the week": (0, 6),
}
PART = re.compile(r"(?:\*|(?P<first>\d+)(?:-(?P<last>\d+))?)(?:/(?P<step>[1-9]\d*))?")


def five_fields(text: str) -> str:
    """Return a crontab as it is if every field is numbers, ranges, steps or a star.

    Args:
        text: the five fields.

    Raises:
        ValueError: There are not five, or one of them is out of its range.
    """
    values = text.split(" ")
    if len(values) != len(FIELDS):
        raise ValueError(f"{text!r} has not five fields")
    for (field, (least, greatest)), value in zip(FIELDS.items(), values, strict=True):
        for part in value.split(","):
            found = PART.fullmatch(part)
            if not found:
                raise ValueError(f"{part!r} is no {field}")
            first = int(found["first"] or least)
            last = int(found["last"] or first)
            if not least <= first <= last <= greatest:
                raise ValueError(f"{part!r} is out of the range of a {field}")
    return text
