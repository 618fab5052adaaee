"""What azd and Azure Container Apps make of azure.yaml and infra/.

Sources: the code and documents of github.com/Azure/azure-dev (azd 1.23.13 and later), the resource
types of github.com/Azure/bicep-types-az, and https://learn.microsoft.com/azure/container-apps.
`Azd` does with the files what `azd up` does, in a cloud of this process.
"""

import base64
import copy
import hashlib
import json
import re
import secrets
import string
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs, unquote, urlsplit, urlunsplit

import yaml

from tests.platforms import bicep_rules
from tests.platforms.azure_models import (
    PLATFORM_MODELS,
    PROCESS_MODELS,
    Application,
    AzureYaml,
    CronProperties,
    FlowerContainer,
    FlowerProperties,
    ParameterFile,
    Process,
    ReleaseProperties,
    WebContainer,
    WebProperties,
)
from tests.platforms.bicep import read
from tests.platforms.bicep_deployment import Cloud, Deployed, deploy
from tests.platforms.commands import require_known
from tests.platforms.components import Component, HTTPProbe, Probe

# https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
ACR_PULL = "7f951dda-4ed3-4680-a7ca-43fe172d538d"
KEY_VAULT_SECRETS_USER = "4633458b-17de-408a-b874-0445c86b69e6"
KEY_VAULT_SECRETS_OFFICER = "b86a8fe4-44ce-4948-aee5-eccb2c155cd7"
# In seconds, from SIGTERM to SIGKILL, where a template names nothing (bicep-types-az, a job too).
DEFAULT_GRACE = 30.0
# The bundle of the image's Debian package ca-certificates.
CA_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"


class SurroundingServers(Protocol):
    """The part of `Surroundings` that this module uses."""

    values: Mapping[str, str]
    additions: Mapping[str, str]

    def database(self, user: str, password: str, name: str) -> str:
        """Make a role and a database; return `host:port`."""

    def tls_broker(self, password: str) -> str:
        """Start a broker behind TLS; return `host:port`."""


# What only Azure knows of a resource: properties, and the keys that listKeys() gives.

Runtime = Callable[[str], tuple[Mapping[str, Any], Mapping[str, str]]]


def _runtime() -> Mapping[str, Runtime]:
    # Keys are base64, which a URL does not carry as it is.
    key = base64.b64encode(b"\xfb\xff" + secrets.token_bytes(30)).decode()
    domain = "calmsea-0a1b2c3d.westeurope.azurecontainerapps.io"
    principal = str(uuid.uuid4())
    return {
        "Microsoft.OperationalInsights/workspaces": lambda _: (
            {"customerId": str(uuid.uuid4())},
            {"primarySharedKey": key},
        ),
        "Microsoft.App/managedEnvironments": lambda _: ({"defaultDomain": domain}, {}),
        "Microsoft.ManagedIdentity/userAssignedIdentities": lambda _: (
            {"principalId": principal},
            {},
        ),
        "Microsoft.ContainerRegistry/registries": lambda name: (
            {"loginServer": f"{name}.azurecr.io"},
            {},
        ),
        "Microsoft.KeyVault/vaults": lambda name: (
            {"vaultUri": f"https://{name}.vault.azure.net/"},
            {},
        ),
        "Microsoft.DBforPostgreSQL/flexibleServers": lambda name: (
            {"fullyQualifiedDomainName": f"{name}.postgres.database.azure.com"},
            {},
        ),
        "Microsoft.Cache/redisEnterprise": lambda name: (
            {"hostName": f"{name}.westeurope.redis.azure.net"},
            {},
        ),
        "Microsoft.Cache/redisEnterprise/databases": lambda _: ({}, {"primaryKey": key}),
    }


# azd


def azure_yaml(project: Path) -> AzureYaml:
    """Return what azure.yaml says.

    Args:
        project: folder of the project.
    """
    return AzureYaml.model_validate(yaml.safe_load((project / "azure.yaml").read_text("utf-8")))


