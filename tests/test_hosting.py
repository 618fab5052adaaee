"""Each deployment file, run by the rules of its platform."""

import base64
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib import import_module
from itertools import cycle, islice, pairwise, product
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest

from tests.baking import allowed, choices
from tests.conftest import Bake
from tests.platforms.components import Component, Deployment, HTTPProbe, ReleaseError
from tests.platforms.cron import Cron
from tests.platforms.surroundings import FLOWER_LOGIN, Surroundings
from tests.processes import Process, http_get, json_objects, process_commands, wait_until
from tests.production import HOST, PROXY_HEADERS, effects, prepare, query
from tests.servers.postgres import Postgres, PostgresServer
from tests.servers.tls import Authority
from tests.test_project import HOSTILE
from tests.users import TICK_SECONDS

pytestmark = pytest.mark.slow

NIGHTLY_KINDS = {("digitalocean", "code"), ("dokku", "code")}
# A slug of 40 characters and a name full of quotes must deploy like any other: in every run where
# variables come as text, and where they come through an API.
KINDS = [
    pytest.param(
        {"hosting": hosting, "scheduler": scheduler, **more},
        id=f"{hosting}-{scheduler}",
        marks=[
            pytest.mark.xdist_group(f"hosting-{hosting}"),
            *([pytest.mark.nightly] if (hosting, scheduler) in NIGHTLY_KINDS else []),
        ],
    )
    for hosting in choices()["hosting"]
    for scheduler, more in {"database": {"use_flower": "true"}, "code": HOSTILE}.items()
]

# What decides about the processes; what is no kind above is shown to run, and no more. Flower is
# there where django-prodserver has to start it. In every run django-prodserver meets each hosting
# and each scheduler, and each platform starts what is scheduled; the nightly one has all.
DECISIVE = ("hosting", "scheduler", "process_manager")
OF_EVERY_RUN = {
    ("compose", "redbeat", "prodserver"),
    ("digitalocean", "platform", "prodserver"),
    ("dokku", "code", "prodserver"),
    ("dokku", "platform", "direct"),
    ("azure", "database", "prodserver"),
    ("azure", "platform", "direct"),
}
OTHER_COMBINATIONS = [
    pytest.param(
        {**answers, "use_flower": "true" if "prodserver" in row else "false"},
        id="-".join(row),
        marks=() if row in OF_EVERY_RUN else pytest.mark.nightly,
    )
    for row in product(*(choices()[question] for question in DECISIVE))
    if allowed(answers := dict(zip(DECISIVE, row, strict=True)))
    and row[1:] not in {("database", "direct"), ("code", "direct")}
]

# When sessions are cleared; the heartbeat is due then too, and not in the next minute.
NIGHT = datetime(2026, 1, 1, 3, 30, tzinfo=UTC)


@dataclass(frozen=True)
class Target:
    """A project, and what its deployment file makes of it here."""

    answers: Mapping[str, str]
    project: Path
    surroundings: Surroundings
    components: list[Component]

    @property
    def commands(self) -> dict[str, str]:
        """The command of each component by its name, as the answers would have it."""
        manager = self.answers.get("process_manager", "direct")
        commands = process_commands(self.project.name, manager)
        commands["release"] = "python manage.py release"
        if self.answers.get("use_flower") != "true":
            del commands["flower"]
        if self.answers["scheduler"] == "platform":
            del commands["beat"]
            for entry in self.entries():
                commands[f"cron-{entry}"] = f"python manage.py enqueue {entry}"
        return commands

    def entries(self) -> list[str]:
        """Return the names of the schedule's entries."""
        schedule = self.project / self.project.name / "schedule.py"
        return re.findall(r'^ +name="(.+)",$', schedule.read_text("utf-8"), re.MULTILINE)

    @property
    def database(self) -> str:
        """The DATABASE_URL that the file gives."""
        return self.components[0].environment["DATABASE_URL"]

    def second_database(self) -> str:
        """Make an empty database of the same owner and return its DATABASE_URL."""
        url = urlsplit(self.database)
        assert url.username
        self.surroundings.add_database(url.username, f"{url.username}_2")
        return urlunsplit(url._replace(path=f"/{url.username}_2"))

    def required(self) -> list[str]:
        """Return the variables that the project's production settings say they require."""
        with Deployment(self.project, self.surroundings) as deployment:
            empty = replace(self.component("release"), environment={})
            return missing(deployment.run(empty))

    def component(self, name: str) -> Component:
        """Return the component of that name."""
        [component] = [component for component in self.components if component.name == name]
        return component


