"""The parts of azure.yaml and infra/ that the template emits, and what they may hold.

Sources: azure-dev/schemas/v1.0/azure.yaml.json, and the resource types of
github.com/Azure/bicep-types-az. Names of fields are those of the files, in snake case.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)
from pydantic.alias_generators import to_camel

from tests.platforms.cron import five_fields

# What a worker must watch, as in CELERY_TASK_QUEUES.
QUEUES = ["default", "notifications", "maintenance"]
# In seconds; how long azd waits for a service with its hooks (azure-dev, AZD_DEPLOY_TIMEOUT).
DEPLOY_TIMEOUT = 1200


class Strict(BaseModel):
    """Refuses what the template does not emit."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, alias_generator=to_camel)


NonBlank = Annotated[str, StringConstraints(min_length=1)]


# azure.yaml: azure-dev/schemas/v1.0/azure.yaml.json, which lets unknown keys through.


class Docker(Strict):
    """How the image is built: by the registry, which needs no Docker where azd runs."""

    remote_build: Literal[True]


class Hook(Strict):
    """A script; without `shell` azd would not take it inline, and with an error it stops."""

    shell: Literal["sh"]
    run: Literal["sh infra/release.sh"]


class ReleaseHooks(Strict):
    """What belongs to the deployment of the release: it fails if the hook does."""

    postdeploy: Hook


class DeployHook(Strict):
    """What makes azd deploy the whole file of each service, even if only another file changed."""

    shell: Literal["sh"]
    run: Annotated[
        str,
        StringConstraints(
            pattern=r"^set -e\n"
            r"for service in [A-Z]+( [A-Z]+)*; do\n"
            r'  azd env set "SERVICE_\$\{service\}_TEMPLATE_HASH" ""\n'
            r"done\n$"
        ),
    ]


class ProjectHooks(Strict):
    """What runs before the services are deployed."""

    predeploy: DeployHook


class Service(Strict):
    """A process that azd deploys."""

    host: Literal["containerapp"]
    project: Literal["."]
    language: Literal["docker"]
    docker: Docker


class Release(Service):
    """The service that all others wait for."""

    hooks: ReleaseHooks


class Application(Service):
    """A service that takes its image after the release has succeeded."""

    uses: Annotated[list[Literal["release"]], Field(min_length=1, max_length=1)]


class Services(Strict):
    """All services: the schedule is sent by beat, or by jobs that Azure starts."""

    release: Release
    web: Application
    worker: Application
    beat: Application | None = None
    schedule: Application | None = None
    flower: Application | None = None

    @model_validator(mode="after")
    def sends_the_schedule_in_one_way(self) -> Self:
        """Refuse a file without beat and schedule, and one with both."""
        if (self.beat is None) == (self.schedule is None):
            raise ValueError("there must be either beat or schedule")
        return self

    def by_name(self) -> dict[str, Release | Application]:
        """Return the services that there are."""
        return {name: service for name, service in self if service is not None}


class RequiredVersions(Strict):
    """From 1.23.13 on, azd deploys jobs."""

    azd: Literal[">= 1.23.13"]


class AzureYaml(Strict):
    """azure.yaml."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][-a-z0-9]*[a-z0-9]$", max_length=64)]
    required_versions: RequiredVersions
    hooks: ProjectHooks
    services: Services

    @model_validator(mode="after")
    def forgets_every_hash(self) -> Self:
        """Refuse a hook that leaves a service out."""
        names = [name.upper() for name in self.services.by_name()]
        if f"for service in {' '.join(names)}; do" not in self.hooks.predeploy.run:
            raise ValueError(f"the hook predeploy must name {' '.join(names)}")
        return self


class ParameterValue(Strict):
    """A value of a parameter file."""

    value: Any


class ParameterFile(Strict):
    """A parameter file after azd's substitutions."""

    schema_: Annotated[
        Literal[
            "https://schema.management.azure.com/schemas/2019-04-01/deploymentParameters.json#"
        ],
        Field(alias="$schema"),
    ]
    content_version: Literal["1.0.0.0"]
    parameters: dict[str, ParameterValue]


# Container apps and jobs: bicep-types-az, generated/app/microsoft.app/2026-01-01.

