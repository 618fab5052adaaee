"""What Dokku 0.38 makes of Procfile, app.json and the commands of docs/deploy.md.

Sources are files of github.com/dokku: `dokku` itself, `procfile-util` and
`docker-container-healthchecker`, which Dokku calls, and the plugins `dokku-postgres` and
`dokku-redis`. The scheduler is docker-local, Dokku's default.
"""

import re
import secrets
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from tests.platforms.commands import ENQUEUE, require_known
from tests.platforms.components import CommandProbe, Component, HTTPProbe, Probe
from tests.platforms.cron import five_fields
from tests.platforms.surroundings import Surroundings

# In seconds, from SIGTERM to SIGKILL; since 0.36 (docs/appendices/0.36.0-migration-guide.md).
DEFAULT_STOP_TIMEOUT = 30
# Where the web process listens if its image exposes no port.
WEB_PORT = 5000
# Dokku sets PORT for web alone, so Flower has its own.
FLOWER_PORT = 5555
# Without the second command cron would go on in the old time zone.
TIME_ZONE = "\ntimedatectl set-timezone Etc/UTC\nsystemctl restart cron\n"
# Longest name of a process (procfile-util/procfile/parse.go), and of a host.
LABEL_LENGTH = 63
# Longest name of a storage entry (dokku/docs/advanced-usage/persistent-storage.md).
STORAGE_LENGTH = 45


# app.json: dokku/plugins/app-json/appjson.go. Dokku ignores what it does not know; these do not.


class Strict(BaseModel):
    """Refuses what the template does not emit."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


Text = Annotated[str, StringConstraints(min_length=1)]
VariableName = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9_]*$")]
Seconds = Annotated[int, Field(ge=1, le=60)]


class Variable(Strict):
    """What app.json says of a variable: where its value comes from, if anybody has to give one."""

    description: Text
    value: Text | None = None
    generator: Literal["secret"] | None = None
    required: bool = True

    @model_validator(mode="after")
    def has_one_source(self) -> Self:
        """Refuse a value beside a generator, of which Dokku would ignore the value."""
        if self.value and self.generator:
            raise ValueError("value and generator are both there; Dokku ignores the value")
        return self


class Some(Strict):
    """At least one."""

    quantity: Annotated[int, Field(ge=1)]


class One(Strict):
    """Exactly one."""

    quantity: Literal[1]


class Formation(Strict):
    """How many of each process run; a process that is not listed runs zero times."""

    web: Some
    worker: Some
    beat: One | None = None
    flower: One | None = None


class CronTask(Strict):
    """What cron runs in a container of its own, in the time zone of the server.

    dokku/docs/processes/scheduled-cron-tasks.md. One that still runs is not joined by another.
    """

    command: Annotated[str, StringConstraints(pattern=rf"^{ENQUEUE}$")]
    schedule: Annotated[str, AfterValidator(five_fields)]
    concurrency_policy: Literal["forbid"]


class Check(Strict):
    """A check of a new container; docker-local knows no type but startup."""

    type: Literal["startup"]
    name: Text
    attempts: Annotated[int, Field(ge=2, le=20)]
    wait: Seconds
    timeout: Seconds


class PathCheck(Check):
    """A request that must be answered with 2xx."""

    path: Literal["/ready/"]


class HeartbeatCheck(Check):
    """A command in the container, run without a shell."""

    command: tuple[
        Literal["python"], Literal["-m"], Literal["apps.operations.heartbeat"], Literal["worker"]
    ]


class BeatCheck(Check):
    """The same for beat."""

    command: tuple[
        Literal["python"], Literal["-m"], Literal["apps.operations.heartbeat"], Literal["beat"]
    ]


class FlowerCheck(Check):
    """A request from within the container: Dokku routes none to it."""

    command: tuple[
        Literal["python"],
        Literal["-c"],
        Literal[
            "import urllib.request; "
            "urllib.request.urlopen('http://127.0.0.1:5555/flower/healthcheck', timeout=5)"
        ],
    ]


class Healthchecks(Strict):
    """The checks by process; those of a process with disabled checks would not run."""

    web: tuple[PathCheck]
    worker: tuple[HeartbeatCheck]
    beat: tuple[BeatCheck] | None = None
    flower: tuple[FlowerCheck] | None = None


class AppJSON(Strict):
    """All of app.json."""

    env: dict[VariableName, Variable]
    formation: Formation
    cron: tuple[CronTask, ...] = ()
    healthchecks: Healthchecks

    @model_validator(mode="after")
    def something_sends_the_schedule(self) -> Self:
        """Refuse both of beat and cron, and none."""
        if (self.formation.beat is None) != bool(self.cron):
            raise ValueError("the schedule needs either beat or cron")
        if self.healthchecks.beat and not self.formation.beat:
            raise ValueError("there is no beat to check")
        if bool(self.healthchecks.flower) != bool(self.formation.flower):
            raise ValueError("Flower must be checked where it runs")
        return self

    @model_validator(mode="after")
    def cron_runs_each_command_once(self) -> Self:
        """Refuse an entry that would be sent twice."""
        found = [task.command for task in self.cron]
        if len(set(found)) < len(found):
            raise ValueError(f"cron runs a command twice: {found}")
        return self


def first_environment(app: AppJSON, config: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of an app after Dokku has read app.json at the first deployment.

    dokku/plugins/app-json/functions.go, processAppJSONEnv, for `git push`, which has no terminal.

    Args:
        app: the file.
        config: what was set before.

    Raises:
        ValueError: a required variable has no value; the message is Dokku's.
    """
    environment = dict(config)
    for name, variable in sorted(app.env.items()):
        if environment.get(name):
            continue
        if variable.generator == "secret":
            environment[name] = secrets.token_hex(32)
        elif variable.value:
            environment[name] = variable.value
        elif variable.required:
            raise ValueError(
                f"required env var {name} has no value, no default, and no TTY for prompt"
            )
    return environment


