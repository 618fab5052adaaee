"""What the mails about failed tasks say."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Count, Max, Min, Q, QuerySet
from django.utils import timezone

from apps.operations.alerts import moment, send_now
from apps.operations.models import FailedTask, SentAlert
from apps.operations.overdue import overdue_entries

# Below the time between two digests, which the schedule decides: hourly at most.
DIGEST_PAUSE = timedelta(minutes=30)
DIGEST_KEY = "digest"
# How many of a kind a mail names.
EXAMPLES = 5
# Takes the place of a task's name where a message has led to no task.
DISCARDED = "discarded message"


@dataclass(frozen=True)
class FailureGroup:
    """Failures of one task for one reason.

    Attributes:
        task: The task's name.
        reason: The class of the exception.
        count: How many there are.
        first: When the first one failed.
        last: When the last one failed.
        latest: The last ones, at most ``EXAMPLES``.
        details: What is known beside the reason, and how often; the most frequent first.
    """

    task: str
    reason: str
    count: int
    first: datetime
    last: datetime
    latest: tuple[FailedTask, ...]
    details: tuple[tuple[str, int], ...]

    @classmethod
    def of_one(cls, failure: FailedTask) -> "FailureGroup":
        """Return a group of one failure, which need not be in the database."""
        details = ((_detail(failure.detail, failure.attempts), 1),) if failure.detail else ()
        return cls(
            failure.task,
            failure.reason,
            count=1,
            first=failure.failed_at,
            last=failure.failed_at,
            latest=(failure,),
            details=details,
        )

    @classmethod
    def of_rows(cls, task: str, reason: str, rows: QuerySet[FailedTask]) -> "FailureGroup":
        """Return the group of rows, at least one, that have this task and this reason."""
        total = rows.aggregate(count=Count("pk"), first=Min("failed_at"), last=Max("failed_at"))
        details = (
            rows.exclude(detail="")
            .values_list("detail", "attempts")
            .annotate(count=Count("pk"))
            .order_by("-count", "detail")[:EXAMPLES]
        )
        return cls(
            task,
            reason,
            **total,
            latest=tuple(rows.order_by("-failed_at")[:EXAMPLES]),
            details=tuple((_detail(text, attempts), count) for text, attempts, count in details),
        )

    def subject(self) -> str:
        """Return the subject of the mail about this group."""
        if self.task == DISCARDED:
            return f"{self.count} {DISCARDED}{'s' if self.count > 1 else ''}: {self.reason}"
        times = f" {self.count} times" if self.count > 1 else ""
        return f"{self.task} failed{times}: {self.reason}"

    def body(self) -> str:
        """Return the mail about this group."""
        lines = [*self._what(), ""]
        lines += [f"{count} x {detail}" for detail, count in self.details]
        if self.details:
            lines.append("")
        if self.count > 1:
            lines += [f"First: {moment(self.first)}", f"Last: {moment(self.last)}"]
        else:
            lines.append(f"Time: {moment(self.last)}")
        ids = ", ".join(failure.task_id for failure in self.latest)
        more = self.count - len(self.latest)
        lines.append(f"Task ids: {ids}{f' and {more} more' if more else ''}")
        if self.task != DISCARDED:
            names = ", ".join(self.latest[0].argument_names) or "none"
            lines += [
                f"Arguments: {names}",
                "",
                "The tracebacks are in the worker's log, under the task ids.",
            ]
        lines += [
            "Further failures of this kind are kept for an hour. They are counted in the next mail",
            "about it, or in the digest.",
        ]
        return "\n".join(lines) + "\n"

    def _what(self) -> list[str]:
        times = f"{self.count} times" if self.count > 1 else "once"
        if self.task != DISCARDED:
            return [f"The task {self.task} failed for good {times} with {self.reason}."]
        return [
            f"A worker took a message and discarded it {times}: {self.reason}.",
            "Is the worker older than what sent it, was a task renamed, or does something else",
            "write to this broker?",
        ]


def failures_subject(task: str, reason: str) -> str:
    """Return what the right to tell of failures of one kind is claimed with."""
    return f"{task} failed: {reason}"


def tell_of_failures(task: str, reason: str) -> bool:
    """Send one mail about all failures of a kind that nobody was told of.

    A worker that is killed between mail and mark tells of them twice, which is better than never.

    Args:
        task: The task's name.
        reason: The class of the exception.

    Returns:
        Whether nothing is left to tell.
    """
    untold = FailedTask.objects.filter(task=task, reason=reason, reported_at=None)
    newest = untold.aggregate(newest=Max("pk"))["newest"]
    if newest is None:
        return True
    # One that fails meanwhile is left for the next mail.
    rows = untold.filter(pk__lte=newest)
    group = FailureGroup.of_rows(task, reason, rows)
    if not send_now(group.subject(), group.body()):
        return False
    rows.update(reported_at=timezone.now())
    return True


def send_digest() -> bool:
    """Send one mail about what failed since the last one and what is overdue, if there is any.

    A second one within ``DIGEST_PAUSE`` is not sent. A worker that is killed between mail and mark
    does send it, which is better than none.

    Returns:
        Whether nothing is left to tell; also if nobody wants to hear.
    """
    now = timezone.now()
    last = SentAlert.objects.filter(key=DIGEST_KEY).first()
    if not settings.ALERT_RECIPIENTS or (last and now - last.sent_at < DIGEST_PAUSE):
        return True
    newest = FailedTask.objects.aggregate(newest=Max("pk"))["newest"] or 0
    rows = FailedTask.objects.filter(pk__lte=newest)
    if last:
        rows = rows.filter(Q(failed_at__gt=last.sent_at) | Q(reported_at=None))
    groups = (
        rows.values_list("task", "reason")
        .annotate(count=Count("pk"), first=Min("failed_at"), last=Max("failed_at"))
        .order_by("-count", "task", "reason")
    )
    failed = [
        f"{count} x {task}: {reason} ({moment(first)} to {moment(last)})"
        for task, reason, count, first, last in groups
    ]
    late = [str(entry) for entry in overdue_entries()]
    if not failed and not late:
        return True
    body = _section("Tasks that failed for good", failed) + _section("Overdue", late)
    if not send_now("What failed since the last digest", f"{body}The log has the details.\n"):
        return False
    FailedTask.objects.filter(reported_at=None, pk__lte=newest).update(reported_at=now)
    SentAlert.objects.update_or_create(key=DIGEST_KEY, defaults={"sent_at": now})
    return True


def _section(heading: str, lines: Iterable[str]) -> str:
    text = "".join(f"- {line}\n" for line in lines)
    return f"{heading}:\n{text}\n" if text else ""


def _detail(detail: str, attempts: int | None) -> str:
    return f"{detail} (attempts: {attempts})" if attempts else detail
