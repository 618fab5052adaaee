"""The five fields of a crontab, as far as every platform reads them in the same way."""

import re

# Field -> its least and its greatest value. Sunday is 0; not every cron takes 7 for it.
FIELDS = {
    "minute": (0, 59),
    "hour": (0, 23),
    "day of month": (1, 31),
    "month": (1, 12),
    "day of week": (0, 6),
}
PART = re.compile(r"(?:\*|(?P<first>\d+)(?:-(?P<last>\d+))?)(?:/(?P<step>[1-9]\d*))?")


def parse(schedule: str) -> list[set[int]]:
    """Return the numbers that each field of a crontab names.

    Args:
        schedule: five fields of numbers, lists, ranges and steps, which every cron reads alike.

    Raises:
        ValueError: there are not five, or one of them is out of its range.
    """
    texts = schedule.split(" ")
    if len(texts) != len(FIELDS):
        raise ValueError(f"{schedule!r} has not five fields with single spaces")
    fields = []
    for text, (name, (least, greatest)) in zip(texts, FIELDS.items(), strict=True):
        try:
            parts = [_numbers(part, least, greatest) for part in text.split(",")]
        except ValueError as error:
            raise ValueError(f"{schedule!r} has a wrong {name}: {error}") from None
        fields.append(set().union(*parts))
    return fields


def _numbers(part: str, least: int, greatest: int) -> set[int]:
    found = PART.fullmatch(part)
    if not found or (found["step"] and found["first"] and not found["last"]):
        raise ValueError(f"{part!r} is no number, range or step")
    first = int(found["first"] or least)
    last = int(found["last"] or found["first"] or greatest)
    if not least <= first <= last <= greatest:
        raise ValueError(f"{part!r} is not within {least}-{greatest}")
    return set(range(first, last + 1, int(found["step"] or 1)))


def five_fields(schedule: str) -> str:
    """Return a crontab as it is, if it is one; see `parse`."""
    parse(schedule)
    return schedule