def missing(stopped: subprocess.CompletedProcess[str]) -> list[str]:
    """Return the variables that a process names as the reason why it stopped."""
    assert stopped.returncode != 0, "it starts all the same"
    named = re.search(r"Missing or blank: (.*)\.", stopped.stderr)
    assert named, stopped.stderr
    return named[1].split(", ")


def lacking(components: list[Component], required: list[str]) -> list[str]:
    """Return a sentence for each required variable that a component does not get."""
    return [
        f"{component.name} gets no {name}"
        for component in components
        for name in required
        if name not in component.environment
    ]


MakeTarget = Callable[..., AbstractContextManager[Target]]


@pytest.fixture(scope="module")
def make_target(
    bake: Bake,
    postgres: PostgresServer,
    authority: Authority,
    tmp_path_factory: pytest.TempPathFactory,
) -> MakeTarget:
    """Return `make_target(answers)`: a context with what a target's file runs, and its servers.

    The files name the same roles, so a second target needs another server of PostgreSQL.
    """

    @contextmanager
    def make_target(
        answers: Mapping[str, str], postgres: PostgresServer = postgres
    ) -> Iterator[Target]:
        baked = bake(**answers)
        folder = tmp_path_factory.mktemp("hosting")
        project = prepare(Path(shutil.copytree(baked, folder / baked.name)))
        platform = import_module(f"tests.platforms.{answers['hosting']}")
        with Surroundings(postgres, authority, folder) as surroundings:
            components = platform.components(project, surroundings)
            yield Target(answers, project, surroundings, components)

    return make_target


@pytest.fixture(scope="module", params=KINDS)
def target(request: pytest.FixtureRequest, make_target: MakeTarget) -> Iterator[Target]:
    """What the file of each kind runs, with the servers that it expects."""
    with make_target(request.param) as target:
        yield target


@pytest.fixture
def plain(target: Target) -> Target:
    """The target of the plain project, for what takes long and depends on no name."""
    if target.project.name != "my_project":
        pytest.skip("shown by the plain project of this hosting")
    return target


@pytest.fixture(scope="module")
def site(target: Target) -> Iterator[Deployment]:
    """The deployment, up."""
    with Deployment(target.project, target.surroundings) as deployment:
        deployment.deploy(target.components)
        yield deployment


def enqueue(site: Deployment, target: Target, code: str) -> None:
    """Call a task from a process beside the worker."""
    code = f"from apps.trial.tasks import *; {code}"
    shell = site.run(target.component("worker"), "python", "manage.py", "shell", "-c", code)
    assert shell.returncode == 0, shell.stderr


def assert_the_file_is_complete(target: Target) -> None:
    """Expect the commands of the answers, all variables for each, and times for cron."""
    found = {component.name: shlex.join(component.command) for component in target.components}
    assert found == target.commands
    assert [component.name for component in target.components if component.once] == ["release"]
    for component in target.components:
        assert component.once or component.after == ("release",)
        assert component.environment["DJANGO_ENVIRONMENT"] == "production"
        assert component.environment == target.components[0].environment
        assert component.replicas == 1
        assert bool(component.schedule) == component.name.startswith("cron-")
    assert lacking(target.components, target.required()) == []


def test_the_file_runs_the_four_commands_and_gives_all_the_same_variables(target: Target) -> None:
    assert_the_file_is_complete(target)


def test_every_process_may_finish_before_it_is_killed(target: Target) -> None:
    """Longer than gunicorn's graceful timeout, and than the worker's soft shutdown."""
    assert target.component("web").grace > 30
    assert target.component("worker").grace > 10
    for component in target.components:
        assert component.grace >= 10


