"""What an administrator does to the schedule through the admin's forms, and what releases leave."""

import base64
import hashlib
import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest
import requests

from tests.conftest import Bake
from tests.processes import Stack, wait_until
from tests.production import (
    HOST,
    PROXY_HEADERS,
    add_administrator,
    prepare,
    production,
    production_environment,
    query,
    visit,
)
from tests.servers.postgres import PostgresServer
from tests.servers.redis import Redis
from tests.users import replace_once

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("schedule-admin")]

PASSWORD = "a pass phrase of the administrator"
BEAT = "/admin/django_celery_beat"

ENTRY = """    PeriodicTask(
        name="{name}",
        task="apps.trial.tasks.record",
        schedule={schedule},
        args=("{name}", "code"),
    ),
"""
ENTRIES = {
    "edited": 'crontab(hour="3", minute="30")',
    "paused": "timedelta(seconds=3)",
    "deleted": "timedelta(seconds=3)",
    "changing": "timedelta(seconds=3)",
    "vanishing": "timedelta(seconds=3)",
}


class Form(HTMLParser):
    """The fields of a form as a browser would send them back.

    Attributes:
        fields: Value by name.
    """

    def __init__(self, page: str, marker: str) -> None:
        """Read the form.

        Args:
            page: HTML.
            marker: an attribute of the form, such as its id.
        """
        super().__init__()
        self.fields: dict[str, str] = {}
        self._textarea = self._select = ""
        [form] = [form for form in re.findall(r"<form\b.*?</form>", page, re.S) if marker in form]
        self.feed(form)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take a field."""
        values = {name: value or "" for name, value in attrs}
        name = values.get("name", "")
        match tag:
            case "input" if name and values.get("type") == "checkbox":
                if "checked" in values:
                    self.fields[name] = values.get("value", "on")
            case "input" if name and values.get("type") != "submit":
                self.fields[name] = values.get("value", "")
            case "textarea":
                self._textarea = name
                self.fields[name] = ""
            case "select":
                self._select = name
                self.fields[name] = ""
            case "option" if "selected" in values:
                self.fields[self._select] = values.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        """End a field with a text."""
        if tag == "textarea":
            self._textarea = ""

    def handle_data(self, data: str) -> None:
        """Take a text; the line break after the tag is none of it."""
        if self._textarea:
            self.fields[self._textarea] += data.removeprefix("\r\n").removeprefix("\n")


class Browser:
    """An administrator's browser, behind the proxy that ends TLS."""

    def __init__(self, stack: Stack) -> None:
        self._url = stack.url
        self._cookies: dict[str, str] = {}

    def _request(self, method: str, path: str, data: dict[str, str]) -> requests.Response:
        # A jar would not send cookies for HTTPS, which ends at the proxy, to this address.
        cookies = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        headers = {"Host": HOST, "Referer": f"https://{HOST}/admin/", "Cookie": cookies}
        response = requests.request(
            method,
            self._url + path,
            headers={**headers, **PROXY_HEADERS},
            data=data,
            allow_redirects=False,
            timeout=10,
        )
        self._cookies.update(response.cookies.get_dict())
        return response

    def get(self, path: str) -> requests.Response:
        """Open a page."""
        response = self._request("GET", path, {})
        assert response.status_code == 200, f"{path}: {response.status_code}"
        return response

    def submit(self, path: str, marker: str, *, without: str = "", **changes: str) -> None:
        """Open a page, change some fields of its form and send it.

        Args:
            path: the page's path.
            marker: an attribute of the form.
            without: a box to clear.
            changes: value by name.
        """
        fields = {**Form(self.get(path).text, marker).fields, **changes}
        fields.pop(without, None)
        response = self._request("POST", path, fields)
        errors = re.findall(r'class="error\w*"[^>]*>.*?</', response.text, re.S)
        assert response.status_code == 302, f"{path}: {response.status_code} {errors}"