# Procfile


def parse_procfile(text: str) -> dict[str, str]:
    """Return the commands of a Procfile by process.

    procfile-util/procfile/parse.go, ParseProcfile with strict=true.

    Args:
        text: the file.

    Raises:
        ValueError: Dokku refuses the file.
    """
    commands: dict[str, str] = {}
    for number, line in enumerate(map(str.strip, text.splitlines()), start=1):
        if not line or line.startswith(("#", "//")):
            continue
        match = re.fullmatch(r"([a-z0-9](?:[-a-z0-9]*[a-z0-9])?):\s*(.+)", line)
        if not match:
            raise ValueError(f"process name contains invalid characters, line {number}: {line}")
        name, command = match.groups()
        if len(name) > LABEL_LENGTH:
            raise ValueError(f"process name over {LABEL_LENGTH} characters, line {number}")
        if name in commands:
            raise ValueError(f"process names must be unique, line {number}: {name}")
        command = re.sub(r"\s(?:#|//).+$", "", command).strip()
        if not command or command.startswith(("#", "//")):
            raise ValueError(f"no command specified, line {number}")
        commands[name] = command
    return commands


def expand(command: str, variables: Mapping[str, str]) -> str:
    """Replace `$NAME` and `${NAME}` in a command as Go's os.Expand does.

    procfile-util/docs/variable-expansion.md. Dokku replaces what it does not know by nothing, also
    `${NAME:-default}`; here that is an error.

    Args:
        command: a command of a Procfile.
        variables: PORT, PS and those of the app.

    Raises:
        ValueError: something would be replaced by nothing.
    """

    def value(match: re.Match[str]) -> str:
        name = match["braced"] if match["braced"] is not None else match["plain"]
        if name not in variables:
            raise ValueError(f"Dokku replaces {match[0]} by nothing: {command}")
        return variables[name]

    return re.sub(r"\$(?:\{(?P<braced>[^}]*)\}|(?P<plain>\w*))", value, command)


def split_command(command: str) -> tuple[str, ...]:
    """Return program and arguments of a command; no shell runs it.

    dokku/plugins/common/functions, fn-docker-args-split, which splits as xargs does.

    Args:
        command: an expanded command of a Procfile.

    Raises:
        ValueError: it holds what only a shell understands, or an open quote.
    """
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = ""
    words = list(lexer)
    operators = [word for word in words if re.fullmatch(r"[();<>|&]+", word)]
    if operators or "`" in command or re.match(r"\w+=", words[0]):
        raise ValueError(f"this needs a shell, and there is none: {command}")
    return tuple(words)


# docs/deploy.md