def random_password() -> str:
    """Return what azd generates: five letters of each case and five digits, shuffled.

    azure-dev/cli/azd/pkg/cmdsubst/secretOrRandomPassword.go
    """
    alphabets = (string.ascii_lowercase, string.ascii_uppercase, string.digits)
    characters = [secrets.choice(alphabet) for alphabet in alphabets for _ in range(5)]
    secrets.SystemRandom().shuffle(characters)
    return "".join(characters)


def parameter_of(name: str) -> str:
    """Return the Bicep parameter for a variable: `emailHost` for `EMAIL_HOST`."""
    first, *rest = name.lower().split("_")
    return first + "".join(word.capitalize() for word in rest)


class Azd:
    """`azd` in a project, in an environment of its own, with a cloud of its own.

    Attributes:
        environment: The azd environment: what the operator has set, and outputs.
        answers: What the operator answers when azd asks for a parameter.
        config: What azd keeps of the answers.
        cloud: What there is in Azure.
    """

    def __init__(self, project: Path, values: Mapping[str, str]) -> None:
        """Make the environment, as docs/deploy.md says.

        Args:
            project: folder of the project.
            values: what the operator has, by variable of the application.
        """
        self._infra = project / "infra"
        self._services = azure_yaml(project).services.by_name()
        self.cloud = Cloud(_runtime())
        self.environment = {
            "AZURE_ENV_NAME": "production",
            "AZURE_LOCATION": "westeurope",
            "AZURE_PRINCIPAL_ID": str(uuid.uuid4()),
            **{name: value for name, value in values.items() if name in self._set_by_hand(project)},
            "CUSTOM_DOMAIN": values["ALLOWED_HOSTS"],
        }
        self.answers = {parameter_of(name): value for name, value in values.items()}
        self.config: dict[str, str] = {}

    @staticmethod
    def _set_by_hand(project: Path) -> set[str]:
        """Return the variables that the parameters take from the azd environment."""
        parameters = (project / "infra" / "main.parameters.json").read_text("utf-8")
        return set(re.findall(r'"\$\{(\w+)\}"', parameters))

    def up(self) -> dict[str, Process]:
        """Provision, then deploy the services in the order of `uses`.

        Returns:
            The processes by name, in the order of their deployment.
        """
        self.provision()
        self.predeploy()
        deployed = [process for service in self.order() for process in self._deploy(service)]
        return {process.name: process for process in deployed}

    def order(self) -> list[str]:
        """Return the services in the order in which azd deploys them.

        Services without a path of `uses` between them go side by side
        (azure-dev/cli/azd/docs/concurrency-model.md); here, one after another.
        """
        waiting = {
            name: list(service.uses) if isinstance(service, Application) else []
            for name, service in self._services.items()
        }
        order: list[str] = []
        while len(order) < len(waiting):
            order += [
                name
                for name, uses in sorted(waiting.items())
                if name not in order and set(uses) <= set(order)
            ]
        return order

    def provision(self) -> None:
        """Deploy infra/main.bicep and keep its outputs."""
        given = self.parameters(self._infra / "main.parameters.json")
        outputs = self._deploy_file("main", {**given, **self._asked(given)})
        self.environment |= {name: str(value) for name, value in outputs.items()}
        for type_, model in PLATFORM_MODELS.items():
            for resource in self.cloud.of_type(type_):
                model.model_validate(resource.body["properties"])
        # https://learn.microsoft.com/azure/key-vault/general/about-keys-secrets-certificates
        for name in self.secrets():
            if not re.fullmatch("[0-9A-Za-z-]{1,127}", name):
                raise ValueError(f"the key vault can't hold a secret {name}")

    def _asked(self, given: Mapping[str, Any]) -> dict[str, str]:
        """Return what azd asks for, or has asked for: what has neither a value nor a default.

        ensureParameters in azure-dev/cli/azd/pkg/infra/provisioning/bicep/bicep_provider.go. The
        answer to a secure parameter is hidden, and kept outside the project.
        """
        missing = {
            name: parameter
            for name, parameter in read(self._infra / "main.bicep").parameters.items()
            if name not in given and parameter.default is None
        }
        for name, parameter in missing.items():
            if name not in self.config:
                if name not in self.answers or not parameter.secure:
                    raise ValueError(f"azd asks for {name}")
                self.config[name] = self.answers[name]
        return {name: self.config[name] for name in missing}

    def predeploy(self) -> None:
        """Run the hook of azure.yaml; azd reads its environment again afterwards.

        azure-dev/cli/azd/pkg/ext/hooks_runner.go; azure_models.py knows what the hook does.
        """
        for service in self._services:
            self.environment[f"SERVICE_{service.upper()}_TEMPLATE_HASH"] = ""

    def deploy(self, service: str) -> list[Process]:
        """Deploy one service and return its processes."""
        self.predeploy()
        return self._deploy(service)

    def _deploy(self, service: str) -> list[Process]:
        """Build an image, then deploy infra/SERVICE.bicep with it.

        The revision-based strategy of
        https://learn.microsoft.com/azure/developer/azure-developer-cli/container-apps-workflows,
        and shouldUseDirectRevisionAPI in
        azure-dev/cli/azd/pkg/project/service_target_containerapp.go: if this file, and no other,
        is as it was when azd last tried, only the image is exchanged.
        """
        registry = self.environment["AZURE_CONTAINER_REGISTRY_ENDPOINT"]
        image = f"{registry}/project/{service}-production:azd-deploy-1"
        self.environment[f"SERVICE_{service.upper()}_IMAGE_NAME"] = image
        file = self._infra / f"{service}.bicep"
        noted = f"SERVICE_{service.upper()}_TEMPLATE_HASH"
        previous = self.environment.get(noted)
        self.environment[noted] = hashlib.sha256(file.read_bytes()).hexdigest()
        if self.environment[noted] == previous:
            self._exchange_image(service, image)
        else:
            self._deploy_file(service, self.parameters(file.with_suffix(".parameters.json")))
        model = PROCESS_MODELS[service][1]
        processes = [model.model_validate(found.body) for found in self._resources(service)]
        for process in processes:
            self._check_rights(process)
        return processes

    def _resources(self, service: str) -> list[Deployed]:
        """Return what runs for a service; jobs whose entries are gone are still there."""
        tagged = self._resource(service)
        if service != "schedule":
            return [tagged]
        release = {"azd-service-name": "release"}
        return [job for job in self.cloud.of_type(tagged.type) if job.body.get("tags") != release]

    def _resource(self, service: str) -> Deployed:
        """Return the resource that azd takes for a service.

        GetServiceResource in azure-dev/cli/azd/pkg/project/resource_manager.go.
        """
        found = [
            resource
            for resource in self.cloud.of_type(PROCESS_MODELS[service][0])
            if resource.body.get("tags") == {"azd-service-name": service}
        ]
        if len(found) != 1:
            raise ValueError(f"azd finds {len(found)} resources with the tag of {service}")
        return found[0]

    def _exchange_image(self, service: str, image: str) -> None:
        resource = self._resource(service)
        body = copy.deepcopy(dict(resource.body))
        body["properties"]["template"]["containers"][0]["image"] = image
        self.cloud.resources[resource.type, resource.name] = replace(resource, body=body)

    def _deploy_file(self, name: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        bicep_rules.check(self._infra / f"{name}.bicep")
        return deploy(self._infra / f"{name}.bicep", parameters, self.cloud)

    def parameters(self, path: Path) -> dict[str, Any]:
        """Return the values in a parameter file after azd's substitutions.

        `${NAME}` becomes a value of the environment, or nothing; then
        `$(secretOrRandomPassword VAULT NAME)` becomes the secret, or, if there is no such vault or
        secret, a new password. azd does so in the JSON text and escapes nothing. In the file of
        main.bicep, what is empty for want of a value counts as not given (loadParameters in
        azure-dev/cli/azd/pkg/infra/provisioning/bicep/bicep_provider.go).

        Raises:
            ValueError: The file is none after the substitutions.
        """
        parsed = ParameterFile.model_validate(json.loads(path.read_text("utf-8")))
        values: dict[str, Any] = {}
        for name, parameter in parsed.parameters.items():
            text = json.dumps(parameter.value)
            unset = set(re.findall(r"\$\{(\w+)\}", text)) - set(self.environment)
            text = re.sub(r"\$\{(\w+)\}", lambda found: self.environment.get(found[1], ""), text)
            text = re.sub(r"\$\(secretOrRandomPassword([-\w\s]*)\)", self._secret_or_random, text)
            if re.search(r"\$[({]", text):
                raise ValueError(f"{path.name}: azd leaves a $ as it is")
            value = json.loads(text)
            if value or not unset or path.name != "main.parameters.json":
                values[name] = value
        return values

    def _secret_or_random(self, found: re.Match[str]) -> str:
        arguments = found[1].split()
        if len(arguments) == 2 and arguments[0] == self.environment["AZURE_KEY_VAULT_NAME"]:
            return self.secrets().get(arguments[1]) or random_password()
        return random_password()

    def secrets(self) -> dict[str, str]:
        """Return the secrets of the key vault by name."""
        return {
            resource.name.partition("/")[2]: resource.body["properties"]["value"]
            for resource in self.cloud.of_type("Microsoft.KeyVault/vaults/secrets")
        }

    def variables(self, process: Process) -> dict[str, str]:
        """Return the environment of a process, its secrets fetched from the vault."""
        [vault] = self.cloud.of_type("Microsoft.KeyVault/vaults")
        uri = f"{vault.member('properties')['vaultUri']}secrets/"
        urls = {
            secret.name: secret.key_vault_url for secret in process.properties.configuration.secrets
        }
        variables: dict[str, str] = {}
        for variable in process.container.env:
            if variable.name in variables:
                raise ValueError(f"{process.name} gets {variable.name} twice")
            if variable.secret_ref is None:
                variables[variable.name] = str(variable.value)
                continue
            url = urls[variable.secret_ref]
            if not url.startswith(uri) or url.removeprefix(uri) not in self.secrets():
                raise ValueError(f"{process.name}: {variable.name}: there is no secret {url}")
            variables[variable.name] = self.secrets()[url.removeprefix(uri)]
        return variables

    def _check_rights(self, process: Process) -> None:
        [identity] = [
            resource
            for resource in self.cloud.of_type("Microsoft.ManagedIdentity/userAssignedIdentities")
            if resource.member("id") in process.identity.user_assigned_identities
        ]
        principal = identity.member("properties")["principalId"]
        for type_, role in (
            ("Microsoft.ContainerRegistry/registries", ACR_PULL),
            ("Microsoft.KeyVault/vaults", KEY_VAULT_SECRETS_USER),
        ):
            if not self.may(principal, role, type_):
                raise ValueError(f"{process.name} lacks the role {role} on {type_}")

    def may(self, principal: str, role: str, type_: str) -> bool:
        """Return whether a principal has a role on the only resource of a type."""
        [resource] = self.cloud.of_type(type_)
        return any(
            assignment.scope == resource
            and assignment.body["properties"]["principalId"] == principal
            and assignment.body["properties"]["roleDefinitionId"].endswith(f"/{role}")
            for assignment in self.cloud.of_type("Microsoft.Authorization/roleAssignments")
        )


# Components


def local_urls(azd: Azd, surroundings: SurroundingServers) -> dict[str, str]:
    """Return DATABASE_URL and REDIS_URL with the test's servers in the place of Azure's.

    The test's PostgreSQL has no TLS, so the options for it are checked and left out.

    Args:
        azd: what has been deployed.
        surroundings: where the servers are.

    Raises:
        ValueError: A URL leads to another server than the one that was made, or without TLS.
    """
    stored = azd.secrets()
    if not {"database-url", "redis-url"} <= set(stored):
        raise ValueError("DATABASE_URL or REDIS_URL is not in the key vault")
    database, redis = urlsplit(stored["database-url"]), urlsplit(stored["redis-url"])
    [server] = azd.cloud.of_type("Microsoft.DBforPostgreSQL/flexibleServers")
    [broker] = azd.cloud.of_type("Microsoft.Cache/redisEnterprise")
    properties = server.member("properties")
    expected = {"sslmode": ["verify-full"], "sslrootcert": [CA_BUNDLE]}
    if parse_qs(database.query, strict_parsing=True) != expected:
        raise ValueError("DATABASE_URL does not verify the server")
    if (database.hostname, database.port) != (properties["fullyQualifiedDomainName"], 5432):
        raise ValueError("DATABASE_URL leads to another server")
    if redis.scheme != "rediss" or redis.path not in ("", "/0"):
        raise ValueError("REDIS_URL is without TLS, or of a database that is not there")
    if (redis.hostname, redis.port) != (broker.member("properties")["hostName"], 10000):
        raise ValueError("REDIS_URL leads to another server")
    user, password = unquote(database.username or ""), unquote(database.password or "")
    if (user, password) != (
        properties["administratorLogin"],
        properties["administratorLoginPassword"],
    ):
        raise ValueError("DATABASE_URL has another login")
    database_address = surroundings.database(user, password, database.path[1:])
    broker_address = surroundings.tls_broker(unquote(redis.password or ""))
    return {
        "DATABASE_URL": urlunsplit(
            database._replace(netloc=_netloc(database.netloc, database_address), query="")
        ),
        "REDIS_URL": urlunsplit(redis._replace(netloc=_netloc(redis.netloc, broker_address))),
    }


def _netloc(netloc: str, address: str) -> str:
    return f"{netloc.rpartition('@')[0]}@{address}"


def probes(process: Process) -> tuple[Probe, ...]:
    """Return the probes of a process as the platform sends them: to its address, by plain HTTP."""
    if not isinstance(process.container, WebContainer | FlowerContainer):
        return ()
    found = process.container.probes
    return tuple(HTTPProbe(probe.http_get.path, float(probe.timeout_seconds)) for probe in found)


def components(project: Path, surroundings: SurroundingServers) -> list[Component]:
    """Return what `azd up` makes of the project.

    Args:
        project: folder of the baked project.
        surroundings: the servers in the place of Azure's, and what the operator enters.

    Raises:
        ValueError: The files hold what the template does not mean.
        BicepError: They are no Bicep that Azure would accept.
    """
    azd = Azd(project, surroundings.values)
    processes = azd.up()
    require_known(
        {
            name: " ".join(process.container.command)
            for name, process in processes.items()
            if not isinstance(process.properties, CronProperties)
        }
    )
    local = local_urls(azd, surroundings)
    found = []
    for name, process in processes.items():
        given = azd.variables(process).items()
        properties = process.properties
        once = isinstance(properties, ReleaseProperties)
        component = Component(
            name=name,
            command=tuple(process.container.command),
            # An operator adds a variable to the array in settings.bicep.
            environment={
                **{variable: local.get(variable, value) for variable, value in given},
                **surroundings.additions,
            },
            probes=probes(process),
            port=None,
            grace=DEFAULT_GRACE,
            once=once,
            # The hook of the release fails its deployment, on which the others depend.
            after=() if once else ("release",),
        )
        if isinstance(properties, CronProperties):
            trigger = properties.configuration.schedule_trigger_config
            component = replace(component, schedule=trigger.cron_expression)
        elif not isinstance(properties, ReleaseProperties):
            component = replace(
                component,
                grace=float(properties.template.termination_grace_period_seconds),
                replicas=properties.template.scale.min_replicas,
            )
        if isinstance(properties, WebProperties | FlowerProperties):
            component = replace(component, port=properties.configuration.ingress.target_port)
        found.append(component)
    return found
