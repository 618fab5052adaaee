"""The rules of tests/platforms/digitalocean.py accept what the template emits, and no more."""

import json
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import pydantic
import pytest
import yaml

from tests.baking import choices
from tests.conftest import Bake
from tests.platforms import digitalocean
from tests.platforms.components import HTTPProbe
from tests.platforms.schemas import schema
from tests.platforms.surroundings import Addresses
from tests.processes import Stack, python_environment
from tests.production import HOST, production_environment
from tests.servers.postgres import PostgresServer
from tests.servers.postgres_tls import tls_postgres
from tests.servers.redis import Redis
from tests.servers.tls import Authority, TLSProxy

SLUG_OF_40 = "a123456789_b123456789_c12345678__d123456"
# The app of each slug: 2 to 32 characters, with a letter or digit at the end.
APP_NAMES = {
    "a": "a-app",
    "my_project": "my-project",
    "a__b": "a--b",
    SLUG_OF_40: "a123456789-b123456789-c12345678",
}

# What `platform` starts by scheduled jobs.
CRON = {
    "cron-heartbeat": "*/5 * * * *",
    "cron-clear-expired-sessions": "30 3 * * *",
    "cron-delete-old-failures": "40 3 * * *",
    "cron-failure-digest": "0 6 * * *",
}

Change = Callable[[Any], object]


def baked(bake: Bake, **answers: str) -> Path:
    """Bake a project, once for the same answers, whether or not the defaults are among them."""
    defaults = {name: values[0] for name, values in choices().items()}
    defaults["project_slug"] = "my_project"
    other = {name: value for name, value in answers.items() if value != defaults[name]}
    return bake(hosting="digitalocean", **other)


@pytest.fixture
def spec(bake: Bake) -> Any:
    """What the file of a project says."""
    return digitalocean.read(baked(bake))


@pytest.fixture
def cron_spec(bake: Bake) -> Any:
    """What the file of a project without beat says."""
    return digitalocean.read(baked(bake, scheduler="platform"))


@pytest.mark.parametrize(
    ("slug", "scheduler"),
    [(slug, "database") for slug in APP_NAMES if slug != "my_project"]
    + [("my_project", answer) for answer in choices()["scheduler"]],
)
def test_what_the_template_emits_is_accepted(bake: Bake, slug: str, scheduler: str) -> None:
    project = baked(bake, project_slug=slug, scheduler=scheduler)
    operator = Addresses()
    found = {part.name: part for part in digitalocean.components(project, operator)}

    senders = list(CRON) if scheduler == "platform" else ["beat"]
    assert list(found) == ["release", "web", "worker", *senders]
    for part in found.values():
        environment = dict(part.environment)
        database, broker = environment.pop("DATABASE_URL"), environment.pop("REDIS_URL")
        assert database.startswith("postgresql://doadmin:")
        assert database.endswith(f"@127.0.0.1:5432/{slug}")
        assert broker.startswith("rediss://default:")
        assert environment == {
            **{name: text for name, text in operator.values.items() if "FLOWER" not in name},
            **operator.additions,
            "DATABASE_CA": "",
            "DJANGO_ENVIRONMENT": "production",
        }
        assert part.after == (() if part.once else ("release",))
        assert part.replicas == 1
        assert part.schedule == CRON.get(part.name, "")
        assert part.port == (8000 if part.name == "web" else None)
        assert part.name == "web" or part.probes == ()
    assert found["web"].probes == (HTTPProbe("/ready/", 5), HTTPProbe("/health/", 5))
    app = digitalocean.App.model_validate(digitalocean.read(project))
    assert app.name == APP_NAMES[slug]
    assert [database.cluster_name for database in app.databases] == [
        f"{app.name}-postgres",
        f"{app.name}-valkey",
    ]
    assert app.databases[0].db_name == slug


@pytest.mark.parametrize("manner", choices()["process_manager"])
@pytest.mark.parametrize("scheduler", ["code", "platform"])
def test_the_commands_are_those_of_one_manner(bake: Bake, manner: str, scheduler: str) -> None:
    project = baked(bake, scheduler=scheduler, process_manager=manner)
    commands = [shlex.join(part.command) for part in digitalocean.components(project, Addresses())]
    web, worker, beat = {
        "direct": (
            "gunicorn --config gunicorn.conf.py my_project.wsgi:application",
            "celery -A my_project worker --without-gossip --without-mingle",
            "celery -A my_project beat",
        ),
        "prodserver": tuple(
            f"python manage.py {words}" for words in ("server web", "worker worker", "worker beat")
        ),
    }[manner]
    enqueue = [f"python manage.py enqueue {name.removeprefix('cron-')}" for name in CRON]
    sent = enqueue if scheduler == "platform" else [beat]
    assert commands == ["python manage.py release", web, worker, *sent]


