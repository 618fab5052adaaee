"""compose.production.yml, read as Docker Compose reads it, as far as the template uses it.

The rules are those of the Compose Specification:
https://github.com/compose-spec/compose-spec/blob/main/spec.md
"""

import json
import os
import re
import secrets
import shlex
import shutil
import subprocess
import tempfile
import textwrap
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from tests.platforms.components import CommandProbe, Component
from tests.platforms.surroundings import Surroundings
from tests.processes import SYSTEM_PATH

FILE = "compose.production.yml"
QUEUES = ("default", "notifications", "maintenance")

# The specification has more units; the template needs these.
Duration = Annotated[str, Field(pattern=r"^[1-9][0-9]*[sm]$")]
Size = Annotated[str, Field(pattern=r"^[1-9][0-9]*[mg]$")]
# Compose makes a number of it after interpolation.
Count = Annotated[int, BeforeValidator(int), Field(ge=0)]
# A list of exactly these: YAML has no tuples.
Listed = Field(strict=False)
Environment = dict[Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")], str]


class Model(BaseModel):
    """Refuses keys that it does not know, and values of another type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Limits(Model):
    """What a container may use."""

    memory: Size
    pids: Annotated[int, Field(ge=50)]


class Resources(Model):
    """`deploy.resources`."""

    limits: Limits


class Deploy(Model):
    """`deploy`."""

    resources: Resources


class LogOptions(Model):
    """How Docker rotates a log, and the labels that it writes into each line."""

    max_size: Annotated[Size, Field(alias="max-size")]
    max_file: Annotated[str, Field(alias="max-file", pattern=r"^[1-9]$")]
    labels: Literal["com.docker.compose.project,com.docker.compose.service,log.format"]


class Logging(Model):
    """`logging`."""

    driver: Literal["json-file"]
    options: LogOptions


class Labels(Model):
    """`labels`."""

    log_format: Annotated[Literal["json", "text"], Field(alias="log.format")]


class Healthcheck(Model):
    """A command without a shell, unless the container's variables are needed."""

    test: Annotated[list[str], Field(min_length=2)]
    # While a service starts, a probe that fails does not count against it.
    start_period: Duration
    interval: Literal["5s", "10s"]
    timeout: Literal["5s", "10s"]
    retries: Annotated[int, Field(ge=3, le=12)]


class ProjectHealthcheck(Healthcheck):
    """A command for the project's own image, which has Python, and neither curl nor wget."""

    @field_validator("test")
    @classmethod
    def _asks_with_python(cls, test: list[str]) -> list[str]:
        assert test[:2] == ["CMD", "python"], "the image has no other program to ask with"
        return test


class Healthy(Model):
    """A dependency that must be healthy."""

    condition: Literal["service_healthy"]


class Completed(Model):
    """A dependency that must have run to its end."""

    condition: Literal["service_completed_successfully"]


class OnPostgres(Model):
    """What the backup waits for."""

    postgres: Healthy


class OnServers(OnPostgres):
    """What the release waits for."""

    broker: Healthy


class OnRelease(Model):
    """What the processes wait for."""

    release: Completed


class OnWeb(Model):
    """What Caddy waits for."""

    web: Healthy


class Service(Model):
    """What holds for every service: confined, limited, with a log that ends."""

    restart: Literal["unless-stopped", "no"]
    read_only: Literal[True]
    cap_drop: Annotated[tuple[Literal["ALL"]], Listed]
    security_opt: Annotated[tuple[Literal["no-new-privileges:true"]], Listed]
    deploy: Deploy
    stop_grace_period: Duration
    labels: Labels
    logging: Logging


class Caddy(Service):
    """The one service that the world reaches."""

    image: Literal["caddy:2"]
    scale: Count
    restart: Literal["unless-stopped"]
    environment: Environment
    ports: Annotated[tuple[Literal["80:80"], Literal["443:443"], Literal["443:443/udp"]], Listed]
    volumes: Annotated[tuple[Literal["./deploy:/etc/caddy:ro"], Literal["caddy:/data"]], Listed]
    depends_on: OnWeb
    tmpfs: Annotated[tuple[Literal["/config"]], Listed]
    cap_add: Annotated[tuple[Literal["NET_BIND_SERVICE"]], Listed]
    healthcheck: Healthcheck


class Postgres(Service):
    """The database."""

    image: Literal["postgres:17"]
    restart: Literal["unless-stopped"]
    environment: Environment
    volumes: Annotated[tuple[Literal["postgres:/var/lib/postgresql/data"]], Listed]
    shm_size: Size
    tmpfs: Annotated[tuple[Literal["/run/postgresql"], Literal["/tmp"]], Listed]
    cap_add: Annotated[
        tuple[
            Literal["CHOWN"],
            Literal["DAC_OVERRIDE"],
            Literal["FOWNER"],
            Literal["SETGID"],
            Literal["SETUID"],
        ],
        Listed,
    ]
    healthcheck: Healthcheck


class Broker(Service):
    """The broker, which is the cache too."""

    image: Literal["valkey/valkey:8"]
    restart: Literal["unless-stopped"]
    user: Literal["valkey"]
    command: Annotated[
        str, Field(pattern=r"^valkey-server /etc/valkey/redis\.conf --requirepass \S+$")
    ]
    environment: Environment
    volumes: Annotated[tuple[Literal["./deploy:/etc/valkey:ro"], Literal["broker:/data"]], Listed]
    healthcheck: Healthcheck


class Backup(Service):
    """The daily backup."""

    image: Literal["postgres:17"]
    restart: Literal["unless-stopped"]
    entrypoint: Annotated[tuple[Literal["sh"], Literal["/deploy/backup.sh"]], Listed]
    command: Annotated[tuple[Literal["run"]], Listed]
    init: Literal[True]
    environment: Environment
    volumes: Annotated[tuple[Literal["./deploy:/deploy:ro"], Literal["backups:/backups"]], Listed]
    depends_on: OnPostgres
    tmpfs: Annotated[tuple[Literal["/tmp"]], Listed]
    healthcheck: Healthcheck


class EnvFile(Model):
    """`app.env`; where it is missing, the settings say what they need."""

    path: Literal["app.env"]
    required: Literal[False]


class Application(Service):
    """What runs the project's own image."""

    image: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    pull_policy: Literal["never"]
    command: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]+( [A-Za-z0-9_.:=-]+)+$")]
    env_file: Annotated[tuple[EnvFile], Listed]
    environment: Environment
    init: Literal[True]
    tmpfs: Annotated[tuple[Literal["/tmp"]], Listed]