def test_two_releases_at_the_same_moment_succeed_and_migrate_once(plain: Target) -> None:
    release = plain.component("release")
    url = plain.second_database()
    again = replace(release, environment={**release.environment, "DATABASE_URL": url})
    with Deployment(plain.project, plain.surroundings) as deployment:
        with ThreadPoolExecutor(max_workers=2) as pool:
            results = list(pool.map(deployment.run, [again, again]))
    assert [result.returncode for result in results] == [0, 0], results
    applied = [
        name for result in results for name in re.findall(r"Applying (\S+)\.\.", result.stdout)
    ]
    assert len(applied) == len(set(applied)) == len(query(url, "SELECT * FROM django_migrations"))


def test_a_failed_release_stops_the_deployment(target: Target) -> None:
    broken = [component.without("SECRET_KEY") for component in target.components]
    with Deployment(target.project, target.surroundings) as deployment:
        with pytest.raises(ReleaseError, match=r"release: (?s:.*)SECRET_KEY"):
            deployment.deploy(broken)
        assert deployment.processes == {}


@pytest.mark.parametrize("pairs", ["each", pytest.param("all", marks=pytest.mark.nightly)])
def test_every_component_stops_and_names_the_one_variable_that_the_file_forgot(
    plain: Target, pairs: str
) -> None:
    required = plain.required()
    assert len(required) >= 5
    cases = list(product(plain.components, required))
    if pairs == "each":  # component and each variable once: the settings are the same for all
        most = max(len(plain.components), len(required))
        cases = list(islice(zip(cycle(plain.components), cycle(required)), most))
    with (
        Deployment(plain.project, plain.surroundings) as deployment,
        ThreadPoolExecutor(max_workers=4) as pool,
    ):
        results = pool.map(lambda case: deployment.run(case[0].without(case[1])), cases)
        for (component, name), result in zip(cases, results, strict=True):
            assert missing(result) == [name], f"{component.name} without {name}"
    for component, name in product(plain.components, required):
        mutant = component.without(name)
        assert lacking([mutant], required) == [f"{component.name} gets no {name}"]


def test_the_platforms_probe_reaches_the_site(site: Deployment, target: Target) -> None:
    probes = [probe for probe in target.component("web").probes if isinstance(probe, HTTPProbe)]
    for probe in probes or [HTTPProbe("/health/", 5), HTTPProbe("/ready/", 5)]:
        assert site.probe("web", probe).status == 200
    assert http_get(f"{site.url('web')}/", host=HOST, headers=PROXY_HEADERS).status == 200
    assert http_get(f"{site.url('web')}/", host="other.example.com").status == 400


def test_a_task_of_a_request_runs_in_the_worker(site: Deployment, target: Target) -> None:
    url = f"{site.url('web')}/trial/enqueue/"
    assert http_get(url, host=HOST, headers=PROXY_HEADERS).status == 202
    wait_until(lambda: effects(target.database, "web"), 20, "the task of the request")


def assert_flower_is_for_its_login(site: Deployment) -> None:
    """Expect that Flower answers strangers' probes alone, and shows the worker to its login."""
    url = f"{site.url('flower')}/flower/"
    assert http_get(f"{url}healthcheck").text == "OK"
    assert http_get(url).status == 401
    login = {"Authorization": f"Basic {base64.b64encode(FLOWER_LOGIN.encode()).decode()}"}
    wait_until(lambda: "celery@" in http_get(url, headers=login).text, 30, "the worker in Flower")


def test_flower_is_for_its_login(site: Deployment, plain: Target) -> None:
    assert_flower_is_for_its_login(site)


def sent(beat: Process) -> list[datetime]:
    """Return when beat sent the task that ticks."""
    lines = [line for line in beat.lines if "Sending due task tick" in line]
    return [datetime.fromisoformat(json.loads(line)["timestamp"]) for line in lines]


