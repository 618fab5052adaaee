"""Each deployment file, run by the rules of its platform."""

import re
import secrets
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from tests.baking import choices
from tests.conftest import Bake
from tests.platforms import compose
from tests.platforms.components import Component, Deployment, ReleaseError, deployed
from tests.processes import http_get, python_environment, wait_until
from tests.production import HOST, PROXY_HEADERS, SECRET_KEY, effects, prepare, query
from tests.servers.postgres import PostgresServer
from tests.servers.redis import Redis
from tests.servers.smtp import SMTPServer

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("hosting")]

# What production settings require, and so every component needs.
REQUIRED = ("SECRET_KEY", "ALLOWED_HOSTS", "DATABASE_URL", "REDIS_URL", "EMAIL_HOST")


def project_of(bake: Bake, folder: Path, scheduler: str) -> Path:
    """Return a project with the apps of the tests."""
    return prepare(Path(shutil.copytree(bake(scheduler=scheduler), folder / "my_project")))


def create_owner(postgres: PostgresServer, name: str, password: str) -> None:
    """Make what the file's PostgreSQL service makes at its first start: a user and its database."""
    user, secret = sql.Identifier(name), sql.Literal(password)
    with closing(psycopg.connect(postgres.admin_url, autocommit=True)) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(user, secret))
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(user, user))


def drop_owner(postgres: PostgresServer, name: str) -> None:
    """Remove what `create_owner` made."""
    user = sql.Identifier(name)
    with closing(psycopg.connect(postgres.admin_url, autocommit=True)) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(user))
        connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(user))


@pytest.fixture(scope="module", params=choices()["scheduler"])
def project(
    request: pytest.FixtureRequest, bake: Bake, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A project with each scheduler."""
    return project_of(bake, tmp_path_factory.mktemp("hosting"), request.param)


@pytest.fixture
def components(
    project: Path, postgres: PostgresServer, smtp_server: SMTPServer, tmp_path: Path
) -> Iterator[list[Component]]:
    """What compose.production.yml runs, with its services on the test's servers."""
    passwords = {"POSTGRES_PASSWORD": secrets.token_hex(8), "BROKER_PASSWORD": secrets.token_hex(8)}
    application = {
        "SECRET_KEY": SECRET_KEY,
        "ALLOWED_HOSTS": HOST,
        "EMAIL_HOST": "127.0.0.1",
        "EMAIL_PORT": str(smtp_server.port),
        "EMAIL_USE_TLS": "false",
    }
    address = urlsplit(postgres.admin_url)
    create_owner(postgres, "my_project", passwords["POSTGRES_PASSWORD"])
    with Redis(password=passwords["BROKER_PASSWORD"]) as broker:
        found = compose.components(
            project / "compose.production.yml",
            passwords,
            {"app.env": application},
            {
                "postgres:5432": f"{address.hostname}:{address.port}",
                "broker:6379": f"127.0.0.1:{broker.port}",
            },
        )
        # The file's volume for beat is a folder of the test.
        yield [with_folder(component, tmp_path) for component in found]
    drop_owner(postgres, "my_project")


def with_folder(component: Component, folder: Path) -> Component:
    """Return the component with its volume's folder replaced by one of the test."""
    moved = {
        name: value.replace("/var/lib/beat", str(folder))
        for name, value in component.environment.items()
    }
    return replace(component, environment=moved)


def database_of(components: list[Component]) -> str:
    """Return the DATABASE_URL that the file gives."""
    return components[0].environment["DATABASE_URL"]


def test_the_whole_deployment_works(
    project: Path, components: list[Component], smtp_server: SMTPServer
) -> None:
    with deployed(project, python_environment(project), components) as deployment:
        for path in ("/health/", "/ready/"):
            assert deployment.probe("web", path).status == 200
        url = f"{deployment.url('web')}/trial/enqueue/"
        assert http_get(url, host=HOST, headers=PROXY_HEADERS).status == 202
        database = database_of(components)
        wait_until(lambda: effects(database, "web"), 20, "the task of the request")
        for component in components:
            doctor = deployment.run(component, "python", "manage.py", "doctor", "--wait", "20")
            assert doctor.returncode == 0, f"{component.name}: {doctor.stdout}{doctor.stderr}"
        mail = "from apps.notifications.tasks import send_email as s; s.delay('a', 'b', ['c@d.ef'])"
        assert deployment.run(components[1], "python", "manage.py", "shell", "-c", mail)
        smtp_server.wait_for(1, 20)
        beats = "SELECT seen_at FROM operations_heartbeat WHERE name = 'beat'"
        wait_until(lambda: query(database, beats), 90, "the scheduled heartbeat")
        for name in ("beat", "worker", "web"):
            deployment.stop(name)
            assert not deployment.processes[name].running
            assert deployment.processes[name].json_lines()


def test_sigterm_with_the_grace_period_of_the_file_loses_nothing(
    project: Path, components: list[Component]
) -> None:
    [worker] = [component for component in components if component.name == "worker"]
    with deployed(project, python_environment(project), components) as deployment:
        code = "from apps.trial.tasks import sleep; sleep.delay('long', 20)"
        assert deployment.run(worker, "python", "manage.py", "shell", "-c", code).returncode == 0
        database = database_of(components)
        wait_until(lambda: effects(database, "long"), 20, "the task to start")
        assert deployment.stop("worker") != -9
        deployment.start(worker)
        wait_until(lambda: "finished" in effects(database, "long"), 60, "the next worker")


def test_a_failed_release_stops_the_deployment(project: Path, components: list[Component]) -> None:
    broken = [component.without("SECRET_KEY") for component in components]
    with Deployment(project, python_environment(project)) as deployment:
        with pytest.raises(ReleaseError, match=r"release: (?s:.*)SECRET_KEY"):
            deployment.deploy(broken)
        assert deployment.processes == {}


def test_every_component_stops_and_names_the_one_variable_that_the_file_forgot(
    project: Path, components: list[Component]
) -> None:
    cases = [(component, name) for component in components for name in REQUIRED]
    with (
        Deployment(project, python_environment(project)) as deployment,
        ThreadPoolExecutor(max_workers=4) as pool,
    ):
        results = pool.map(lambda case: deployment.run(case[0].without(case[1])), cases)
        for (component, name), result in zip(cases, results, strict=True):
            assert result.returncode != 0, f"{component.name} starts without {name}"
            missing = re.search(r"Missing or blank: (.*)\.", result.stderr)
            assert missing, f"{component.name} without {name}: {result.stderr}"
            assert missing[1] == name, f"{component.name} without {name}: {missing[0]}"


def test_the_file_gives_every_component_the_same_variables_and_holds_no_secret(
    project: Path, components: list[Component]
) -> None:
    assert {component.name for component in components} == {"release", "web", "worker", "beat"}
    assert [component.name for component in components if component.once] == ["release"]
    for component in components:
        assert component.environment == components[0].environment
        assert component.once or component.after == ("release",)
    text = (project / "compose.production.yml").read_text("utf-8")
    for line in text.splitlines():
        if re.match(r" .*(PASSWORD|AUTH|SECRET|://)", line) and "http://127" not in line:
            assert "${" in line, f"not from outside: {line}"


def test_a_missing_password_is_named(project: Path) -> None:
    with pytest.raises(KeyError, match="BROKER_PASSWORD"):
        compose.services(project / "compose.production.yml", {"POSTGRES_PASSWORD": "a"})