class Release(Application):
    """Builds the image and runs once."""

    build: Literal["."]
    restart: Literal["no"]
    depends_on: OnServers


class Process(Application):
    """Runs after the release."""

    restart: Literal["unless-stopped"]
    depends_on: OnRelease
    healthcheck: ProjectHealthcheck


class Worker(Process):
    """A process of which there may be none or many."""

    scale: Count


class Beat(Process):
    """A process of which there is exactly one: it has no `scale`."""

    volumes: Annotated[tuple[Literal["beat:/var/lib/beat"]] | None, Listed] = None


class Flower(Process):
    """A process that is reached on the server itself, and by nobody else."""

    ports: Annotated[
        tuple[Annotated[str, Field(pattern=r"^127\.0\.0\.1:[1-9][0-9]*:5555$")]], Listed
    ]


class Local(Service):
    """A part of the monitoring: not started by itself, and open to this server alone."""

    profiles: Annotated[tuple[Literal["monitoring"]], Listed]
    restart: Literal["unless-stopped"]
    tmpfs: Annotated[tuple[Literal["/tmp"]], Listed]
    healthcheck: Healthcheck


class Prometheus(Local):
    """What scrapes."""

    image: Annotated[str, Field(pattern=r"^prom/prometheus:v3\.\d+\.\d+$")]
    entrypoint: Annotated[tuple[Literal["sh"], Literal["/etc/monitoring/prometheus.sh"]], Listed]
    command: Annotated[list[str], Field(min_length=3)]
    environment: Environment
    ports: Annotated[tuple[Literal["127.0.0.1:9090:9090"]], Listed]
    volumes: Annotated[
        tuple[Literal["./monitoring:/etc/monitoring:ro"], Literal["prometheus:/prometheus"]], Listed
    ]


class AlertsFile(Model):
    """`alerts.env`; where it is missing, the script says what it needs."""

    path: Literal["alerts.env"]
    required: Literal[False]


