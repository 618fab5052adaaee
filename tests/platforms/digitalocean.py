"""App specs of DigitalOcean App Platform, read and run as the platform does.

Sources: the platform's OpenAPI description (`specification/resources/apps/models/`), godo, which is
what doctl decodes with, and https://docs.digitalocean.com/products/app-platform/.
"""

import re
import runpy
import secrets
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from tests.platforms.commands import ENQUEUE, require_known
from tests.platforms.components import Component, HTTPProbe
from tests.platforms.cron import five_fields
from tests.platforms.surroundings import Surroundings

# In seconds, where a component does not say (app_service_spec_termination.yml).
DEFAULT_GRACE = 120

# Of apps and components: 2 to 32 characters (app_spec.yml, app_component_base.yml).
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,30}[a-z0-9]$")]
# One program and its arguments: nothing that a shell would have to read.
Command = Annotated[str, Field(pattern=r"^[\w./:-]+( [\w./:=-]+)*$")]
# The sizes on sale; of the first two there is only one instance (pricing page, instance sizes).
SINGLE_SIZES = ("apps-s-1vcpu-0.5gb", "apps-s-1vcpu-1gb-fixed")
Size = Literal[
    "apps-s-1vcpu-0.5gb",
    "apps-s-1vcpu-1gb-fixed",
    "apps-s-1vcpu-1gb",
    "apps-s-1vcpu-2gb",
    "apps-s-2vcpu-4gb",
]


class Model(BaseModel):
    """Refuses what it does not know, and guesses no types: a text is no number."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Domain(Model):
    """A host name of the app (app_domain_spec.yml)."""

    domain: str = Field(pattern=r"^([a-z0-9]+(-+[a-z0-9]+)*\.)+[a-z0-9-]{2,}$", max_length=253)
    type: Literal["PRIMARY"]


class RequestPath(Model):
    """What the path of a request starts with."""

    prefix: Literal["/", "/flower"]


class Match(Model):
    """Which requests a rule is for."""

    path: RequestPath


class Target(Model):
    """The component that gets them."""

    name: Literal["web", "flower"]
    preserve_path_prefix: Literal[True] | None = None


class IngressRule(Model):
    """Sends requests to a component (app_ingress_spec_rule.yml)."""

    match: Match
    component: Target


class Ingress(Model):
    """Requests go to Flower, whose addresses begin with its own prefix, and all others to web."""

    rules: list[IngressRule] = Field(min_length=1, max_length=2)

    @model_validator(mode="after")
    def every_service_gets_its_requests(self) -> Self:
        """Refuse a rule that is hidden by another, and a prefix that is cut off."""
        found = [
            (rule.match.path.prefix, rule.component.name, rule.component.preserve_path_prefix)
            for rule in self.rules
        ]
        if found not in ([("/", "web", None)], [("/flower", "flower", True), ("/", "web", None)]):
            raise ValueError(f"requests do not go where they should: {found}")
        return self


class Variable(Model):
    """An environment variable (app_variable_definition.yml).

    Of the run time only: the values of databases do not exist while the image is built.
    """

    key: str = Field(pattern=r"^[_A-Za-z][_A-Za-z0-9]*$")
    value: str | None = Field(default=None, min_length=1)
    type: Literal["SECRET"] | None = None
    scope: Literal["RUN_TIME"]

    @model_validator(mode="after")
    def only_secrets_have_no_value(self) -> Self:
        """Refuse a secret in the file, and a variable that would be blank."""
        if (self.type == "SECRET") != (self.value is None):
            raise ValueError(f"{self.key}: a SECRET has no value in the file, all others have one")
        return self


class AppAlert(Model):
    """What is told by e-mail (app_alert_spec.yml)."""

    rule: Literal["DEPLOYMENT_FAILED", "DOMAIN_FAILED"]


class ComponentAlert(Model):
    """A measure of a component that is told by e-mail, in per cent or a count."""

    rule: Literal["CPU_UTILIZATION", "MEM_UTILIZATION", "RESTART_COUNT"]
    operator: Literal["GREATER_THAN"]
    value: int = Field(gt=0, lt=100)
    window: Literal["FIVE_MINUTES", "TEN_MINUTES", "THIRTY_MINUTES", "ONE_HOUR"]


class JobAlert(Model):
    """That a run of a scheduled job failed, told by e-mail."""

    rule: Literal["JOB_INVOCATION_FAILED"]


class Schedule(Model):
    """When a job starts (godo, AppJobSpecSchedule). The template's projects live in UTC."""

    cron: Annotated[str, AfterValidator(five_fields)]
    time_zone: Literal["UTC"]


