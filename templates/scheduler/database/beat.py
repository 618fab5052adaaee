"""The scheduler that beat runs: the schedule in the database, with signs of life."""

from typing import Any

from django.db.models import QuerySet
from django_celery_beat.models import PeriodicTask
from django_celery_beat.schedulers import DatabaseScheduler

from apps.operations import heartbeat
from apps.operations.last_runs import latest_run, recorded_runs
from apps.operations.presence import Presence


class Scheduler(DatabaseScheduler):
    """The schedule in the database, edited in the admin."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._presence = Presence()
        super().__init__(*args, **kwargs)

    def setup_schedule(self) -> None:
        """Read the schedule, and let others see that this beat runs."""
        super().setup_schedule()
        self._presence.start()

    def install_default_entries(self, data: Any) -> None:
        """Add the deletion of old results, unless what keeps the results does that itself.

        Args:
            data: The schedule in the settings, which is empty.
        """
        if not self.app.backend.supports_autoexpire:
            super().install_default_entries(data)

    def enabled_models_qs(self) -> QuerySet[PeriodicTask]:
        """Return every row that is enabled.

        The library leaves out crontabs of other hours to read less. After a pause of hours it would
        send those that fell due meanwhile in the middle of the next night.
        """
        rows: QuerySet[PeriodicTask] = PeriodicTask.objects.enabled()
        return rows

    def enabled_models(self) -> list[PeriodicTask]:
        """Return the rows to send, each reckoned from its last run, whichever beat sent that."""
        rows: list[PeriodicTask] = super().enabled_models()
        runs = recorded_runs()
        for row in rows:
            # One that has not run since its start time is due, however late it is seen.
            if row.name in runs and (row.last_run_at or not row.start_time):
                row.last_run_at = latest_run(row.schedule, row.last_run_at, runs[row.name])
        return rows

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Run what is due and show a sign of life.

        Returns:
            The time until the next tick, in seconds.
        """
        delay: float = super().tick(*args, **kwargs)
        heartbeat.touch("beat")
        return delay

    def close(self) -> None:
        """Save what there is to save and take the signs of life away."""
        super().close()
        heartbeat.stop("beat")
        self._presence.stop()
