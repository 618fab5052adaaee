"""The heartbeat file of a worker{% if cookiecutter.scheduler != "platform" %} and of beat{% endif %}."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from django.conf import settings

from apps.operations import heartbeat


@pytest.fixture(autouse=True)
def _own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_a_process_that_shows_a_sign_lives() -> None:
    heartbeat.touch("worker")
    assert heartbeat.main(["worker"]) is None


def test_a_process_that_stopped_does_not_live() -> None:
    heartbeat.touch("worker")
    heartbeat.stop("worker")
    assert "no heartbeat" in str(heartbeat.main(["worker"]))


def test_an_old_heartbeat_is_no_life() -> None:
    heartbeat.touch("worker")
    long_ago = time.time() - heartbeat.MAX_AGE - 10
    os.utime(heartbeat.path("worker"), (long_ago, long_ago))
    assert "130 seconds old, 120 are allowed" in str(heartbeat.main(["worker"]))


@pytest.mark.parametrize("arguments", [[], ["web"], ["worker", "worker"]])
def test_wrong_arguments_are_explained(arguments: list[str]) -> None:
    assert "usage:" in str(heartbeat.main(arguments))


def test_the_command_imports_neither_django_nor_celery(tmp_path: Path) -> None:
    code = (
        "import runpy, sys\n"
        "sys.argv = ['heartbeat', 'worker']\n"
        "try:\n"
        "    runpy.run_module('apps.operations.heartbeat', run_name='__main__')\n"
        "except SystemExit as end:\n"
        "    assert not {'django', 'celery'} & set(sys.modules)\n"
        "    sys.exit(end.code)\n"
    )

    def check() -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603 (this file's own code)
            [sys.executable, "-c", code],
            cwd=settings.BASE_DIR,
            env=os.environ | {"TMPDIR": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )

    assert check().returncode == 1
    heartbeat.touch("worker")
    assert check().returncode == 0