class Source(Model):
    """The repository; a push alone must not deploy, CI does that."""

    repo: str = Field(pattern=r"^[\w.-]+/[\w.-]+$")
    branch: Literal["main"]
    deploy_on_push: Literal[False]


class HealthCheck(Model):
    """A request of the platform; the default would be to wait for one second only."""

    http_path: Literal["/ready/", "/health/", "/flower/healthcheck"]
    timeout_seconds: int = Field(ge=2, le=120)


class ServiceTermination(Model):
    """How a service is stopped, in seconds (app_service_spec_termination.yml)."""

    drain_seconds: int = Field(ge=1, le=110)
    grace_period_seconds: int = Field(ge=1, le=600)


class WorkerTermination(Model):
    """How a worker is stopped, in seconds (app_worker_spec_termination.yml)."""

    grace_period_seconds: int = Field(ge=1, le=600)


class Base(Model):
    """What all components have (app_component_base.yml, app_component_instance_base.yml)."""

    name: Name
    github: Source | None = None
    gitlab: Source | None = None
    dockerfile_path: Literal["Dockerfile"]
    run_command: Command
    instance_count: int = Field(ge=1, le=250)
    instance_size_slug: Size

    @model_validator(mode="after")
    def has_one_source(self) -> Self:
        """Refuse none and two."""
        if (self.github is None) == (self.gitlab is None):
            raise ValueError(f"{self.name} needs one of github and gitlab")
        return self

    @model_validator(mode="after")
    def size_fits_the_count(self) -> Self:
        """Refuse several instances of a size that has only one."""
        if self.instance_size_slug in SINGLE_SIZES and self.instance_count > 1:
            raise ValueError(f"{self.name}: {self.instance_size_slug} has one instance only")
        return self


class Service(Base):
    """A component that answers requests (app_service_spec.yml)."""

    http_port: int = Field(ge=1, le=65535)
    health_check: HealthCheck
    liveness_health_check: HealthCheck
    termination: ServiceTermination
    alerts: list[ComponentAlert] = Field(min_length=1)


class Worker(Base):
    """A component that answers none (app_worker_spec.yml)."""

    termination: WorkerTermination
    alerts: list[ComponentAlert] = Field(min_length=1)


# Of Go's durations (time.ParseDuration), those without fractions.
Duration = Annotated[str, Field(pattern=r"^([0-9]+[hms])+$")]


class Release(Base):
    """A component that runs once per deployment, before the others (app_job_spec.yml)."""

    kind: Literal["PRE_DEPLOY"]
    timeout: Duration


class ScheduledJob(Base):
    """A component that starts at set times (how-to/manage-jobs)."""

    kind: Literal["SCHEDULED"]
    run_command: str = Field(pattern=rf"^{ENQUEUE}$")
    instance_count: Literal[1]
    schedule: Schedule
    timeout: Duration
    alerts: list[JobAlert] = Field(min_length=1, max_length=1)

    @model_validator(mode="after")
    def is_called_as_its_entry(self) -> Self:
        """Refuse a name under which nobody would look for its log."""
        if self.name != f"cron-{self.run_command.rpartition(' ')[2]}":
            raise ValueError(f"{self.name} is not the name of {self.run_command}")
        return self


Job = Annotated[Release | ScheduledJob, Field(discriminator="kind")]


