"""The file that a worker{% if cookiecutter.scheduler != "platform" %} or beat{% endif %} touches while it lives, and the command that checks it.

``python -m apps.operations.heartbeat worker`` exits with 0 while the worker lives. It imports
neither Django nor Celery, so a container may run it every few seconds.
"""

import sys
import tempfile
import time
from pathlib import Path

SERVICE = "{{ cookiecutter.project_slug }}"
PROCESSES = ("worker",{% if cookiecutter.scheduler != "platform" %} "beat"{% endif %})
# In seconds. Long enough to outlive a restart of the broker, during which a worker's file rests.
MAX_AGE = 120


def path(process: str) -> Path:
    """Return where a process keeps its heartbeat.

    Args:
        process: One of ``PROCESSES``.

    Returns:
        A path in the folder for temporary files (``TMPDIR``).
    """
    return Path(tempfile.gettempdir()) / f"{SERVICE}-{process}.heartbeat"


def touch(process: str) -> None:
    """Show that a process lives.

    Args:
        process: One of ``PROCESSES``.
    """
    path(process).touch()


def stop(process: str) -> None:
    """Take the sign of life away when a process ends.

    Args:
        process: One of ``PROCESSES``.
    """
    path(process).unlink(missing_ok=True)


def main(arguments: list[str]) -> str | None:
    """Check a heartbeat.

    Args:
        arguments: The name of the process, one of ``PROCESSES``.

    Returns:
        Nothing if the process lives, else a sentence that says why not.
    """
    if len(arguments) != 1 or arguments[0] not in PROCESSES:
        return f"usage: python -m apps.operations.heartbeat {'|'.join(PROCESSES)}"
    [process] = arguments
    try:
        age = time.time() - path(process).stat().st_mtime
    except FileNotFoundError:
        return f"{process}: no heartbeat at {path(process)}; it is not running, or not ready yet"
    if age > MAX_AGE:
        return f"{process}: the last heartbeat is {age:.0f} seconds old, {MAX_AGE} are allowed"
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