@dataclass
class Server:
    """What the commands of docs/deploy.md leave on a server before the first `git push`.

    Attributes:
        app: Name of the app.
        config: Its variables, without those of links.
        links: Service that each variable leads to.
        domains: Host names, the first of which checks send as Host.
        unchecked: Processes with disabled checks; their old containers stop first.
        stop_timeout: In seconds.
        mounts: Process and folder of each storage entry.
    """

    app: str = ""
    config: dict[str, str] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    domains: list[str] = field(default_factory=list)
    unchecked: set[str] = field(default_factory=set)
    stop_timeout: int = DEFAULT_STOP_TIMEOUT
    mounts: dict[str, tuple[str, str]] = field(default_factory=dict)
    _made: set[str] = field(default_factory=set)

    def run(self, *command: str) -> None:
        """Run one Dokku command.

        Args:
            command: its words, without `dokku`.

        Raises:
            ValueError: there is no such command, or it would fail.
        """
        app = self.app
        match command:
            case ("plugin:install", url, "--name", "postgres" | "redis" | "letsencrypt" as name):
                require(url, rf"https://github\.com/dokku/dokku-{name}\.git")
            case ("apps:create", name):
                # dokku/plugins/common/common.go, IsValidAppName.
                self.app = require(name, r"[a-z0-9][^/:_A-Z]*")
            case ("builder:set", name, "selected", "dockerfile") if name == app:
                pass
            case ("domains:set", name, *domains) if name == app:
                self.domains = domains
            case ("postgres:create", service, "--image-version", version):
                # dokku-postgres/datastore holds definitions for 17 and 18.
                require(version, r"17\.\d+")
                self._create("postgres", service)
            case ("redis:create", service, "--image-version", version):
                require(version, r"8\.\d+\.\d+")
                self._create("redis", service)
            case ("redis:restart", service):
                self._existing("redis", service)
            case ("postgres:link", service, name) if name == app:
                self.links["DATABASE_URL"] = self._existing("postgres", service)
            case ("redis:link", service, name) if name == app:
                self.links["REDIS_URL"] = self._existing("redis", service)
            case ("config:set", "--no-restart", name, *pairs) if name == app:
                self.config |= dict(pair.split("=", 1) for pair in pairs)
            case ("checks:disable", name, process) if name == app:
                self.unchecked.add(process)
            case ("ps:set", name, "stop-timeout-seconds", number) if name == app:
                self.stop_timeout = int(require(number, r"[1-9]\d{0,2}"))
            case ("ps:set", name, "restart-policy", "unless-stopped") if name == app:
                pass  # Docker does as it says; Deployment restarts nothing.
            case ("nginx:set", name, "hsts", "false") if name == app:
                pass
            case ("nginx:set", name, "client-max-body-size", size) if name == app:
                require(size, r"[1-9]\d*m")
            case ("storage:create", name, "--chown", "heroku"):
                # User 1000 (dokku/docs/advanced-usage/persistent-storage.md).
                require(name, rf"[a-z](?:[a-z0-9-]{{0,{STORAGE_LENGTH - 2}}}[a-z0-9])?")
                self._made.add(name)
            case (
                "storage:mount",
                name,
                entry,
                "--container-dir",
                path,
                "--process-type",
                process,
            ) if name == app and entry in self._made:
                self.mounts[entry] = (process, path)
            case _:
                raise ValueError(f"dokku {shlex.join(command)}: unknown, or nothing to do it to")

    def _create(self, plugin: str, service: str) -> None:
        host = f"dokku-{plugin}-{service}"
        self._made.add(require(host, rf"[a-z0-9-]{{1,{LABEL_LENGTH}}}"))

    def _existing(self, plugin: str, service: str) -> str:
        if f"dokku-{plugin}-{service}" not in self._made:
            raise ValueError(f"{plugin} service {service} does not exist")
        return service


def require(text: str, pattern: str) -> str:
    """Return the text.

    Args:
        text: what must match.
        pattern: regular expression for all of it.

    Raises:
        ValueError: it does not match.
    """
    if not re.fullmatch(pattern, text):
        raise ValueError(f"{text!r} is not {pattern}")
    return text