# "consist of lower case alphanumeric characters or '-', start with a letter, end with an
# alphanumeric character, cannot have '--', less than 32 characters" (az containerapp --name)
AppName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$", max_length=31)]
SecretName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]


class Secret(Strict):
    """A secret of a process: a reference to the key vault, never a value."""

    name: SecretName
    key_vault_url: Annotated[
        str,
        StringConstraints(pattern=r"^https://[-a-z0-9]+\.vault\.azure\.net/secrets/[-a-z0-9]+$"),
    ]
    identity: NonBlank


class Variable(Strict):
    """A variable of a process."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9_]*$")]
    value: NonBlank | None = None
    secret_ref: SecretName | None = None

    @model_validator(mode="after")
    def has_one_source(self) -> Self:
        """Refuse a variable with two values, or with none."""
        if (self.value is None) == (self.secret_ref is None):
            raise ValueError(f"{self.name} must have either value or secretRef")
        return self


class Resources(Strict):
    """Processors and memory, in the proportion 1 to 2 that the consumption plan has."""

    cpu: Annotated[float, Field(ge=0.25, le=4, multiple_of=0.25)]
    memory: Annotated[str, StringConstraints(pattern=r"^[0-9.]+Gi$")]

    @model_validator(mode="after")
    def has_a_known_proportion(self) -> Self:
        """Refuse other pairs."""
        if float(self.memory.removesuffix("Gi")) != 2 * self.cpu:
            raise ValueError(f"{self.cpu} processors go with {2 * self.cpu:g}Gi")
        return self


class Container(Strict):
    """A container; `command` replaces the image's."""

    name: AppName
    image: NonBlank
    command: Annotated[list[NonBlank], Field(min_length=1)]
    env: list[Variable]
    resources: Resources


class HTTPGet(Strict):
    """The request of a probe; the platform sends it to the replica's address."""

    path: Literal["/health/", "/ready/"]
    port: Literal[8000]


class Probe(Strict):
    """A probe; the limits are those of the resource type."""

    initial_delay_seconds: Annotated[int, Field(ge=1, le=60)] | None = None
    period_seconds: Annotated[int, Field(ge=1, le=240)]
    # Longer than the 2 seconds that /ready/ takes at most.
    timeout_seconds: Annotated[int, Field(ge=3, le=240)]
    failure_threshold: Annotated[int, Field(ge=1, le=10)]


class WebProbe(Probe):
    """A probe of the web process."""

    type: Literal["Startup", "Liveness", "Readiness"]
    http_get: HTTPGet

    @model_validator(mode="after")
    def restarts_only_what_is_dead(self) -> Self:
        """Refuse a liveness that asks for the database, and a readiness that does not."""
        if (self.type == "Readiness") != (self.http_get.path == "/ready/"):
            raise ValueError(f"{self.type} asks {self.http_get.path}")
        return self


class WebContainer(Container):
    """A container that answers requests."""

    probes: Annotated[list[WebProbe], Field(min_length=3, max_length=3)]

    @model_validator(mode="after")
    def has_one_probe_of_each_type(self) -> Self:
        """Refuse two of a type."""
        if len({probe.type for probe in self.probes}) != len(self.probes):
            raise ValueError("two probes of the same type")
        return self


class FlowerGet(Strict):
    """The request of a probe of Flower: the only page that wants no login."""

    path: Literal["/flower/healthcheck"]
    port: Literal[5555]


class FlowerProbe(Probe):
    """A probe of Flower, which is ready when it answers."""

    type: Literal["Startup", "Liveness"]
    http_get: FlowerGet


class FlowerContainer(Container):
    """A container that answers requests behind a login."""

    probes: Annotated[list[FlowerProbe], Field(min_length=2, max_length=2)]

    @model_validator(mode="after")
    def has_one_probe_of_each_type(self) -> Self:
        """Refuse two of a type."""
        if len({probe.type for probe in self.probes}) != len(self.probes):
            raise ValueError("two probes of the same type")
        return self


class Registry(Strict):
    """Where the image is pulled from, and as whom."""

    server: NonBlank
    identity: NonBlank