class Database(Model):
    """A cluster that exists; development databases are PostgreSQL only, and have no backups."""

    name: Name
    engine: Literal["PG", "VALKEY"]
    production: Literal[True]
    cluster_name: str = Field(pattern=r"^[a-z][a-z0-9-]*[a-z0-9]$", max_length=63)
    db_name: str | None = Field(default=None, pattern=r"^[a-z][a-z0-9_]{0,62}$")
    db_user: Literal["doadmin"] | None = None


class App(Model):
    """An app spec, as far as the template uses them (app_spec.yml)."""

    name: Name
    region: Literal["atl", "nyc", "sfo", "tor", "ams", "fra", "lon", "blr", "sgp", "syd"]
    domains: list[Domain] = Field(min_length=1)
    ingress: Ingress
    alerts: list[AppAlert] = Field(min_length=2)
    envs: list[Variable]
    jobs: list[Job]
    services: list[Service] = Field(min_length=1, max_length=2)
    workers: list[Worker] = Field(min_length=1, max_length=2)
    databases: list[Database]

    @model_validator(mode="after")
    def names_are_unique(self) -> Self:
        """Refuse a component or a variable that is there twice."""
        components = [item.name for item in (*self.jobs, *self.services, *self.workers)]
        databases = [database.name for database in self.databases]
        for names in (components + databases, [variable.key for variable in self.envs]):
            if len(set(names)) < len(names):
                raise ValueError(f"not unique: {names}")
        return self

    @property
    def scheduled(self) -> list[ScheduledJob]:
        """The jobs that start at set times."""
        return [job for job in self.jobs if isinstance(job, ScheduledJob)]

    @model_validator(mode="after")
    def every_process_is_there(self) -> Self:
        """Refuse more and less than one release, and any but one beat or jobs in its place."""
        if [job.name for job in self.jobs if isinstance(job, Release)] != ["release"]:
            raise ValueError("jobs must hold one release")
        beats = [] if self.scheduled else [("beat", 1)]
        counts = [(worker.name, worker.instance_count) for worker in self.workers]
        if counts[0][0] != "worker" or counts[1:] != beats:
            raise ValueError(
                f"beat must run exactly once, or not at all beside SCHEDULED: {counts}"
            )
        return self

    @model_validator(mode="after")
    def commands_are_known(self) -> Self:
        """Refuse what no process of the template runs."""
        parts = [job for job in self.jobs if isinstance(job, Release)]
        require_known(
            {part.name: part.run_command for part in (*parts, *self.services, *self.workers)}
        )
        return self

    @model_validator(mode="after")
    def services_get_requests(self) -> Self:
        """Refuse a service without a rule, and a rule for none."""
        services = {service.name for service in self.services}
        if services != {rule.component.name for rule in self.ingress.rules}:
            raise ValueError(f"the services {sorted(services)} are not those that get requests")
        return self


def read(project: Path) -> dict[str, Any]:
    """Return a project's app spec as it stands in the file."""
    spec: dict[str, Any] = yaml.safe_load((project / ".do" / "app.yaml").read_text("utf-8"))
    return spec


def edit(spec: Mapping[str, Any], surroundings: Surroundings) -> dict[str, Any]:
    """Return a spec with what an operator writes into the file before it is applied.

    Args:
        spec: the file's.
        surroundings: whose host name, mail server and recipients there are.
    """
    public = {variable["key"] for variable in spec["envs"] if "value" in variable}
    own = {name: value for name, value in surroundings.values.items() if name in public}
    host, domain = surroundings.values["ALLOWED_HOSTS"], spec["domains"][0]["domain"]
    own["ALLOWED_HOSTS"] = value_of(spec, "ALLOWED_HOSTS").replace(domain, host)
    envs = [
        {**variable, "value": own[variable["key"]]} if variable["key"] in own else variable
        for variable in spec["envs"]
    ]
    envs += [
        {"key": key, "value": value, "scope": "RUN_TIME"}
        for key, value in surroundings.additions.items()
    ]
    domains = [{**spec["domains"][0], "domain": host}, *spec["domains"][1:]]
    return {**spec, "domains": domains, "envs": envs}