@pytest.fixture(scope="module")
def project(bake: Bake, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose schedule is kept in the database."""
    folder = tmp_path_factory.mktemp("schedule-admin")
    project = prepare(Path(shutil.copytree(bake(), folder / "my_project")))
    entries = "".join(ENTRY.format(name=name, schedule=when) for name, when in ENTRIES.items())
    replace_once(schedule_of(project), "SCHEDULE = (\n", f"SCHEDULE = (\n{entries}")
    return project


def schedule_of(project: Path) -> Path:
    """Return the file with the schedule in the code."""
    return project / project.name / "schedule.py"


@pytest.fixture(scope="module")
def stack(project: Path, postgres: PostgresServer) -> Iterator[Stack]:
    """The project released, with a web process."""
    with (
        Redis() as redis,
        production(
            project, production_environment(postgres.create_database(), redis.url())
        ) as stack,
    ):
        stack.web()
        yield stack


@pytest.fixture(scope="module")
def browser(stack: Stack) -> Browser:
    """An administrator who has logged in at the form."""
    add_administrator(stack, PASSWORD)
    browser = Browser(stack)
    browser.submit("/admin/login/", "login-form", username="admin", password=PASSWORD)
    return browser


def one(stack: Stack, statement: str) -> str:
    """Return the one value of a query, as text."""
    [(value,)] = query(stack.environment["DATABASE_URL"], statement)
    return str(value)


def row_id(stack: Stack, name: str) -> str:
    """Return the primary key of an entry."""
    return one(stack, f"SELECT id FROM django_celery_beat_periodictask WHERE name = '{name}'")


def row(stack: Stack, name: str) -> tuple[object, ...]:
    """Return what an administrator can edit of an entry."""
    statement = (
        "SELECT crontab_id, interval_id, args, kwargs, queue, enabled "
        f"FROM django_celery_beat_periodictask WHERE name = '{name}'"
    )
    [found] = query(stack.environment["DATABASE_URL"], statement)
    return found


def runs_since(stack: Stack, name: str, since: datetime) -> list[str]:
    """Return what the runs of an entry recorded since a moment."""
    statement = (
        f"SELECT detail FROM trial_effect WHERE name = '{name}' AND created > '{since.isoformat()}'"
    )
    return [detail for (detail,) in query(stack.environment["DATABASE_URL"], statement)]


def allowed_hashes(policy: str) -> set[str]:
    """Return the hashes of scripts that a Content-Security-Policy allows."""
    return set(re.findall(r"'(sha256-[^']+)'", policy))


@pytest.mark.parametrize("page", ["add/", "{id}/change/"])
def test_every_script_of_the_form_is_allowed_by_its_policy(
    stack: Stack, browser: Browser, page: str
) -> None:
    response = browser.get(f"{BEAT}/periodictask/{page.format(id=row_id(stack, 'changing'))}")
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy and "unsafe" not in policy
    scripts = re.findall(r"<script\b([^>]*)>(.*?)</script>", response.text, re.S)
    assert scripts
    for attributes, text in scripts:
        source = re.search(r'src="([^"]+)"', attributes)
        if source is None:
            # Data is not run; anything else needs its hash in the policy.
            digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
            is_data = 'type="application/json"' in attributes
            assert is_data or f"sha256-{digest}" in allowed_hashes(policy), text
        else:
            assert source[1].startswith("/"), source[1]
    [script] = re.findall(r'src="([^"]+readable_crontab[^"]+)"', response.text)
    assert "readable-crontabs" in visit(stack, script).text
    assert not re.search(r"\son\w+=|\sstyle=|<style", response.text)


def test_edits_in_the_admin_survive_three_releases_and_restarts(
    project: Path, stack: Stack, browser: Browser
) -> None:
    worker, beat = stack.worker(), stack.beat()
    for name in ("paused", "deleted", "changing", "vanishing"):
        beat.wait_for_line(f"Sending due task {name}", 30)

    browser.submit(f"{BEAT}/crontabschedule/add/", "crontabschedule_form")
    every_minute = one(
        stack,
        "SELECT id FROM django_celery_beat_crontabschedule WHERE minute = '*' AND hour = '*'",
    )
    browser.submit(
        f"{BEAT}/periodictask/{row_id(stack, 'edited')}/change/",
        "periodictask_form",
        crontab=every_minute,
        args='["edited", "admin"]',
    )
    browser.submit(
        f"{BEAT}/periodictask/{row_id(stack, 'paused')}/change/",
        "periodictask_form",
        without="enabled",
    )
    browser.submit(
        f"{BEAT}/periodictask/{row_id(stack, 'deleted')}/delete/", 'name="post"', post="yes"
    )
    interval = one(
        stack,
        "SELECT interval_id FROM django_celery_beat_periodictask WHERE name = 'changing'",
    )
    browser.submit(
        f"{BEAT}/periodictask/add/",
        "periodictask_form",
        name="by-hand",
        task="apps.trial.tasks.record",
        interval=interval,
        args='["by-hand", "admin"]',
    )
    kept = {name: row(stack, name) for name in ("edited", "paused", "by-hand")}
    beat.wait_for_line("Sending due task by-hand", 30)

    for number in range(3):
        if number == 1:
            schedule = schedule_of(project)
            code = {name: ENTRY.format(name=name, schedule=when) for name, when in ENTRIES.items()}
            replace_once(schedule, code["vanishing"], "")
            replace_once(schedule, code["changing"], code["changing"].replace('"code"', '"new"'))
        release = stack.manage("release")
        assert release.returncode == 0, release.stdout + release.stderr
        assert "edited was edited by hand and is left alone" in release.stdout
        assert "deleted was deleted by hand and stays so" in release.stdout
        assert ("changing updated" in release.stdout) is (number == 1)
        assert ("vanishing is no longer in the code" in release.stdout) is (number == 1)
        assert "by-hand" not in release.stdout
        assert beat.terminate(10) == 0
        assert worker.terminate(20) == 0
        worker, beat = stack.worker(), stack.beat()
    since = datetime.now(UTC)
    assert {name: row(stack, name) for name in kept} == kept

    wait_until(lambda: runs_since(stack, "edited", since), 80, "the edited entry")
    wait_until(lambda: len(runs_since(stack, "by-hand", since)) >= 2, 20, "the entry by hand")
    assert set(runs_since(stack, "edited", since)) == {"admin"}
    assert set(runs_since(stack, "changing", since)) == {"new"}
    for name in ("paused", "deleted", "vanishing"):
        assert runs_since(stack, name, since) == [], name
        assert not any(f"Sending due task {name} " in line for line in beat.lines), name
    assert row(stack, "vanishing")[-1] is False