class Configuration(Strict):
    """What is the same for all revisions of an app."""

    active_revisions_mode: Literal["Single"]
    registries: Annotated[list[Registry], Field(min_length=1, max_length=1)]
    secrets: list[Secret]


class CustomDomain(Strict):
    """A host name with its certificate."""

    name: NonBlank
    binding_type: Literal["SniEnabled"]
    certificate_id: NonBlank


class Ingress(Strict):
    """How requests come in."""

    external: Literal[True]
    target_port: Literal[8000]
    transport: Literal["http"]
    allow_insecure: Literal[False]
    custom_domains: list[CustomDomain]


class WebConfiguration(Configuration):
    """The configuration of an app that answers requests."""

    ingress: Ingress


class FlowerIngress(Strict):
    """How requests come to Flower: by HTTPS alone, because the login comes with them."""

    external: Literal[True]
    target_port: Literal[5555]
    transport: Literal["http"]
    allow_insecure: Literal[False]


class FlowerConfiguration(Configuration):
    """The configuration of Flower."""

    ingress: FlowerIngress


class HTTPScale(Strict):
    """Metadata of the rule for requests; KEDA takes strings."""

    concurrent_requests: Annotated[str, StringConstraints(pattern="^[1-9][0-9]*$")]


class HTTPRule(Strict):
    """The details of the rule for requests."""

    metadata: HTTPScale


class WebRule(Strict):
    """A replica for each so many requests at a time."""

    name: AppName
    http: HTTPRule


class ScaleAuthentication(Strict):
    """Where a rule has its password."""

    secret_ref: SecretName
    trigger_parameter: Literal["password"]


class RedisList(Strict):
    """Metadata of https://keda.sh/docs/latest/scalers/redis-lists/: strings."""

    address: Annotated[str, StringConstraints(pattern=r"^[-a-z0-9.]+:10000$")]
    enable_tls: Annotated[Literal["true"], Field(alias="enableTLS")]
    database_index: Literal["0"]
    list_name: Literal["default", "notifications", "maintenance"]
    list_length: Annotated[str, StringConstraints(pattern="^[1-9][0-9]*$")]


class RedisRule(Strict):
    """The details of a rule for a queue."""

    type: Literal["redis"]
    metadata: RedisList
    auth: Annotated[list[ScaleAuthentication], Field(min_length=1, max_length=1)]


class QueueRule(Strict):
    """A replica for each so many tasks that wait in a queue."""

    name: AppName
    custom: RedisRule


class WebScale(Strict):
    """How many replicas of the web process run."""

    min_replicas: Annotated[int, Field(ge=1, le=10)]
    max_replicas: Annotated[int, Field(ge=1, le=10)]
    rules: Annotated[list[WebRule], Field(min_length=1, max_length=1)]


class WorkerScale(Strict):
    """How many workers run; never none, which could stop one with a task."""

    min_replicas: Annotated[int, Field(ge=1, le=10)]
    max_replicas: Annotated[int, Field(ge=1, le=10)]
    rules: list[QueueRule]

    @model_validator(mode="after")
    def watches_every_queue(self) -> Self:
        """Refuse a queue without a rule."""
        if [rule.custom.metadata.list_name for rule in self.rules] != QUEUES:
            raise ValueError(f"there must be a rule for each of {QUEUES}")
        return self


class BeatScale(Strict):
    """Exactly one."""

    min_replicas: Literal[1]
    max_replicas: Literal[1]


class WebTemplate(Strict):
    """A revision of the web process; its grace is longer than gunicorn's 30 seconds."""

    termination_grace_period_seconds: Annotated[int, Field(ge=35, le=600)]
    containers: Annotated[list[WebContainer], Field(min_length=1, max_length=1)]
    scale: WebScale


class WorkerTemplate(Strict):
    """A revision of the worker; its grace is longer than the soft shutdown's 5 seconds."""

    termination_grace_period_seconds: Annotated[int, Field(ge=10, le=600)]
    containers: Annotated[list[Container], Field(min_length=1, max_length=1)]
    scale: WorkerScale


