{% if cookiecutter.scheduler == "platform" -%}
"""Looking at the schedule from the side, in workers, so that they notice what cron did not send."""
{%- else -%}
"""Looking at the schedule from the side, in worker and beat, so that each notices the other."""
{%- endif %}

import logging
import threading

from django.db import connection

logger = logging.getLogger(__name__)

# In seconds. When a process starts, what was late before gets time to run.
FIRST_LOOK = 180.0
INTERVAL = 60.0


class Watch(threading.Thread):
    """Looks at the schedule every minute, however long the database or the mail takes.

    Args:
        process: Whose process this is: ``worker``{% if cookiecutter.scheduler != "platform" %} or ``beat``{% endif %}.
    """

    def __init__(self, process: str) -> None:
        super().__init__(name="schedule-watch", daemon=True)
        self._process = process
        self._ended = threading.Event()

    def run(self) -> None:
        """Look until it is told to stop."""
        from apps.operations.overdue import alert_overdue  # noqa: PLC0415 (it has a model)
{%- if cookiecutter.scheduler in ("database", "code") %}
        from apps.operations.presence import alert_doubled_beats  # noqa: PLC0415 (likewise)
{%- endif %}

        pause = FIRST_LOOK
        while not self._ended.wait(pause):
            pause = INTERVAL
            try:
                alert_overdue(self._process)
{%- if cookiecutter.scheduler in ("database", "code") %}
                alert_doubled_beats()
{%- endif %}
            except Exception as error:
                logger.warning("can't look at the schedule: %s", type(error).__name__)
            finally:
                connection.close()

    def stop(self) -> None:
        """Stop looking; a look that has begun is finished, unless the process ends before."""
        self._ended.set()
