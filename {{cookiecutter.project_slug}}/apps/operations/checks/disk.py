"""Looks at the room on the disks of this process."""

import os
import shutil
import tempfile
from pathlib import Path

from django.conf import settings

# A disk is nearly full when less than this share and less than this many bytes are free: on a large
# disk a small share is plenty, and a small disk never has many bytes.
LEAST_SHARE = 0.05
LEAST_BYTES = 1024**3


def check_disk() -> list[str]:
    """Look at the folders that this process, or another one of this image, writes to."""
    # TMPDIR itself, because Python leaves one that is full for another.
    temporary = os.environ.get("TMPDIR") or tempfile.gettempdir()
    folders = {
        "temporary files": Path(temporary),
        "the project": settings.BASE_DIR,
{%- if cookiecutter.scheduler == "code" %}
        "beat's notes": Path(settings.CELERY_BEAT_SCHEDULE_FILENAME).resolve().parent,
{%- endif %}
    }
    problems = []
    for what, folder in folders.items():
        disk = shutil.disk_usage(folder)
        if disk.free < min(LEAST_BYTES, disk.total * LEAST_SHARE):
            problems.append(
                f"the disk of {folder} ({what}) is nearly full: {disk.free / 1024**2:.0f} MB of "
                f"{disk.total / 1024**2:.0f} MB are free. Delete something, or make it larger."
            )
    return problems
