"""The tests' own cron: it reads five fields as every platform does."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.platforms.cron import is_due, parse

# A Thursday; the year has 365 days.
NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)


def due(schedule: str, start: datetime, **period: int) -> list[str]:
    """Return the minutes of a period at which a crontab is due, as `month-day hour:minute`."""
    count = timedelta(**period) // timedelta(minutes=1)
    moments = (start + timedelta(minutes=number) for number in range(count))
    return [f"{moment:%m-%d %H:%M}" for moment in moments if is_due(schedule, moment)]


@pytest.mark.parametrize(
    ("schedule", "minutes"),
    [
        ("30 3 * * *", ["01-01 03:30", "01-02 03:30"]),
        ("0,45 6 * * 5", ["01-02 06:00", "01-02 06:45"]),
        ("0 8-20/6 2 * *", ["01-02 08:00", "01-02 14:00", "01-02 20:00"]),
        # The first of the month or a Friday; with a star in one of them, both must fit.
        ("0 0 1 * 5", ["01-01 00:00", "01-02 00:00"]),
        ("0 0 */2 * 5", []),
        ("0 0 * 2 *", []),
    ],
)
def test_a_crontab_is_due_at_its_minutes(schedule: str, minutes: list[str]) -> None:
    assert due(schedule, NEW_YEAR, days=2) == minutes


def test_a_star_is_due_every_minute_and_a_step_every_so_many() -> None:
    assert len(due("* * * * *", NEW_YEAR, hours=2)) == 120
    assert due("*/25 * * * *", NEW_YEAR, hours=1) == ["01-01 00:00", "01-01 00:25", "01-01 00:50"]


def test_sunday_is_0() -> None:
    assert due("0 0 * * 0", NEW_YEAR, days=7) == ["01-04 00:00"]


@pytest.mark.parametrize(
    ("schedule", "sentence"),
    [
        ("* * * *", "has not five fields"),
        ("* * * * * *", "has not five fields"),
        ("*  * * * *", "has not five fields"),
        ("60 * * * *", "wrong minute: '60' is not within 0-59"),
        ("* 24 * * *", "wrong hour: '24'"),
        ("* * 0 * *", "wrong day of month: '0'"),
        ("* * * 13 *", "wrong month: '13'"),
        ("* * * * 7", "wrong day of week: '7' is not within 0-6"),
        ("9-5 * * * *", "wrong minute: '9-5'"),
        ("5/10 * * * *", "'5/10' is no number, range or step"),
        ("*/0 * * * *", "'\\*/0' is no number"),
        ("1,, * * * *", "'' is no number"),
        ("* * * * mon", "wrong day of week: 'mon' is no number"),
        ("@daily", "has not five fields"),
    ],
)
def test_what_is_no_crontab_everywhere_is_refused(schedule: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        parse(schedule)
