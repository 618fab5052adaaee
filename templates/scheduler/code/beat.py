"""The scheduler that beat runs: the schedule in the code, with signs of life."""

from typing import Any

from celery.beat import PersistentScheduler

from apps.operations import heartbeat
from apps.operations.last_runs import latest_run, recorded_runs
from apps.operations.presence import Presence


class Scheduler(PersistentScheduler):
    """The schedule in the code; a file remembers when each entry ran last."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._presence = Presence()
        super().__init__(*args, **kwargs)

    def setup_schedule(self) -> None:
        """Read the schedule, and let others see that this beat runs."""
        super().setup_schedule()
        self._presence.start()

    def merge_inplace(self, b: dict[str, Any]) -> None:
        """Bring the file in line with the code, each entry reckoned from its last run.

        The file may be new or old, because another beat ran elsewhere: workers know more then.

        Args:
            b: The schedule in the code.
        """
        entries: dict[str, Any] = self.schedule
        known = {name: entry.last_run_at for name, entry in entries.items()}
        super().merge_inplace(b)
        runs = recorded_runs()
        for name, entry in entries.items():
            if name in runs:
                entry.last_run_at = latest_run(entry.schedule, known.get(name), runs[name])

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
