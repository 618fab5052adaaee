"""Which beats run: exactly one should, because each of them sends every periodic task."""

import logging
import os
import secrets
import socket
import threading
from datetime import timedelta
from itertools import combinations

from django.db import connection
from django.db.models.functions import Now

from apps.operations.alerts import moment, send_alert
from apps.operations.models import RunningBeat

logger = logging.getLogger(__name__)

# In seconds: how often a beat writes down that it runs.
INTERVAL = 10.0
# In seconds: how long the end of a beat may wait for the database.
PATIENCE = 3.0
# A beat that was not seen for so long has ended.
OLDEST_SIGN = timedelta(seconds=30)
# At a deployment, some platforms stop the old beat only when the new one runs.
LONGEST_OVERLAP = timedelta(minutes=3)


class Presence(threading.Thread):
    """Writes down that this beat runs. Its own thread, so no tick waits for the database."""

    def __init__(self) -> None:
        super().__init__(name="presence", daemon=True)
        # Its number alone is not unique: in containers it is often the same.
        self._beat = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._ended = threading.Event()

    def run(self) -> None:
        """Keep the row fresh until it is told to stop, and remove it then."""
        while not self._ended.is_set():
            self.show()
            self._ended.wait(INTERVAL)
        self.vanish()

    def stop(self) -> None:
        """Remove the row, if the database answers within ``PATIENCE``."""
        self._ended.set()
        self.join(PATIENCE)

    def show(self) -> None:
        """Write down that this beat runs, by the clock of the database, which all beats share."""
        try:
            if not RunningBeat.objects.filter(name=self._beat).update(seen_at=Now()):
                RunningBeat.objects.create(name=self._beat, started_at=Now(), seen_at=Now())
        except Exception as error:
            logger.warning("can't write down that this beat runs: %s", type(error).__name__)
        finally:
            connection.close()

    def vanish(self) -> None:
        """Remove the row."""
        try:
            RunningBeat.objects.filter(name=self._beat).delete()
        except Exception as error:
            logger.warning("can't write down that this beat has ended: %s", type(error).__name__)
        finally:
            connection.close()


def doubled_beats(longer_than: timedelta = timedelta()) -> list[RunningBeat]:
    """Return the beats that run beside another one, the oldest first.

    A beat that was started again after it was killed is none of them: the killed one was not seen
    since then.

    Args:
        longer_than: How long two of them must have run side by side.
    """
    running = RunningBeat.objects.filter(seen_at__gt=Now() - OLDEST_SIGN).order_by("started_at")
    found: dict[str, RunningBeat] = {}
    for one, other in combinations(running, 2):
        both_seen_until = min(one.seen_at, other.seen_at)
        if both_seen_until - max(one.started_at, other.started_at) > longer_than:
            found |= {one.name: one, other.name: other}
    return list(found.values())


def alert_doubled_beats() -> None:
    """Send one mail about beats that run side by side for longer than a deployment takes.

    Raises:
        django.db.Error: If the database does not answer.
    """
    beats = doubled_beats(LONGEST_OVERLAP)
    if not beats:
        return
    logger.warning("more than one beat runs: %s", "; ".join(map(str, beats)))
    send_alert(
        "more than one beat runs",
        "Each beat sends every periodic task, so now all of them run more than once:\n\n"
        + "".join(f"- {beat}, since {moment(beat.started_at)}\n" for beat in beats)
        + "\nStop all but one. docs/schedule.md says where a second one may come from.\n",
    )