def value_of(spec: Mapping[str, Any], key: str) -> str:
    """Return a variable's value.

    Args:
        spec: an app spec.
        key: the variable's name.

    Raises:
        StopIteration: There is no such variable.
    """
    value: str = next(item["value"] for item in spec["envs"] if item["key"] == key)
    return value


def bindables(app: App, surroundings: Surroundings) -> dict[str, str]:
    """Return what the platform puts in for `${NAME}` (how-to/use-environment-variables).

    In reality the database's URL ends in `?sslmode=require`, and its certificate is of a private
    CA. The test's PostgreSQL has no TLS, so the first is left away and the second is blank.

    Args:
        app: the app; its clusters are made.
        surroundings: the servers.
    """
    # The primary domain, not the name under ondigitalocean.app that each app has besides.
    values = {"APP_DOMAIN": app.domains[0].domain}
    for database in app.databases:
        password = secrets.token_hex(8)
        if database.engine == "PG":
            user, name = database.db_user or "doadmin", database.db_name or "defaultdb"
            address = surroundings.database(user, password, name)
            values[f"{database.name}.DATABASE_URL"] = (
                f"postgresql://{user}:{password}@{address}/{name}"
            )
            values[f"{database.name}.CA_CERT"] = ""
        else:
            address = surroundings.tls_broker(password)
            values[f"{database.name}.DATABASE_URL"] = f"rediss://default:{password}@{address}"
    return values


def expand(value: str, values: Mapping[str, str]) -> str:
    """Put in what the platform knows for each `${NAME}`.

    Args:
        value: of a variable.
        values: what the platform knows.

    Raises:
        KeyError: It knows no such name.
    """

    def known(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise KeyError(f"no bindable variable {match[0]}; there are {', '.join(values)}")
        return values[match[1]]

    return re.sub(r"\$\{([^}]*)\}", known, value)


def components(project: Path, surroundings: Surroundings) -> list[Component]:
    """Return what the platform runs after `deploy/spec.py create`.

    Args:
        project: folder of the baked project.
        surroundings: the servers and the operator.
    """
    spec = read(project)
    App.model_validate(spec)
    edited = edit(spec, surroundings)
    app = App.model_validate(edited)
    render = runpy.run_path(str(project / "deploy" / "spec.py"))["render"]
    applied = render(edited, surroundings.values)
    values = bindables(app, surroundings)
    environment = {item["key"]: expand(item["value"], values) for item in applied["envs"]}
    [first] = [job for job in app.jobs if isinstance(job, Release)]
    release = _component(first, environment, grace=DEFAULT_GRACE, once=True, after=())
    after = (release.name,)
    scheduled = [
        _component(job, environment, grace=DEFAULT_GRACE, after=after, schedule=job.schedule.cron)
        for job in app.scheduled
    ]
    services = [
        _component(
            service,
            environment,
            probes=tuple(
                HTTPProbe(check.http_path, check.timeout_seconds)
                for check in (service.health_check, service.liveness_health_check)
            ),
            port=service.http_port,
            grace=service.termination.grace_period_seconds,
            after=after,
        )
        for service in app.services
    ]
    workers = [
        _component(worker, environment, grace=worker.termination.grace_period_seconds, after=after)
        for worker in app.workers
    ]
    return [release, *services, *workers, *scheduled]


def _component(
    item: Base,
    environment: Mapping[str, str],
    *,
    grace: float,
    after: tuple[str, ...],
    probes: tuple[HTTPProbe, ...] = (),
    port: int | None = None,
    once: bool = False,
    schedule: str = "",
) -> Component:
    return Component(
        name=item.name,
        command=tuple(shlex.split(item.run_command)),
        environment=environment,
        probes=probes,
        port=port,
        grace=grace,
        once=once,
        after=after,
        replicas=item.instance_count,
        schedule=schedule,
    )
