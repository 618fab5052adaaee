"""The command, and how the checks are run; what each looks at is in test_checks.py."""

import json
import threading
from collections.abc import Callable
from functools import partial
from io import StringIO
from typing import Any, NoReturn

import pytest
from django.core.management import call_command
from django.db import connections
from pytest_django import Settings

from apps.operations import checks
from apps.operations.checks import Check, Result, broker, run_checks
from apps.operations.checks.configuration import settings_module
from apps.operations.models import Heartbeat
from apps.operations.pings import ping_broker


def refuse(*_: Any) -> NoReturn:
    """Be a service that is not there."""
    raise ConnectionError("refused\nby the test")


class ImmediateThread:
    """Runs at once and in the test's own thread, which has the test's database."""

    def __init__(self, target: Callable[..., None], args: tuple[Any, ...], **_: Any) -> None:
        self._run = partial(target, *args)

    def start(self) -> None:
        """Run."""
        self._run()


@pytest.fixture
def _this_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "Thread", ImmediateThread)
    monkeypatch.setattr(connections, "close_all", lambda: None)


def run_doctor(*arguments: str) -> tuple[int, str]:
    """Return the exit code and the output of doctor."""
    output = StringIO()
    try:
        call_command("doctor", *arguments, stdout=output, no_color=True)
    except SystemExit as end:
        return int(str(end.code)), output.getvalue()
    return 0, output.getvalue()


@pytest.mark.django_db
@pytest.mark.usefixtures("_this_thread")
def test_doctor_finds_nothing_on_a_healthy_system(settings: Settings) -> None:
    code, output = run_doctor()
    assert code == 0, output
    first, *others = output.splitlines()
    assert first == f"{settings.SERVICE_NAME} {settings.VERSION} with {settings_module()}"
    assert others == [f"ok       {check.name}" for check in checks.CHECKS]
    assert not Heartbeat.objects.exists()


@pytest.mark.django_db
@pytest.mark.usefixtures("_this_thread")
def test_doctor_names_a_problem_in_one_line_and_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker, "ping_broker", refuse)
    code, output = run_doctor()
    assert code == 1
    assert "PROBLEM  broker: the broker does not answer (refused by the test): is it" in output
    assert "skipped  round trip: broker must pass first" in output


@pytest.mark.django_db
@pytest.mark.usefixtures("_this_thread")
def test_doctor_speaks_json(settings: Settings) -> None:
    code, output = run_doctor("--json")
    assert code == 0
    report = json.loads(output)
    assert report["healthy"] is True
    assert report["version"] == settings.VERSION
    assert report["settings"] == settings_module()
    assert {"check": "database", "problems": [], "skipped": None} in report["results"]


@pytest.mark.django_db
@pytest.mark.usefixtures("_this_thread")
def test_doctor_waits_until_all_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([refuse, ping_broker])
    monkeypatch.setattr(broker, "ping_broker", lambda: next(answers)())
    monkeypatch.setattr("time.sleep", lambda _: None)
    assert run_doctor("--wait", "60")[0] == 0


def test_its_help_tells_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        call_command("doctor", "--help")
    assert end.value.code == 0
    assert "  1  there are problems" in capsys.readouterr().out


def test_a_check_that_hangs_holds_up_only_those_that_need_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    end = threading.Event()
    threads: list[threading.Thread] = []

    class RecordedThread(threading.Thread):
        def start(self) -> None:
            threads.append(self)
            super().start()

    def hang() -> list[str]:
        end.wait(60)
        return []

    monkeypatch.setattr(checks, "Thread", RecordedThread)
    monkeypatch.setattr(
        checks,
        "CHECKS",
        (
            Check("slow", hang),
            Check("after", list, needs=("slow",)),
            Check("later", list, needs=("after",)),
            Check("broken", refuse),
            Check("fast", list),
        ),
    )
    slow, after, later, broken, fast = run_checks(patience=0.3)
    for thread in threads[1:3]:
        thread.join(10)
    end.set()
    assert slow.problems == ["no answer in 0 seconds: does what it asks hang? Restart that."]
    assert (after.skipped, later.skipped) == ("slow", "after")
    assert broken.problems == ["could not be looked at (refused by the test)."]
    assert fast.passed


@pytest.mark.usefixtures("_this_thread")
def test_a_problem_is_one_line_without_a_secret(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    settings.SECRET_VALUES = ["own-secret"]
    problem = "redis://:password@host\nand own-secret"
    monkeypatch.setattr(checks, "CHECKS", (Check("it", lambda: [problem]),))
    masked = "redis://:(not shown)@host and (not shown)"
    assert run_checks() == [Result("it", [masked])]