class Alertmanager(Local):
    """What sends alerts."""

    image: Annotated[str, Field(pattern=r"^prom/alertmanager:v0\.\d+\.\d+$")]
    entrypoint: Annotated[tuple[Literal["sh"], Literal["/etc/monitoring/alertmanager.sh"]], Listed]
    command: Annotated[list[str], Field(min_length=3)]
    env_file: Annotated[tuple[AlertsFile], Listed]
    ports: Annotated[tuple[Literal["127.0.0.1:9093:9093"]], Listed]
    volumes: Annotated[
        tuple[Literal["./monitoring:/etc/monitoring:ro"], Literal["alertmanager:/alertmanager"]],
        Listed,
    ]


class Grafana(Local):
    """What shows the dashboard."""

    image: Annotated[str, Field(pattern=r"^grafana/grafana:12\.\d+\.\d+$")]
    environment: Environment
    ports: Annotated[tuple[Literal["127.0.0.1:3000:3000"]], Listed]
    volumes: Annotated[
        tuple[
            Literal["./monitoring/grafana:/etc/grafana/provisioning:ro"],
            Literal["grafana:/var/lib/grafana"],
        ],
        Listed,
    ]


class Services(Model):
    """All services."""

    caddy: Caddy
    postgres: Postgres
    broker: Broker
    backup: Backup
    release: Release
    web: Process
    worker: Worker
    worker_default: Annotated[Worker, Field(alias="worker-default")]
    worker_notifications: Annotated[Worker, Field(alias="worker-notifications")]
    worker_maintenance: Annotated[Worker, Field(alias="worker-maintenance")]
    beat: Beat
    flower: Flower | None = None
    prometheus: Prometheus | None = None
    alertmanager: Alertmanager | None = None
    grafana: Grafana | None = None


class File(Model):
    """The file after interpolation, without its `x-` parts, which YAML has merged already."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    services: Services
    volumes: dict[
        Literal[
            "alertmanager",
            "backups",
            "beat",
            "broker",
            "caddy",
            "grafana",
            "postgres",
            "prometheus",
        ],
        None,
    ]

    @model_validator(mode="after")
    def one_image(self) -> Self:
        """All processes run what the release builds, which is named after the project."""
        for name, service in self.services:
            if isinstance(service, Application) and service.image != self.name:
                raise ValueError(f"{name} runs {service.image}, not {self.name}")
        return self

    @model_validator(mode="after")
    def one_process_manager(self) -> Self:
        """All processes are started plainly, or all of them by django-prodserver."""
        found = {
            name.replace("_", "-"): service.command
            for name, service in self.services
            if isinstance(service, Application)
        }
        known = [direct_commands(self.name), prodserver_commands()]
        if self.services.flower is None:
            for commands in known:
                del commands["flower"]
        if found not in known:
            raise ValueError(f"the commands are of neither process manager: {found}")
        return self


def direct_commands(slug: str) -> dict[str, str]:
    """Return the command of each service that runs gunicorn and Celery by themselves.

    Args:
        slug: name of the Django project package.
    """
    worker = f"celery -A {slug} worker --without-gossip --without-mingle"
    return {
        "release": "python manage.py release",
        "web": f"gunicorn --config gunicorn.conf.py {slug}.wsgi:application",
        "worker": worker,
        **{f"worker-{queue}": f"{worker} --queues {queue}" for queue in QUEUES},
        "beat": f"celery -A {slug} beat",
        "flower": f"celery -A {slug} flower --conf=flower.conf.py --logging=none",
    }


def prodserver_commands() -> dict[str, str]:
    """Return the command of each service where django-prodserver runs them."""
    return {
        "release": "python manage.py release",
        "web": "python manage.py server web",
        "worker": "python manage.py worker worker",
        **{f"worker-{queue}": f"python manage.py worker worker-{queue}" for queue in QUEUES},
        "beat": "python manage.py worker beat",
        "flower": "python manage.py server flower",
    }


def interpolate(text: str, variables: Mapping[str, str]) -> str:
    """Replace `${NAME}`, `${NAME:?message}`, `${NAME:-default}` and `$$` in a value.

    Args:
        text: the value.
        variables: those of the file `.env`.

    Raises:
        KeyError: A required variable is not there; the message is the file's own.
    """

    def value(match: re.Match[str]) -> str:
        name, operator, argument = match["name"], match["operator"], match["argument"]
        if name is None:
            return "$"
        if variables.get(name):
            return variables[name]
        if operator == ":?":
            raise KeyError(f"required variable {name} is missing a value: {argument}")
        return argument or ""

    return re.sub(
        r"\$\$|\$\{(?P<name>\w+)(?:(?P<operator>:[?-])(?P<argument>[^}]*))?\}", value, text
    )


def document(text: str, variables: Mapping[str, str]) -> dict[str, Any]:
    """Return the content of a file with all variables replaced, without its `x-` parts.

    Args:
        text: the file's.
        variables: those of `.env`.

    Raises:
        KeyError: see `interpolate`.
    """

    def replaced(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: replaced(value) for key, value in node.items()}
        if isinstance(node, list):
            return [replaced(value) for value in node]
        return interpolate(node, variables) if isinstance(node, str) else node

    content = replaced(yaml.safe_load(text))
    return {key: value for key, value in content.items() if not key.startswith("x-")}


def services(
    text: str, variables: Mapping[str, str], application: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """Return the services in the form of `docker compose config`, as far as components need it.

    Args:
        text: the file's.
        variables: those of `.env`.
        application: those of `app.env`; what the file itself says wins.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, service in document(text, variables)["services"].items():
        command = service.get("command")
        env_file = application if "env_file" in service else {}
        found[name] = {
            **service,
            "command": shlex.split(command) if isinstance(command, str) else command,
            "environment": {**env_file, **service.get("environment", {})},
        }
    return found