class BeatTemplate(Strict):
    """A revision of beat."""

    termination_grace_period_seconds: Annotated[int, Field(ge=10, le=600)]
    containers: Annotated[list[Container], Field(min_length=1, max_length=1)]
    scale: BeatScale


class FlowerTemplate(Strict):
    """A revision of Flower."""

    termination_grace_period_seconds: Annotated[int, Field(ge=10, le=600)]
    containers: Annotated[list[FlowerContainer], Field(min_length=1, max_length=1)]
    scale: BeatScale


class JobTemplate(Strict):
    """What an execution of a job runs."""

    containers: Annotated[list[Container], Field(min_length=1, max_length=1)]


class ManualTrigger(Strict):
    """One replica for each time that the job is told to run."""

    parallelism: Literal[1]
    replica_completion_count: Literal[1]


class ScheduleTrigger(ManualTrigger):
    """One replica for each time that is due, in UTC."""

    cron_expression: Annotated[str, AfterValidator(five_fields)]


class JobConfiguration(Strict):
    """What is the same for all executions of a job."""

    registries: Annotated[list[Registry], Field(min_length=1, max_length=1)]
    secrets: list[Secret]


class ReleaseConfiguration(JobConfiguration):
    """How the release runs: when it is told to, within azd's patience, and not again."""

    trigger_type: Literal["Manual"]
    manual_trigger_config: ManualTrigger
    replica_timeout: Annotated[int, Field(ge=600, lt=DEPLOY_TIMEOUT)]
    replica_retry_limit: Literal[0]


class CronConfiguration(JobConfiguration):
    """How a job of the schedule runs: both tries are over before the next heartbeat begins."""

    trigger_type: Literal["Schedule"]
    schedule_trigger_config: ScheduleTrigger
    replica_timeout: Annotated[int, Field(ge=60, le=150)]
    replica_retry_limit: Annotated[int, Field(ge=0, le=1)]


class ProcessProperties(Strict):
    """The properties that apps and jobs share."""

    environment_id: NonBlank
    workload_profile_name: Literal["Consumption"]


class WebProperties(ProcessProperties):
    """The web process."""

    configuration: WebConfiguration
    template: WebTemplate


class WorkerProperties(ProcessProperties):
    """The worker."""

    configuration: Configuration
    template: WorkerTemplate


class BeatProperties(ProcessProperties):
    """Beat."""

    configuration: Configuration
    template: BeatTemplate


class FlowerProperties(ProcessProperties):
    """Flower."""

    configuration: FlowerConfiguration
    template: FlowerTemplate


class ReleaseProperties(ProcessProperties):
    """The release."""

    configuration: ReleaseConfiguration
    template: JobTemplate


class CronProperties(ProcessProperties):
    """A job of the schedule."""

    configuration: CronConfiguration
    template: JobTemplate


class Identity(Strict):
    """Who a process is."""

    type: Literal["UserAssigned"]
    user_assigned_identities: Annotated[
        dict[str, dict[str, str]], Field(min_length=1, max_length=1)
    ]


class Process(Strict):
    """A container app or a job."""

    name: AppName
    location: NonBlank
    tags: dict[
        Literal["azd-service-name"],
        Literal["release", "web", "worker", "beat", "schedule", "flower"],
    ]
    identity: Identity
    properties: (
        WebProperties
        | WorkerProperties
        | BeatProperties
        | FlowerProperties
        | ReleaseProperties
        | CronProperties
    )

    @property
    def container(self) -> Container:
        """Its only container."""
        return self.properties.template.containers[0]

    @model_validator(mode="after")
    def refers_to_its_own(self) -> Self:
        """Refuse references to secrets and identities that the process does not have."""
        configuration = self.properties.configuration
        names = [secret.name for secret in configuration.secrets]
        if len(names) != len(set(names)):
            raise ValueError("two secrets have the same name")
        references = [variable.secret_ref for variable in self.container.env if variable.secret_ref]
        if isinstance(self.properties, WorkerProperties):
            rules = self.properties.template.scale.rules
            references += [auth.secret_ref for rule in rules for auth in rule.custom.auth]
        unknown = sorted(set(references) - set(names))
        if unknown:
            raise ValueError(f"no secret is called {', '.join(unknown)}")
        users = {registry.identity for registry in configuration.registries}
        users |= {secret.identity for secret in configuration.secrets}
        if users != set(self.identity.user_assigned_identities):
            raise ValueError("a registry or a secret is used as another identity")
        return self