@pytest.mark.parametrize("ci", choices()["ci"])
def test_the_source_is_where_ci_is(bake: Bake, ci: str) -> None:
    project = baked(bake, scheduler="platform", ci=ci)
    app = digitalocean.App.model_validate(digitalocean.read(project))
    assert len(app.jobs) == 5
    for part in (*app.jobs, *app.services, *app.workers):
        assert (part.gitlab is not None) == (ci == "gitlab")


@pytest.mark.parametrize(
    "answers",
    [{"project_slug": slug} for slug in APP_NAMES]
    + [{"scheduler": answer} for answer in choices()["scheduler"]]
    + [{"scheduler": "platform", "ci": ci} for ci in choices()["ci"]],
    ids=lambda answers: "-".join(answers.values()),
)
def test_the_full_schema_accepts_the_file(bake: Bake, answers: dict[str, str]) -> None:
    app_spec = schema("do-app-spec.schema.json")
    jsonschema.validate(digitalocean.read(baked(bake, **answers)), app_spec)


def variable(spec: Any, key: str) -> Any:
    """Return a variable of the app."""
    return next(item for item in spec["envs"] if item["key"] == key)


# What is done to the file, and a part of the message that refuses it.
MUTATIONS: dict[str, tuple[Change, str]] = {
    "underscore in the name": (lambda s: s.update(name="my_project"), "name"),
    "name of 33 characters": (lambda s: s.update(name="a" * 33), "name"),
    "name of one letter": (lambda s: s.update(name="a"), "name"),
    "dash at the end of a name": (lambda s: s["jobs"][0].update(name="release-"), "jobs.0.*name"),
    "region of Droplets": (lambda s: s.update(region="fra1"), "region"),
    "unknown key": (lambda s: s.update(enviroment=[]), "enviroment"),
    "number as a value": (lambda s: variable(s, "EMAIL_HOST").update(value=1), "envs.6.value"),
    "truth as a value": (lambda s: variable(s, "EMAIL_HOST").update(value=True), "envs.6.value"),
    "blank value": (lambda s: variable(s, "EMAIL_HOST").update(value=""), "envs.6.value"),
    "no value": (lambda s: variable(s, "EMAIL_HOST").pop("value"), "SECRET has no value"),
    "secret in the file": (lambda s: variable(s, "SECRET_KEY").update(value="x"), "SECRET_KEY"),
    "value at build time": (
        lambda s: variable(s, "DATABASE_URL").update(scope="RUN_AND_BUILD_TIME"),
        "envs.3.scope",
    ),
    "default scope": (lambda s: variable(s, "DATABASE_URL").pop("scope"), "envs.3.scope"),
    "dash in a variable": (lambda s: s["envs"][0].update(key="DJANGO-ENV"), "envs.0.key"),
    "variable twice": (lambda s: s["envs"].append(s["envs"][0]), "not unique"),
    "component twice": (lambda s: s["workers"][0].update(name="web"), "not unique"),
    "two beats": (
        lambda s: s["workers"][1].update(instance_count=2, instance_size_slug="apps-s-1vcpu-1gb"),
        "exactly once",
    ),
    "no beat": (lambda s: s["workers"][1].update(name="beet"), "exactly once"),
    "no beat at all": (lambda s: s["workers"].pop(), "exactly once"),
    "no worker": (lambda s: s["workers"].pop(0), "exactly once"),
    "another command": (
        lambda s: s["workers"][0].update(run_command="celery -A my_project events"),
        "unknown command",
    ),
    "an option too many": (
        lambda s: s["workers"][1].update(run_command="celery -A my_project beat -S x.y"),
        "unknown command",
    ),
    "two manners": (
        lambda s: s["workers"][1].update(run_command="python manage.py worker beat"),
        "several manners",
    ),
    "another package": (
        lambda s: s["workers"][1].update(run_command="celery -A blog beat"),
        "several manners",
    ),
    "another service": (lambda s: s["services"][0].update(name="site"), "no process"),
    "two releases": (
        lambda s: s["jobs"].append({**s["jobs"][0], "name": "again"}),
        "jobs must hold one release",
    ),
    "beat that may be multiplied by load": (
        lambda s: s["workers"][1].update(autoscaling={}),
        "autoscaling",
    ),
    "two of a single size": (lambda s: s["workers"][1].update(instance_count=2), "one instance"),
    "deprecated size": (
        lambda s: s["workers"][0].update(instance_size_slug="basic-xxs"),
        "instance_size_slug",
    ),
    "shell in a command": (
        lambda s: s["jobs"][0].update(run_command="python manage.py migrate && true"),
        "run_command",
    ),
    "release after the others": (lambda s: s["jobs"][0].update(kind="POST_DEPLOY"), "kind"),
    "no release": (lambda s: s.update(jobs=[]), "jobs"),
    "timeout without a unit": (lambda s: s["jobs"][0].update(timeout="900"), "timeout"),
    "push that deploys": (
        lambda s: s["services"][0]["github"].update(deploy_on_push=True),
        "deploy_on_push",
    ),
    "no source": (lambda s: s["services"][0].pop("github"), "github and gitlab"),
    "two sources": (
        lambda s: s["services"][0].update(gitlab=s["services"][0]["github"]),
        "github and gitlab",
    ),
    "port as a text": (lambda s: s["services"][0].update(http_port="8000"), "http_port"),
    "probe of one second": (
        lambda s: s["services"][0]["health_check"].update(timeout_seconds=1),
        "timeout_seconds",
    ),
    "probe of a page": (
        lambda s: s["services"][0]["health_check"].update(http_path="/"),
        "http_path",
    ),
    "probe of a worker": (
        lambda s: s["workers"][0].update(health_check={"http_path": "/health/"}),
        "health_check",
    ),
    "drained worker": (
        lambda s: s["workers"][0]["termination"].update(drain_seconds=15),
        "drain_seconds",
    ),
    "too much grace": (
        lambda s: s["workers"][0]["termination"].update(grace_period_seconds=601),
        "grace_period_seconds",
    ),
    "old routes": (lambda s: s["services"][0].update(routes=[{"path": "/"}]), "routes"),
    "requests for nobody": (
        lambda s: s["ingress"]["rules"][0]["component"].update(name="worker"),
        "ingress",
    ),
    "domain that is none": (lambda s: s["domains"][0].update(domain="example_com"), "domain"),
    "unknown alert": (lambda s: s["alerts"][0].update(rule="DEPLOYMENT_FAIL"), "rule"),
    "alert that is always on": (
        lambda s: s["services"][0]["alerts"][0].update(value=-1),
        "alerts.0.value",
    ),
    "database without backups": (
        lambda s: s["databases"][0].update(production=False),
        "production",
    ),
    "database without a cluster": (lambda s: s["databases"][1].pop("cluster_name"), "cluster_name"),
    "Redis, which is no more": (lambda s: s["databases"][1].update(engine="REDIS"), "engine"),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mistake_in_the_file_is_refused(spec: Any, name: str) -> None:
    assert_refused(spec, *MUTATIONS[name])


def assert_refused(spec: Any, change: Change, message: str) -> None:
    """Expect that the message names a mistake."""
    # Each anchor's place gets a copy of its own.
    broken = json.loads(json.dumps(spec))
    change(broken)
    assert broken != spec
    with pytest.raises(pydantic.ValidationError, match=message):
        digitalocean.App.model_validate(broken)


def cron(spec: Any) -> Any:
    """Return the first scheduled job."""
    return spec["jobs"][1]


CRON_MUTATIONS: dict[str, tuple[Change, str]] = {
    "four fields": (lambda s: cron(s)["schedule"].update(cron="0 6 * *"), "five fields"),
    "minute 60": (lambda s: cron(s)["schedule"].update(cron="60 * * * *"), "wrong minute"),
    "a name for fields": (lambda s: cron(s)["schedule"].update(cron="@daily"), "five fields"),
    "no cron": (lambda s: cron(s)["schedule"].pop("cron"), "schedule.cron"),
    "no time zone": (lambda s: cron(s)["schedule"].pop("time_zone"), "time_zone"),
    "another time zone": (
        lambda s: cron(s)["schedule"].update(time_zone="Europe/Berlin"),
        "time_zone",
    ),
    "no schedule": (lambda s: cron(s).pop("schedule"), "schedule"),
    "a release with a schedule": (
        lambda s: s["jobs"][0].update(schedule=cron(s)["schedule"]),
        "schedule",
    ),
    "a job at each deployment": (lambda s: cron(s).update(kind="POST_DEPLOY"), "kind"),
    "no kind": (lambda s: cron(s).pop("kind"), "kind"),
    "one name for two jobs": (
        lambda s: s["jobs"][2].update(name="cron-heartbeat", run_command=cron(s)["run_command"]),
        "not unique",
    ),
    "the name of another entry": (lambda s: cron(s).update(name="cron-digest"), "not the name"),
    "a shell": (
        lambda s: cron(s).update(run_command="python manage.py enqueue heartbeat || true"),
        "run_command",
    ),
    "another command": (
        lambda s: cron(s).update(run_command="python manage.py clearsessions"),
        "run_command",
    ),
    "two at a time": (lambda s: cron(s).update(instance_count=2), "instance_count"),
    "half an hour of hanging": (lambda s: cron(s).pop("timeout"), "timeout"),
    "a failure that nobody hears of": (lambda s: cron(s).update(alerts=[]), "alerts"),
    "an alert of services": (
        lambda s: cron(s)["alerts"][0].update(rule="REQUESTS_PER_SECOND"),
        "rule",
    ),
    "a variable of its own": (lambda s: cron(s).update(envs=[]), "envs"),
    "beat beside the jobs": (
        lambda s: s["workers"].append(
            {**s["workers"][0], "name": "beat", "run_command": "celery -A my_project beat"}
        ),
        "not at all beside SCHEDULED",
    ),
    "neither": (lambda s: s.update(jobs=s["jobs"][:1]), "exactly once"),
}


@pytest.mark.parametrize("name", CRON_MUTATIONS)
def test_a_mistake_in_a_scheduled_job_is_refused(cron_spec: Any, name: str) -> None:
    assert_refused(cron_spec, *CRON_MUTATIONS[name])


@pytest.mark.parametrize(
    "value", ["${DB.DATABASE_URL}", "${db.URL}", "${_self.DATABASE_URL}", "${cache.DATABASE_URL}"]
)
def test_a_bindable_variable_that_does_not_exist_is_refused(spec: Any, value: str) -> None:
    values = digitalocean.bindables(digitalocean.App.model_validate(spec), Addresses())
    with pytest.raises(KeyError, match="no bindable variable"):
        digitalocean.expand(value, values)


def test_the_app_domain_is_the_primary_domain(spec: Any) -> None:
    values = digitalocean.bindables(digitalocean.App.model_validate(spec), Addresses())
    assert digitalocean.expand("${APP_DOMAIN}", values) == "example.com"


def test_a_host_that_the_file_does_not_allow_stays_refused(spec: Any) -> None:
    variable(spec, "ALLOWED_HOSTS")["value"] = "other.example.org"
    edited = digitalocean.edit(spec, Addresses())
    assert digitalocean.value_of(edited, "ALLOWED_HOSTS") == "other.example.org"
    assert edited["domains"] == [{"domain": HOST, "type": "PRIMARY"}]


@pytest.mark.parametrize("ci", ["github", "gitlab"])
def test_ci_applies_the_file_compares_it_and_waits_longer_than_doctl(bake: Bake, ci: str) -> None:
    project = bake(hosting="digitalocean", ci=ci)
    file = ".gitlab-ci.yml" if ci == "gitlab" else ".github/workflows/deploy.yml"
    jobs = yaml.safe_load((project / file).read_text("utf-8"))
    job = jobs["deploy"] if ci == "gitlab" else jobs["jobs"]["deploy"]
    lines = job["script"] if ci == "gitlab" else [step.get("run", "") for step in job["steps"]]
    actions = [line.partition("deploy/spec.py ")[2] for line in lines if "deploy/spec.py" in line]
    assert actions == ['update "$APP_ID"', 'diff "$APP_ID"']
    other = "github" if ci == "gitlab" else "gitlab"
    assert f"{other}:" not in (project / "tests/test_deployment.py").read_text("utf-8")
    minutes = job["timeout"] if ci == "gitlab" else job["timeout-minutes"]
    # doctl asks 180 times, every 10 seconds.
    assert int(str(minutes).removesuffix(" minutes")) > 180 * 10 / 60


@pytest.mark.parametrize("scheduler", ["database", "platform"])
def test_blocks_of_the_page_can_be_pasted(bake: Bake, scheduler: str) -> None:
    page = (baked(bake, scheduler=scheduler) / "docs/deploy.md").read_text("utf-8")
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```$", page, re.MULTILINE | re.DOTALL)
    assert len(blocks) > 10
    for block in blocks:
        checked = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True)
        assert checked.returncode == 0 and not checked.stderr, block + checked.stderr
        # What is pasted after it would be taken for the answer.
        before = block.rstrip("\n").rpartition("\n")[0]
        assert not re.search(r"\bread |createsuperuser|apps console|--follow", before), block


@pytest.mark.parametrize("scheduler", choices()["scheduler"])
def test_the_page_tells_what_a_deployment_does_to_the_schedule(bake: Bake, scheduler: str) -> None:
    page = (baked(bake, scheduler=scheduler) / "docs/deploy.md").read_text("utf-8")
    assert ("when each task ran last" in page) == (scheduler == "code")
    assert ("two beats too" in page) == (scheduler in ("database", "code"))
    assert ("gives the lock in Redis back" in page) == (scheduler == "redbeat")
    assert ("## Periodic tasks" in page) == (scheduler == "platform")


@pytest.fixture(scope="module")
def own_project(bake: Bake) -> Path:
    """A project; its processes are started, so nothing may be changed in it."""
    return bake(hosting="digitalocean")


# Prints one line for each service: its name, and what went wrong.
PING = """
from apps.operations import pings
for name in {names}:
    try:
        getattr(pings, "ping_" + name)()
    except Exception as error:
        print(name, *str(error).split())
    else:
        print(name, "answers")
"""


def ping(
    project: Path, *names: str, database_url: str, redis_url: str, **variables: str
) -> dict[str, str]:
    """Reach services under production settings, and return what each says."""
    environment = production_environment(database_url, redis_url, **variables)
    with Stack(project, environment, python_environment(project)) as stack:
        code = PING.format(names=names)
        result = stack.manage("shell", "--no-imports", "--command", code)
    assert result.returncode == 0, result.stderr
    return dict(line.split(" ", 1) for line in result.stdout.splitlines())


@pytest.mark.slow
@pytest.mark.parametrize("issuer", ["given", "system", "neither"])
def test_redis_is_verified_by_the_given_ca_and_by_those_of_the_system(
    own_project: Path, tmp_path: Path, authority: Authority, issuer: str
) -> None:
    other = Authority(tmp_path).file
    given = authority.file if issuer == "given" else other
    system = authority.file if issuer == "system" else other
    with Redis() as redis, TLSProxy(redis.port, authority.server_context("localhost")) as proxy:
        answers = ping(
            own_project,
            *("cache", "broker", "results"),
            database_url="postgres://user:password@localhost:1/name",
            redis_url=proxy.redis_url(),
            REDIS_CA=given.read_text(),
            SSL_CERT_FILE=str(system),
        )
        for answer in answers.values():
            expected = "could not be verified" if issuer == "neither" else "answers"
            assert expected in answer, answers
        assert len(answers) == 3
        assert bool(proxy.bytes_passed) == (issuer != "neither")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "known", "answer"),
    [
        ("localhost", True, "answers"),
        ("other.example.com", True, "does not match host name"),
        ("localhost", False, "certificate verify failed"),
    ],
    ids=["right", "another server", "another CA"],
)
def test_postgresql_is_verified_by_its_ca_and_by_its_name(
    own_project: Path,
    tmp_path: Path,
    postgres: PostgresServer,
    authority: Authority,
    name: str,
    known: bool,
    answer: str,
) -> None:
    ca = authority if known else Authority(tmp_path)
    with tls_postgres(postgres, authority.server_context(name)) as port:
        url = urlsplit(postgres.admin_url)
        address = f"{url.username}:{url.password}@localhost:{port}{url.path}?sslmode=require"
        answers = ping(
            own_project,
            "database",
            database_url=f"postgres://{address}",
            redis_url="redis://localhost:1/0",
            DATABASE_CA=ca.file.read_text(),
        )
        assert answer in answers["database"]
