"""The rules of tests/platforms/dokku.py accept what the template emits, and nothing else."""

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.baking import choices
from tests.conftest import Bake
from tests.platforms import dokku
from tests.platforms.components import CommandProbe, HTTPProbe
from tests.platforms.cron import five_fields
from tests.platforms.schemas import schema
from tests.platforms.surroundings import Addresses
from tests.production import HOST

SLUGS = ("a", "a__b", "a123456789_b123456789_c1234567_d123__456")


# What `platform` starts by cron.
CRON = {
    "cron-heartbeat": "*/5 * * * *",
    "cron-clear-expired-sessions": "30 3 * * *",
    "cron-delete-old-failures": "40 3 * * *",
    "cron-failure-digest": "0 6 * * *",
}


def visible(project: Path, folder: Path) -> Path:
    """Copy what Dokku sees of a project, to be changed."""
    for name in ("Procfile", "app.json", "Dockerfile", "docs/deploy.md"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(project / name, folder / name)
    return folder


@pytest.fixture
def project(bake: Bake, tmp_path: Path) -> Path:
    """A project with beat."""
    return visible(bake(hosting="dokku", scheduler="code", project_slug="shop"), tmp_path)


@pytest.fixture
def cron_project(bake: Bake, tmp_path: Path) -> Path:
    """A project without."""
    return visible(bake(hosting="dokku", scheduler="platform", project_slug="shop"), tmp_path)


def set_up(project: Path) -> dokku.Server:
    """Return the server that a project's page sets up."""
    _, app = dokku.read(project)
    return dokku.set_up(project, app, Addresses().values)


# The name of beat's disk hangs on the slug.
@pytest.mark.parametrize(
    ("slug", "scheduler"),
    [(slug, "code") for slug in SLUGS] + [("shop", answer) for answer in choices()["scheduler"]],
)
def test_what_the_template_emits_is_accepted(bake: Bake, slug: str, scheduler: str) -> None:
    project = bake(hosting="dokku", scheduler=scheduler, project_slug=slug)
    operator = Addresses()
    found = {component.name: component for component in dokku.components(project, operator)}
    senders = list(CRON) if scheduler == "platform" else ["beat"]
    # Dokku makes the one, and nobody asked for Flower.
    elsewhere = {"SECRET_KEY", "FLOWER_BASIC_AUTH"}
    assert list(found) == ["release", "web", "worker", *senders]
    for component in found.values():
        environment = dict(component.environment)
        assert re.fullmatch(r"[0-9a-f]{64}", environment.pop("SECRET_KEY"))
        assert re.fullmatch(r"postgres://\w+:\w+@127.+/\w+_db", environment.pop("DATABASE_URL"))
        assert re.fullmatch(r"redis://:\w+@127.0.0.1:6379", environment.pop("REDIS_URL"))
        assert environment == {
            "DJANGO_ENVIRONMENT": "production",
            **{name: text for name, text in operator.values.items() if name not in elsewhere},
            **operator.additions,
        }
        assert component.grace == 45
        assert component.after == (() if component.once else ("release",))
        assert component.replicas == 1
        assert component.schedule == CRON.get(component.name, "")
        assert component.port == (5000 if component.name == "web" else None)
    assert found["web"].probes == (HTTPProbe("/ready/", 5, host=HOST),)
    heartbeat = ("python", "-m", "apps.operations.heartbeat", "worker")
    assert found["worker"].probes == (CommandProbe(heartbeat, 5),)


@pytest.mark.parametrize("manner", choices()["process_manager"])
@pytest.mark.parametrize("scheduler", ["code", "platform"])
def test_the_commands_are_those_of_one_manner(bake: Bake, manner: str, scheduler: str) -> None:
    answers = {"process_manager": manner} if manner != "direct" else {}
    project = bake(hosting="dokku", scheduler=scheduler, project_slug="shop", **answers)
    commands = [
        shlex.join(component.command) for component in dokku.components(project, Addresses())
    ]
    web, worker, beat = {
        "direct": (
            "gunicorn --config gunicorn.conf.py shop.wsgi:application",
            "celery -A shop worker --without-gossip --without-mingle",
            "celery -A shop beat",
        ),
        "prodserver": tuple(
            f"python manage.py {words}" for words in ("server web", "worker worker", "worker beat")
        ),
    }[manner]
    enqueue = [f"python manage.py enqueue {name.removeprefix('cron-')}" for name in CRON]
    sent = enqueue if scheduler == "platform" else [beat]
    assert commands == ["python manage.py release", web, worker, *sent]


@pytest.mark.parametrize("scheduler", choices()["scheduler"])
def test_only_a_beat_that_waits_for_the_other_starts_beside_it(bake: Bake, scheduler: str) -> None:
    project = bake(hosting="dokku", scheduler=scheduler, project_slug="shop")
    heartbeat = ("python", "-m", "apps.operations.heartbeat", "beat")
    beats = [part for part in dokku.components(project, Addresses()) if part.name == "beat"]
    checked = [probe for beat in beats for probe in beat.probes]
    assert checked == ([CommandProbe(heartbeat, 5)] if scheduler == "redbeat" else [])
    alone = scheduler in ("database", "code")
    assert set_up(project).unchecked == ({"beat"} if alone else set())
    page = (project / "docs/deploy.md").read_text("utf-8")
    assert ("Never raise `beat`" in page) == alone
    assert ("Several of `beat` may run" in page) == (scheduler == "redbeat")
    assert ("## Periodic tasks" in page) == (scheduler == "platform")


def test_beat_remembers_on_a_disk_that_belongs_to_it(project: Path) -> None:
    assert set_up(project).mounts == {"shop-beat": ("beat", "/var/lib/beat")}
    assert "CELERY_BEAT_SCHEDULE_FILE=/var/lib/beat/" in (project / "Dockerfile").read_text("utf-8")


def test_the_image_has_no_port_and_no_entrypoint_of_its_own(project: Path) -> None:
    """Dokku would publish the port instead of 80, and run the release without a shell."""
    dockerfile = (project / "Dockerfile").read_text("utf-8")
    assert re.findall(r"^(?:EXPOSE|ENTRYPOINT).*", dockerfile, re.MULTILINE) == []


@pytest.mark.parametrize("scheduler", choices()["scheduler"])
def test_app_json_follows_the_schema_of_all_that_dokku_reads(bake: Bake, scheduler: str) -> None:
    project = bake(hosting="dokku", scheduler=scheduler, project_slug="shop")
    app = json.loads((project / "app.json").read_text("utf-8"))
    jsonschema.Draft202012Validator(schema("app-json.schema.json")).validate(app)


@pytest.mark.parametrize("scheduler", choices()["scheduler"])
def test_the_page_is_shell_and_keeps_the_brokers_tasks(bake: Bake, scheduler: str) -> None:
    project = bake(hosting="dokku", scheduler=scheduler, project_slug="shop")
    page = (project / "docs/deploy.md").read_text("utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    for block in blocks:
        checked = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True)
        assert checked.returncode == 0 and not checked.stderr, block + checked.stderr
    settings = re.findall(r"redis\.conf\" <<'CONF'\n(.*?)^CONF$", page, re.MULTILINE | re.DOTALL)
    assert settings == ["appendonly yes\nmaxmemory 256mb\nmaxmemory-policy noeviction\n"]


def edit(project: Path, name: str, old: str, new: str) -> None:
    """Replace the first occurrence of a text that is in a file."""
    file = project / name
    text = file.read_text("utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), "utf-8")


PROCFILE_MUTATIONS = {
    "two commands": ("python manage.py", "python manage.py check && python manage.py", "shell"),
    "a pipe": ("celery -A shop beat", "celery -A shop beat | cat", "shell"),
    "a semicolon": ("celery -A shop beat", "celery -A shop beat; true", "shell"),
    "a redirect": ("celery -A shop beat", "celery -A shop beat > log", "shell"),
    "a substitution": ("celery -A shop beat", "celery -A $(cat name) beat", r"\$"),
    "backquotes": ("celery -A shop beat", "celery -A `cat name` beat", "shell"),
    "an assignment": ("celery -A shop beat", "A=1 celery -A shop beat", "shell"),
    "an open quote": ("celery -A shop beat", "celery -A 'shop beat", "quot"),
    "a default": ("gunicorn.conf.py", "gunicorn.conf.py --workers ${N:-2}", r"\$\{N:-2\}"),
    "an unknown variable": ("gunicorn.conf.py", "gunicorn.conf.py --workers $N", r"\$N"),
    "a capital": ("worker:", "Worker:", "invalid characters"),
    "an underscore": ("worker:", "the_worker:", "invalid characters"),
    "no colon": ("worker:", "worker", "invalid characters"),
    "a long name": ("worker:", f"{'w' * 64}:", "over 63"),
    "a process twice": ("beat:", "worker:", "unique"),
    "no command": ("celery -A shop beat", "# beat", "no command"),
    "no release": ("release: python manage.py release\n", "", "release"),
    "no beat": ("beat: celery -A shop beat\n", "", "beat"),
    "a process that never runs": ("beat: ", "mailer: celery -A shop worker\nbeat: ", "mailer"),
    "another program": ("celery -A shop beat", "celery -A shop events", "unknown command"),
    "another package": ("celery -A shop beat", "celery -A blog beat", "several manners"),
    "an option too many": ("celery -A shop beat", "celery -A shop beat -l INFO", "unknown command"),
    "two manners": ("celery -A shop beat", "python manage.py worker beat", "several manners"),
    "a worker as beat": ("celery -A shop beat", "python manage.py worker worker", "unknown"),
    "a release by hand": ("python manage.py release", "python manage.py migrate", "release is"),
}


@pytest.mark.parametrize(
    ("old", "new", "message"), PROCFILE_MUTATIONS.values(), ids=PROCFILE_MUTATIONS
)
def test_a_wrong_procfile_is_refused(project: Path, old: str, new: str, message: str) -> None:
    edit(project, "Procfile", old, new)
    with pytest.raises(ValueError, match=message):
        dokku.components(project, Addresses())


def test_variables_are_expanded_and_quotes_read() -> None:
    line = dokku.expand("celery -A ${PS} $PORT 'a b'", {"PS": "beat", "PORT": "5000"})
    assert dokku.split_command(line) == ("celery", "-A", "beat", "5000", "a b")


def change(*path: str | int, to: Any = None) -> Callable[[Any], None]:
    """Return what sets a place in app.json, or removes it."""

    def apply(app: Any) -> None:
        for key in path[:-1]:
            app = app[key]
        if to is None:
            del app[path[-1]]
        else:
            app[path[-1]] = to

    return apply


WEB, WORKER = ("healthchecks", "web", 0), ("healthchecks", "worker", 0)
CRON_REST = {"schedule": "0 6 * * *", "concurrency_policy": "forbid"}
APP_MUTATIONS: dict[str, tuple[Callable[[Any], None], str]] = {
    "two beats": (change("formation", "beat", "quantity", to=2), "beat"),
    "no beat": (change("formation", "beat"), "beat"),
    "no worker": (change("formation", "worker", "quantity", to=0), "worker"),
    "a quantity as text": (change("formation", "web", "quantity", to="1"), "web"),
    "a release that is scaled": (change("formation", "release", to={"quantity": 1}), "release"),
    "a second place for the release": (change("scripts", to={}), "scripts"),
    "a misspelt key": (change(*WEB, "initial_delay", to=5), "initial_delay"),
    "a type that docker-local ignores": (change(*WEB, "type", to="liveness"), "startup"),
    "a path without the database": (change(*WEB, "path", to="/health/"), "path"),
    "a shell's command": (change(*WORKER, "command", to="python -m x"), "command"),
    "the heartbeat of another": (change(*WORKER, "command", 3, to="beat"), "command"),
    "a check that never ends": (change(*WEB, "timeout", to=0), "timeout"),
    "a check of beat": (change("healthchecks", "beat", to=[]), "beat"),
    "a variable in lower case": (change("env", "mail", to={"description": "a"}), "mail"),
    "a generator that Dokku lacks": (change("env", "SECRET_KEY", "generator", to="uuid"), "SECRET"),
    "a secret in the file": (change("env", "SECRET_KEY", "value", to="0" * 64), "both there"),
    "a secret that nobody makes": (change("env", "SECRET_KEY", "generator"), "SECRET_KEY has no"),
    "a variable that nobody sets": (change("env", "KEY", to={"description": "a"}), "KEY has no"),
    "no description": (change("env", "REDIS_URL", "description"), "REDIS_URL"),
    "no processes at all": (change("formation"), "formation"),
    "cron beside beat": (
        change("cron", to=[{"command": "python manage.py enqueue a", **CRON_REST}]),
        "either beat or cron",
    ),
}


@pytest.mark.parametrize(("mutate", "message"), APP_MUTATIONS.values(), ids=APP_MUTATIONS)
def test_a_wrong_app_json_is_refused(
    project: Path, mutate: Callable[[Any], None], message: str
) -> None:
    assert_refused(project, mutate, message)


def assert_refused(project: Path, mutate: Callable[[Any], None], message: str) -> None:
    """Change app.json, and expect that the message names the mistake."""
    file = project / "app.json"
    app = json.loads(file.read_text("utf-8"))
    mutate(app)
    file.write_text(json.dumps(app), "utf-8")
    with pytest.raises(ValueError, match=message):
        dokku.components(project, Addresses())


COMMAND, SCHEDULE = ("cron", 0, "command"), ("cron", 0, "schedule")
ENQUEUE = "python manage.py enqueue"
CRON_MUTATIONS: dict[str, tuple[Callable[[Any], None], str]] = {
    "four fields": (change(*SCHEDULE, to="0 6 * *"), "five fields"),
    "six fields": (change(*SCHEDULE, to="0 0 6 * * *"), "five fields"),
    "a name for fields": (change(*SCHEDULE, to="@daily"), "five fields"),
    "minute 60": (change(*SCHEDULE, to="60 * * * *"), "wrong minute"),
    "hour 24": (change(*SCHEDULE, to="0 24 * * *"), "wrong hour"),
    "day 0": (change(*SCHEDULE, to="0 6 0 * *"), "wrong day of month"),
    "month 13": (change(*SCHEDULE, to="0 6 1 13 *"), "wrong month"),
    "day 7 of the week": (change(*SCHEDULE, to="0 6 * * 7"), "wrong day of week"),
    "a day's name": (change(*SCHEDULE, to="0 6 * * monday"), "wrong day of week"),
    "a range that ends before it begins": (change(*SCHEDULE, to="0 22-2 * * *"), "wrong hour"),
    "a step of nothing": (change(*SCHEDULE, to="*/0 * * * *"), "wrong minute"),
    "no schedule": (change(*SCHEDULE), "schedule"),
    "two commands": (change(*COMMAND, to=f"{ENQUEUE} a && {ENQUEUE} b"), "command"),
    "a redirect": (change(*COMMAND, to=f"{ENQUEUE} heartbeat > log"), "command"),
    "a variable": (change(*COMMAND, to=f"{ENQUEUE} $NAME"), "command"),
    "no entry": (change(*COMMAND, to=ENQUEUE), "command"),
    "another command": (change(*COMMAND, to="python manage.py clearsessions"), "command"),
    "an entry twice": (change(*COMMAND, to=f"{ENQUEUE} failure-digest"), "twice"),
    "runs that pile up": (change("cron", 0, "concurrency_policy", to="allow"), "concurrency"),
    "runs that may pile up": (change("cron", 0, "concurrency_policy"), "concurrency"),
    "a misspelt key": (change("cron", 0, "timezone", to="UTC"), "timezone"),
    "beat beside cron": (change("formation", "beat", to={"quantity": 1}), "either beat or cron"),
    "neither": (change("cron"), "either beat or cron"),
    "a check of nothing": (
        change(
            "healthchecks",
            "beat",
            to=[
                {
                    "type": "startup",
                    "name": "heartbeat",
                    "command": ["python", "-m", "apps.operations.heartbeat", "beat"],
                    "attempts": 6,
                    "wait": 5,
                    "timeout": 5,
                }
            ],
        ),
        "no beat to check",
    ),
}


@pytest.mark.parametrize(("mutate", "message"), CRON_MUTATIONS.values(), ids=CRON_MUTATIONS)
def test_a_wrong_cron_is_refused(
    cron_project: Path, mutate: Callable[[Any], None], message: str
) -> None:
    assert_refused(cron_project, mutate, message)


@pytest.mark.parametrize("line", ["timedatectl set-timezone Etc/UTC\n", "systemctl restart cron\n"])
def test_a_page_that_leaves_cron_in_another_time_zone_is_refused(
    cron_project: Path, line: str
) -> None:
    edit(cron_project, "docs/deploy.md", line, "")
    with pytest.raises(ValueError, match="time zone"):
        dokku.components(cron_project, Addresses())


@pytest.mark.parametrize("schedule", ["* * * * *", "0,30 6-18/2 1 1-6 0", "*/5 3 31 12 6"])
def test_schedules_that_every_cron_reads_are_accepted(schedule: str) -> None:
    assert five_fields(schedule) == schedule


PAGE_MUTATIONS = {
    "no database": ('dokku postgres:link "$APP-db" "$APP"\n', "", "DATABASE_URL has no value"),
    "no broker": ('dokku redis:link "$APP-broker" "$APP"\n', "", "REDIS_URL has no value"),
    "another database": ('link "$APP-db"', 'link "$APP-data"', "does not exist"),
    "an app with underscores": ("APP=shop", "APP=my_shop", "my_shop"),
    "no hosts": ('ALLOWED_HOSTS="$DOMAIN" ', "", "ALLOWED_HOSTS has no value"),
    "no mail server": (' EMAIL_HOST="$EMAIL_HOST" ', " ", "EMAIL_HOST has no value"),
    "two beats for a while": ('dokku checks:disable "$APP" beat\n', "", "beat"),
    "no check of the worker": ('disable "$APP" beat', 'disable "$APP" worker', "is for beat"),
    "a misspelt command": ("checks:disable", "check:disable", "check:disable"),
    "a misspelt property": ("stop-timeout-seconds", "stop-timeout", "stop-timeout"),
    "a policy that Docker does not know": ("unless-stopped", "sometimes", "sometimes"),
    "a word for a number": ("stop-timeout-seconds 45", "stop-timeout-seconds 45s", "45s"),
    "a version without a definition": ("--image-version 17.10", "--image-version 16.4", "16.4"),
    "a disk that was not made": ('mount "$APP" "$APP-beat"', 'mount "$APP" "$APP-b"', "shop-b"),
    "another app": ('domains:set "$APP"', "domains:set blog", "blog"),
}


@pytest.mark.parametrize(("old", "new", "message"), PAGE_MUTATIONS.values(), ids=PAGE_MUTATIONS)
def test_a_wrong_page_is_refused(project: Path, old: str, new: str, message: str) -> None:
    edit(project, "docs/deploy.md", old, new)
    with pytest.raises(ValueError, match=message):
        dokku.components(project, Addresses())


def test_a_page_that_forgets_a_shell_variable_is_refused(project: Path) -> None:
    edit(project, "docs/deploy.md", "APP=shop\n", "")
    with pytest.raises(KeyError, match="APP"):
        dokku.components(project, Addresses())


def test_the_page_prints_no_secret_and_keeps_none_in_the_history(project: Path) -> None:
    page = (project / "docs/deploy.md").read_text("utf-8").replace("\\\n", " ")
    lines = [line for line in page.splitlines() if line.startswith("dokku config:set")]
    assert len(lines) == 3
    for line in lines:
        assert line.endswith("> /dev/null"), line
        assert re.findall(r'(?:PASSWORD|KEY)="(?!\$)', line) == [], line