class WebProcess(Process):
    """infra/web.bicep."""

    properties: WebProperties


class WorkerProcess(Process):
    """infra/worker.bicep."""

    properties: WorkerProperties


class BeatProcess(Process):
    """infra/beat.bicep."""

    properties: BeatProperties


class FlowerProcess(Process):
    """infra/flower.bicep."""

    properties: FlowerProperties


class ReleaseProcess(Process):
    """infra/release.bicep."""

    properties: ReleaseProperties


class CronProcess(Process):
    """A job of infra/schedule.bicep."""

    name: Annotated[str, StringConstraints(pattern=r"^cron(-[a-z0-9]+)+$", max_length=31)]
    properties: CronProperties

    @model_validator(mode="after")
    def sends_the_entry_that_it_is_named_after(self) -> Self:
        """Refuse another command."""
        entry = self.name.removeprefix("cron-")
        if self.container.command != ["python", "manage.py", "enqueue", entry]:
            raise ValueError(f"{self.name} must run python manage.py enqueue {entry}")
        return self


PROCESS_MODELS: Mapping[str, tuple[str, type[Process]]] = {
    "release": ("Microsoft.App/jobs", ReleaseProcess),
    "web": ("Microsoft.App/containerApps", WebProcess),
    "worker": ("Microsoft.App/containerApps", WorkerProcess),
    "beat": ("Microsoft.App/containerApps", BeatProcess),
    "schedule": ("Microsoft.App/jobs", CronProcess),
    "flower": ("Microsoft.App/containerApps", FlowerProcess),
}


# What stands behind the processes; only what would break them, or open them, if it were different.


class Part(BaseModel):
    """Looks at some properties only; the schemas of the resource types know all."""

    model_config = ConfigDict(strict=True, frozen=True, alias_generator=to_camel)


class PostgresStorage(Part):
    """Has the size in the file: had it grown by itself, the file would ask for less, and fail.

    The sizes are those of https://learn.microsoft.com/azure/postgresql/flexible-server/concepts-storage
    """

    storage_size_gb: Annotated[
        Literal[32, 64, 128, 256, 512, 1024, 2048, 4095, 4096, 8192, 16384, 32767],
        Field(alias="storageSizeGB"),
    ]
    auto_grow: Literal["Disabled"]


class PostgresBackup(Part):
    """Enough days to notice that something is gone."""

    backup_retention_days: Annotated[int, Field(ge=7, le=35)]


class PostgresProperties(Part):
    """The database server."""

    version: Literal["17"]
    administrator_login: Annotated[str, StringConstraints(pattern="^[a-z][a-z0-9]*$")]
    administrator_login_password: Annotated[str, StringConstraints(min_length=8, max_length=128)]
    storage: PostgresStorage
    backup: PostgresBackup


class RedisProperties(Part):
    """The broker: no cluster, which would refuse Celery's transactions; no eviction of tasks."""

    client_protocol: Literal["Encrypted"]
    port: Literal[10000]
    clustering_policy: Literal["NoCluster"]
    eviction_policy: Literal["NoEviction"]
    access_keys_authentication: Literal["Enabled"]


class VaultProperties(Part):
    """The key vault: roles say who reads it."""

    enable_rbac_authorization: Literal[True]


class RegistryProperties(Part):
    """The image registry: no password for all."""

    admin_user_enabled: Literal[False]


class SecretProperties(Part):
    """A secret of the vault; Azure takes no blank one."""

    value: NonBlank


PLATFORM_MODELS: Mapping[str, type[Part]] = {
    "Microsoft.DBforPostgreSQL/flexibleServers": PostgresProperties,
    "Microsoft.Cache/redisEnterprise/databases": RedisProperties,
    "Microsoft.KeyVault/vaults": VaultProperties,
    "Microsoft.KeyVault/vaults/secrets": SecretProperties,
    "Microsoft.ContainerRegistry/registries": RegistryProperties,
}