@cache
def has_plugin() -> bool:
    """Return whether `docker compose` is there; it needs no engine."""
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "compose", "version"], capture_output=True).returncode == 0


def services_by_plugin(
    text: str, variables: Mapping[str, str], application: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """Return the same as `services`, and more, by `docker compose config`.

    Raises:
        AssertionError: Compose refuses the file; its message is the text.
    """

    def lines(pairs: Mapping[str, str]) -> str:
        return "".join(f"{name}='{value}'\n" for name, value in pairs.items())

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / FILE).write_text(text, encoding="utf-8")
        (Path(folder) / ".env").write_text(lines(variables), encoding="utf-8")
        (Path(folder) / "app.env").write_text(lines(application), encoding="utf-8")
        result = subprocess.run(
            ["docker", "compose", "--file", FILE, "config", "--format", "json"],
            cwd=folder,
            env={name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
            capture_output=True,
            text=True,
            check=False,
        )
    assert result.returncode == 0, result.stderr
    # What it prints is a Compose file again, in which `$$` stands for `$`.
    found: dict[str, dict[str, Any]] = json.loads(result.stdout.replace("$$", "$"))["services"]
    return found


def page_block(project: Path, part: str) -> str:
    """Return the one block of commands in docs/deploy.md that holds a text.

    Args:
        project: folder of the baked project.
        part: the text.
    """
    page = (project / "docs" / "deploy.md").read_text("utf-8")
    blocks = map(textwrap.dedent, re.findall(r"```sh\n(.*?)```", page, re.DOTALL))
    [block] = [block for block in blocks if part in block]
    return block


def page_variables(project: Path, file: str) -> list[str]:
    """Return the names of the variables that docs/deploy.md writes into `.env` or `app.env`."""
    return re.findall(r'^echo "([A-Z_]+)=', page_block(project, f"> {file})"), re.MULTILINE)


def write_variables(project: Path, folder: Path, **answers: str) -> None:
    """Write `.env` and `app.env` by the commands of docs/deploy.md.

    Args:
        project: folder of the baked project.
        folder: where the files go.
        answers: what the operator says besides, such as DOMAIN.
    """
    blocks = [
        page_block(project, part) for part in ("\nALERT_RECIPIENTS=\n", "> .env)", "> app.env)")
    ]
    blocks[1:1] = [f"{name}={shlex.quote(value)}" for name, value in answers.items()]
    command = ["sh", "-euc", "\n".join(blocks)]
    subprocess.run(command, cwd=folder, env={"PATH": SYSTEM_PATH}, check=True)


def components(project: Path, surroundings: Surroundings) -> list[Component]:
    """Return what the file runs from the project's own image.

    Args:
        project: folder of the baked project.
        surroundings: the servers in the place of the file's own, and the operator who follows
            docs/deploy.md.

    Raises:
        ValidationError: The file holds what the template does not mean.
    """
    text = (project / FILE).read_text("utf-8")
    values = {
        **surroundings.values,
        "DOMAIN": surroundings.values["ALLOWED_HOSTS"],
        "COMPOSE_FILE": FILE,
        "POSTGRES_PASSWORD": secrets.token_hex(32),
        "BROKER_PASSWORD": secrets.token_hex(32),
        "METRICS_TOKEN": secrets.token_hex(32),
        "GRAFANA_PASSWORD": secrets.token_hex(16),
    }
    variables = {name: values[name] for name in page_variables(project, ".env")}
    application = {name: values[name] for name in page_variables(project, "app.env")}
    application |= surroundings.additions
    file = File.model_validate(document(text, variables))
    read = services_by_plugin if has_plugin() else services
    found = read(text, variables, application)

    owner = file.services.postgres.environment
    database = surroundings.database(
        owner["POSTGRES_USER"], owner["POSTGRES_PASSWORD"], owner["POSTGRES_DB"]
    )
    broker = surroundings.broker(file.services.broker.command.split()[-1])
    addresses = {"@postgres:5432/": f"@{database}/", "@broker:6379/": f"@{broker}/"}
    caddyfile = (project / "deploy" / "Caddyfile").read_text("utf-8")
    return own_components(found, file.name, addresses, caddyfile)


def own_components(
    found: Mapping[str, Mapping[str, Any]],
    image: str,
    addresses: Mapping[str, str],
    caddyfile: str,
) -> list[Component]:
    """Return the services that run the project's own image, as far as there are any containers.

    Args:
        found: the services in the form of `docker compose config`.
        image: the name of the image.
        addresses: what takes the place of the file's servers in the variables.
        caddyfile: says at which port the proxy asks which service.
    """
    return [
        _component(name, service, addresses, proxied_port(caddyfile, name) or published(service))
        for name, service in found.items()
        if service["image"] == image and int(service.get("scale", 1)) > 0
    ]


def _component(
    name: str, service: Mapping[str, Any], addresses: Mapping[str, str], port: int | None
) -> Component:
    environment = {}
    for variable, value in service["environment"].items():
        for old, new in addresses.items():
            value = value.replace(old, new)
        environment[variable] = value
    waits = service["depends_on"].items()
    return Component(
        name=name,
        command=tuple(service["command"]),
        environment=environment,
        probes=_probes(service.get("healthcheck")),
        port=port,
        grace=seconds(service["stop_grace_period"]),
        once=service["restart"] == "no",
        after=tuple(
            other for other, wait in waits if wait["condition"] == "service_completed_successfully"
        ),
        replicas=int(service.get("scale", 1)),
    )


def proxied_port(caddyfile: str, service: str) -> int | None:
    """Return the port at which the Caddyfile asks a service, if it does."""
    match = re.search(rf"\breverse_proxy {service}:(\d+)", caddyfile)
    return int(match[1]) if match else None


def published(service: Mapping[str, Any]) -> int | None:
    """Return the port of a container that the server publishes, if it does.

    Args:
        service: in the form of the file, or of `docker compose config`.
    """
    for port in service.get("ports", []):
        return int(port["target"]) if isinstance(port, Mapping) else int(port.rpartition(":")[2])
    return None


def _probes(healthcheck: Mapping[str, Any] | None) -> tuple[CommandProbe, ...]:
    if healthcheck is None:
        return ()
    kind, *command = healthcheck["test"]
    assert kind == "CMD", f"a check needs a shell: {command}"
    return (CommandProbe(tuple(command), seconds(healthcheck["timeout"])),)


def seconds(duration: str) -> float:
    """Return a duration such as `45s`, `1m` or `1m0s` in seconds.

    Raises:
        ValueError: It is none.
    """
    match = re.fullmatch(r"(?:(\d+)m)?(?:(\d+)s)?", duration)
    if not duration or not match:
        raise ValueError(f"not a duration: {duration!r}")
    return int(match[1] or 0) * 60.0 + int(match[2] or 0)
