"""The rules of tests/platforms/dokku.py accept what the template emits, and nothing else."""

import json
import re
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
from tests.platforms.schemas import schema
from tests.platforms.surroundings import Addresses
from tests.production import HOST

SLUGS = ("a", "shop", "a__b", "a123456789_b123456789_c1234567_d123__456")


@pytest.fixture
def project(bake: Bake, tmp_path: Path) -> Path:
    """What Dokku sees of a project, to be changed."""
    source = bake(hosting="dokku", scheduler="code", project_slug="shop")
    for name in ("Procfile", "app.json", "Dockerfile", "docs/deploy.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(source / name, tmp_path / name)
    return tmp_path


@pytest.mark.parametrize("scheduler", choices()["scheduler"])
@pytest.mark.parametrize("slug", SLUGS)
def test_what_the_template_emits_is_accepted(bake: Bake, slug: str, scheduler: str) -> None:
    project = bake(hosting="dokku", scheduler=scheduler, project_slug=slug)
    operator = Addresses()
    found = {component.name: component for component in dokku.components(project, operator)}
    assert list(found) == ["release", "web", "worker", "beat"]
    for component in found.values():
        environment = dict(component.environment)
        assert re.fullmatch(r"[0-9a-f]{64}", environment.pop("SECRET_KEY"))
        assert re.fullmatch(r"postgres://\w+:\w+@127.+/\w+_db", environment.pop("DATABASE_URL"))
        assert re.fullmatch(r"redis://:\w+@127.0.0.1:6379", environment.pop("REDIS_URL"))
        assert environment == {
            "DJANGO_ENVIRONMENT": "production",
            **{name: text for name, text in operator.values.items() if name != "SECRET_KEY"},
            **operator.additions,
        }
        assert component.grace == 45
        assert component.after == (() if component.once else ("release",))
    assert found["web"].probes == (HTTPProbe("/ready/", 5, host=HOST),)
    heartbeat = ("python", "-m", "apps.operations.heartbeat", "worker")
    assert found["worker"].probes == (CommandProbe(heartbeat, 5),)
    assert [found[name].port for name in ("web", "worker", "beat")] == [5000, None, None]
    assert [found[name].replicas for name in ("web", "worker", "beat")] == [1, 1, 1]


def test_beat_remembers_on_a_disk_that_belongs_to_it(project: Path) -> None:
    mounts = dokku.set_up(project, Addresses().values).mounts
    assert mounts == {"shop-beat": ("beat", "/var/lib/beat")}
    assert "CELERY_BEAT_SCHEDULE_FILE=/var/lib/beat/" in (project / "Dockerfile").read_text("utf-8")


def test_the_image_has_no_port_and_no_entrypoint_of_its_own(project: Path) -> None:
    """Dokku would publish the port instead of 80, and run the release without a shell."""
    dockerfile = (project / "Dockerfile").read_text("utf-8")
    assert re.findall(r"^(?:EXPOSE|ENTRYPOINT).*", dockerfile, re.MULTILINE) == []


def test_app_json_follows_the_schema_of_all_that_dokku_reads(project: Path) -> None:
    app = json.loads((project / "app.json").read_text("utf-8"))
    jsonschema.Draft202012Validator(schema("app-json.schema.json")).validate(app)


def test_the_page_is_shell_and_keeps_the_brokers_tasks(project: Path) -> None:
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
}


@pytest.mark.parametrize(
    ("old", "new", "message"), PROCFILE_MUTATIONS.values(), ids=PROCFILE_MUTATIONS
)
def test_a_wrong_procfile_is_refused(project: Path, old: str, new: str, message: str) -> None:
    edit(project, "Procfile", old, new)
    with pytest.raises(ValueError, match=message):
        dokku.components(project, Addresses())


def test_config_and_port_are_expanded(project: Path) -> None:
    edit(project, "Procfile", "celery -A shop beat", "celery -A ${PS} $PORT $ALLOWED_HOSTS 'a b'")
    *_, beat = dokku.components(project, Addresses())
    assert beat.command == ("celery", "-A", "beat", "5000", HOST, "a b")


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
}


@pytest.mark.parametrize(("mutate", "message"), APP_MUTATIONS.values(), ids=APP_MUTATIONS)
def test_a_wrong_app_json_is_refused(
    project: Path, mutate: Callable[[Any], None], message: str
) -> None:
    file = project / "app.json"
    app = json.loads(file.read_text("utf-8"))
    mutate(app)
    file.write_text(json.dumps(app), "utf-8")
    with pytest.raises(ValueError, match=message):
        dokku.components(project, Addresses())


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