def test_a_scheduled_task_runs_once_per_tick(site: Deployment, target: Target) -> None:
    beat = site.processes["beat"]
    wait_until(lambda: len(sent(beat)) >= 4, 60, "four ticks")
    moments = sent(beat)
    wait_until(lambda: len(effects(target.database, "tick")) >= len(moments), 20, "their tasks")
    # One more may be on its way.
    assert len(effects(target.database, "tick")) <= len(sent(beat))
    for earlier, later in pairwise(moments):
        assert (later - earlier).total_seconds() > TICK_SECONDS / 2, "sent twice"


def test_email_leaves(site: Deployment, target: Target) -> None:
    mail = target.surroundings.mail
    before = len(mail.inbox)
    code = "from apps.notifications.tasks import send_email as s; s.delay('a', 'b', ['c@d.ef'])"
    enqueue(site, target, code)
    delivery = mail.wait_for(before + 1, 20)[-1]
    assert delivery.encrypted


# All have one environment, so the first shows what hangs on names.
@pytest.mark.parametrize(
    "name",
    [
        "release",
        *(pytest.param(name, marks=pytest.mark.nightly) for name in ("web", "worker", "beat")),
    ],
)
def test_doctor_passes_in_the_environment_of(name: str, site: Deployment, target: Target) -> None:
    component = target.component(name)
    doctor = site.run(component, "python", "manage.py", "doctor", "--wait", "30")
    assert doctor.returncode == 0, doctor.stdout + doctor.stderr


def test_a_long_task_survives_that_the_worker_is_told_to_stop(
    site: Deployment, plain: Target
) -> None:
    enqueue(site, plain, "sleep.delay('long', 20)")
    wait_until(lambda: effects(plain.database, "long"), 20, "the task to start")
    assert site.stop("worker") != -9, "it had to be killed"
    site.start(plain.component("worker"))
    wait_until(lambda: "finished" in effects(plain.database, "long"), 60, "the next worker")


def test_everything_stops_in_time_with_whole_logs(site: Deployment, plain: Target) -> None:
    for name in reversed(site.processes):
        assert site.stop(name) == 0
        assert site.processes[name].json_lines()


def assert_cron_sends_what_is_due(site: Deployment, target: Target) -> None:
    """Expect that cron starts what is due at a minute, and that a worker runs what was sent."""
    runs = Cron(site, target.components).run(NIGHT, minutes=2)
    for run in runs:
        assert run.exit_code == 0, "\n".join([run.name, *run.lines])
        assert json_objects(run.name, run.lines)
    assert sorted((run.moment.minute, run.name) for run in runs) == [
        (30, "cron-clear-expired-sessions"),
        (30, "cron-heartbeat"),
        (30, "cron-tick"),
        (31, "cron-tick"),
    ]
    wait_until(lambda: len(effects(target.database, "tick")) >= 2, 20, "the tasks of cron")
    assert len(effects(target.database, "tick")) == 2


@pytest.mark.parametrize("answers", OTHER_COMBINATIONS)
def test_the_combination_runs(answers: Mapping[str, str], make_target: MakeTarget) -> None:
    """A task of a request, a periodic one, and the end of all processes."""
    with (
        Postgres() as own,  # That of the kinds may be in use still.
        make_target(answers, own) as target,
        Deployment(target.project, target.surroundings) as site,
        ThreadPoolExecutor() as pool,
    ):
        assert_the_file_is_complete(target)
        site.deploy(target.components)
        url = f"{site.url('web')}/trial/enqueue/"
        assert http_get(url, host=HOST, headers=PROXY_HEADERS).status == 202
        wait_until(lambda: effects(target.database, "web"), 20, "the task of the request")
        if "beat" in site.processes:
            wait_until(lambda: effects(target.database, "tick"), 60, "the task of a tick")
        else:
            assert_cron_sends_what_is_due(site, target)
        if "flower" in site.processes:
            assert_flower_is_for_its_login(site)
        names = list(site.processes)
        assert dict(zip(names, pool.map(site.stop, names), strict=True)) == dict.fromkeys(names, 0)
        for process in site.processes.values():
            assert process.json_lines()