def commands(page: str, values: Mapping[str, str]) -> list[list[str]]:
    """Return the Dokku commands of a page that come before the first `git push`.

    Args:
        page: docs/deploy.md.
        values: shell variables that the operator types or changes; they win over the page's.

    Raises:
        KeyError: the page does not say what a shell variable is.
    """
    blocks = re.findall(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    before, push, _ = "".join(blocks).replace("\\\n", " ").partition("\ngit push ")
    assert push, "the page deploys nothing"
    variables = dict(values)
    found = []
    for line in before.splitlines():
        if assignment := re.fullmatch(r"([A-Z][A-Z_]*)=(\S+)", line):
            if assignment[1] not in values:
                variables[assignment[1]] = assignment[2]
        elif line.startswith("dokku "):
            words = shlex.split(line.partition(" > ")[0])
            found.append([replaced(word, variables) for word in words[1:]])
    return found


def replaced(word: str, variables: Mapping[str, str]) -> str:
    """Return a word with `$NAME` replaced by its value."""
    return re.sub(r"\$(\w+)", lambda match: variables[match[1]], word)


# All together


def read(project: Path) -> tuple[dict[str, str], AppJSON]:
    """Return the commands of Procfile and the content of app.json.

    Args:
        project: folder of the project.

    Raises:
        ValueError: a file is wrong, or they name different processes.
    """
    procfile = parse_procfile((project / "Procfile").read_text("utf-8"))
    app = AppJSON.model_validate_json((project / "app.json").read_text("utf-8"))
    processes = {"release"} | {name for name, quantity in app.formation if quantity}
    if set(procfile) != processes:
        raise ValueError(f"Procfile has {sorted(procfile)} instead of {sorted(processes)}")
    return procfile, app


def set_up(project: Path, app: AppJSON, values: Mapping[str, str]) -> Server:
    """Return the server that docs/deploy.md sets up.

    Args:
        project: folder of the project.
        app: its app.json.
        values: what the operator types, by variable of the application.

    Raises:
        ValueError: a command is wrong, or an important one is missing.
    """
    typed = {**values, "DOMAIN": values["ALLOWED_HOSTS"]}
    server = Server()
    page = (project / "docs/deploy.md").read_text("utf-8")
    for command in commands(page, typed):
        server.run(*command)
    # Two beats may only meet if one waits for the other; then the new one can be checked.
    alone = {"beat"} if app.formation.beat and not app.healthchecks.beat else set()
    if server.unchecked != alone:
        raise ValueError("checks:disable is for beat: the old one must stop before the new starts")
    if app.cron and TIME_ZONE not in page:
        raise ValueError(
            f"the page must set the server's time zone to that of TIME_ZONE: {TIME_ZONE}"
        )
    return server


def linked(server: Server, surroundings: Surroundings) -> dict[str, str]:
    """Return the variables of the links, with the test's servers in place of the services.

    The form is that of the plugins' definitions (`dsn` in datastore/*/docker-compose.yml), apart
    from the role: the plugin links an app as `postgres`, the superuser.

    Args:
        server: what was linked.
        surroundings: the servers.
    """
    urls = {}
    if service := server.links.get("DATABASE_URL"):
        name, password = service.replace("-", "_"), secrets.token_hex(16)
        address = surroundings.database(name, password, name)
        urls["DATABASE_URL"] = f"postgres://{name}:{password}@{address}/{name}"
    if server.links.get("REDIS_URL"):
        password = secrets.token_hex(32)
        urls["REDIS_URL"] = f"redis://:{password}@{surroundings.broker(password)}"
    return urls


def components(project: Path, surroundings: Surroundings) -> list[Component]:
    """Return what Dokku runs: the release, web, the other processes, and what cron starts.

    Args:
        project: folder of the project.
        surroundings: the servers and the operator.

    Raises:
        ValueError: Dokku refuses a file or a command, or would not run what is meant.
    """
    procfile, app = read(project)
    server = set_up(project, app, surroundings.values)
    config = {**server.config, **linked(server, surroundings), **surroundings.additions}
    environment = first_environment(app, config)
    words = {
        name: split_command(expand(line, {**environment, "PS": name, "PORT": str(WEB_PORT)}))
        for name, line in procfile.items()
    }
    require_known({name: shlex.join(command) for name, command in words.items()})

    def component(name: str, probes: Iterable[Probe] = (), port: int | None = None) -> Component:
        return Component(
            name=name,
            command=words[name],
            environment=environment,
            probes=tuple(probes),
            port=port,
            grace=float(server.stop_timeout),
            once=name == "release",
            after=() if name == "release" else ("release",),
            replicas=1 if name == "release" else getattr(app.formation, name).quantity,
        )

    def scheduled(task: CronTask) -> Component:
        command = split_command(task.command)
        return Component(
            name=f"cron-{command[-1]}",
            command=command,
            environment=environment,
            probes=(),
            port=None,
            grace=float(server.stop_timeout),
            once=False,
            after=("release",),
            schedule=task.schedule,
        )

    # dokku/plugins/scheduler-docker-local/check-deploy: the Host header is the first domain, and
    # before there is a certificate there is no X-Forwarded-Proto.
    ready = [
        HTTPProbe(check.path, check.timeout, host=server.domains[0])
        for check in app.healthchecks.web
    ]
    checks = {
        "worker": app.healthchecks.worker,
        "beat": app.healthchecks.beat or (),
        "flower": app.healthchecks.flower or (),
    }
    heartbeats = {
        name: [CommandProbe(check.command, check.timeout) for check in found]
        for name, found in checks.items()
    }
    beat = [component("beat", heartbeats["beat"])] if app.formation.beat else []
    flower = (
        [component("flower", heartbeats["flower"], FLOWER_PORT)] if app.formation.flower else []
    )
    return [
        component("release"),
        component("web", ready, WEB_PORT),
        component("worker", heartbeats["worker"]),
        *beat,
        *flower,
        *map(scheduled, app.cron),
    ]
