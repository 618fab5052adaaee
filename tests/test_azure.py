"""The rules of tests/platforms/azure.py accept what the template emits, and nothing else."""

import json
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import psycopg
import pytest
import yaml
from pycep import BicepParser

from tests.baking import choices
from tests.conftest import Bake
from tests.platforms import azure, bicep, bicep_rules
from tests.platforms.azure_models import DEPLOY_TIMEOUT
from tests.platforms.bicep import BicepError
from tests.platforms.bicep_deployment import Cloud, deploy
from tests.platforms.components import HTTPProbe
from tests.platforms.schemas import schema
from tests.platforms.surroundings import Addresses
from tests.servers.postgres import PostgresServer
from tests.servers.postgres_tls import tls_postgres
from tests.servers.tls import Authority

SLUGS = ("a", "shop", "a__b", "a234567890_b234567890_c2345678_d__234567")
# As in schedule.py.
ENTRIES = {
    "heartbeat": "*/5 * * * *",
    "clear-expired-sessions": "30 3 * * *",
    "delete-old-failures": "40 3 * * *",
    "failure-digest": "0 6 * * *",
}
VARIABLES = {
    "ALERT_RECIPIENTS",
    "ALLOWED_HOSTS",
    "DATABASE_URL",
    "DJANGO_ENVIRONMENT",
    "EMAIL_HOST",
    "EMAIL_HOST_PASSWORD",
    "EMAIL_HOST_USER",
    "REDIS_URL",
    "SECRET_KEY",
    "SITE_DOMAIN",
}


def operator() -> Addresses:
    """Return an operator whose password holds all that a file could stumble over."""
    return Addresses(EMAIL_HOST_PASSWORD=r"""it's "5" \ in ${quotes}""")


def azd_of(project: Path) -> azure.Azd:
    """Return azd in a project."""
    return azure.Azd(project, operator().values)


def infra_of(source: Path, folder: Path) -> Path:
    """Copy what azd sees of a project into a folder, to be changed."""
    shutil.copytree(source / "infra", folder / "infra")
    shutil.copy(source / "azure.yaml", folder)
    return folder


@pytest.fixture
def project(bake: Bake, tmp_path: Path) -> Path:
    """What azd sees of a project with a beat, to be changed."""
    return infra_of(bake(hosting="azure", project_slug="shop"), tmp_path)


@pytest.fixture
def scheduled(bake: Bake, tmp_path: Path) -> Path:
    """What azd sees of a project whose periodic tasks Azure starts, to be changed."""
    return infra_of(bake(hosting="azure", project_slug="shop", scheduler="platform"), tmp_path)


def edit(file: Path, old: str, new: str) -> None:
    """Replace the first of a text that stands in a file."""
    text = file.read_text("utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), "utf-8")


@pytest.mark.parametrize("scheduler", choices()["scheduler"])
@pytest.mark.parametrize("slug", SLUGS)
def test_components_of_the_emitted_files(bake: Bake, slug: str, scheduler: str) -> None:
    project = bake(hosting="azure", project_slug=slug, scheduler=scheduler)
    components = {c.name: c for c in azure.components(project, operator())}
    jobs = {f"cron-{name}": cron for name, cron in ENTRIES.items()}
    sending = jobs if scheduler == "platform" else {"beat": ""}
    assert set(components) == {"release", "web", "worker", *sending}
    assert next(iter(components)) == "release"
    for name, component in components.items():
        assert component.schedule == sending.get(name, "")
        assert not component.schedule or (component.probes, component.port) == ((), None)
    for component in components.values():
        assert set(component.environment) == {*VARIABLES, "EMAIL_PORT"}
        assert component.environment["DJANGO_ENVIRONMENT"] == "production"
        assert component.environment["ALLOWED_HOSTS"].endswith(",www.example.com")
        assert component.environment == components["web"].environment
        assert component.replicas == 1
        assert component.after == (() if component.once else ("release",))
    assert [c.name for c in components.values() if c.once] == ["release"]
    assert components["web"].port == 8000
    assert HTTPProbe("/ready/", 5) in components["web"].probes
    assert components["worker"].command[:3] == ("celery", "-A", slug)
    assert components["release"].command == ("python", "manage.py", "release")


def test_each_process_runs_the_command_of_the_process_manager(bake: Bake) -> None:
    project = bake(hosting="azure", process_manager="prodserver")
    assert {c.name: " ".join(c.command) for c in azure.components(project, operator())} == {
        "release": "python manage.py release",
        "web": "python manage.py server web",
        "worker": "python manage.py worker worker",
        "beat": "python manage.py worker beat",
    }


def test_a_job_sends_the_entry_that_it_is_named_after(scheduled: Path) -> None:
    components = {c.name: c for c in azure.components(scheduled, operator())}
    for name in ENTRIES:
        assert components[f"cron-{name}"].command == ("python", "manage.py", "enqueue", name)


def test_a_new_entry_is_one_more_job(scheduled: Path) -> None:
    entry = "  {\n    name: 'report'\n    cron: '15 8-17/3 1,15 * 1-5'\n  }\n"
    edit(scheduled / "infra" / "schedule.bicep", "schedule = [\n", f"schedule = [\n{entry}")
    [report] = [c for c in azure.components(scheduled, operator()) if c.name == "cron-report"]
    assert report.schedule == "15 8-17/3 1,15 * 1-5"


def test_a_job_whose_entry_is_gone_stays_and_azd_still_finds_one_of_the_service(
    scheduled: Path,
) -> None:
    """As docs/deploy.md says, which tells how to delete it."""
    azd = azd_of(scheduled)
    azd.up()
    bicep = scheduled / "infra" / "schedule.bicep"
    edit(bicep, "  {\n    name: 'heartbeat'\n    cron: '*/5 * * * *'\n  }\n", "")
    assert {process.name for process in azd.deploy("schedule")} == {f"cron-{e}" for e in ENTRIES}


def test_every_job_takes_the_image_of_the_deployment(scheduled: Path) -> None:
    azd = azd_of(scheduled)
    azd.up()
    image = azd.environment["SERVICE_SCHEDULE_IMAGE_NAME"]
    assert [job.container.image for job in azd.deploy("schedule")] == [image] * len(ENTRIES)


def test_the_urls_carry_any_key_and_verify_both_servers(project: Path) -> None:
    azd = azd_of(project)
    azd.up()
    stored = azd.secrets()
    assert re.fullmatch(
        r"postgres://django:\w{15}@postgres-\w{13}\.postgres\.database\.azure\.com:5432/shop"
        r"\?sslmode=verify-full&sslrootcert=/etc/ssl/certs/ca-certificates\.crt",
        stored["database-url"],
    )
    assert re.search("[+/=]", stored["redis-password"])
    assert re.fullmatch(
        r"rediss://:[\w%]+@redis-\w{13}\.\w+\.redis\.azure\.net:10000/0", stored["redis-url"]
    )


def test_secrets_are_made_once_and_long_enough_and_kept(project: Path) -> None:
    azd = azd_of(project)
    azd.provision()
    first = azd.secrets()
    assert len(first["secret-key"]) >= 50
    assert len(first["database-password"]) == 15
    azd.provision()
    assert azd.secrets() == first
    assert azd_of(project).environment.get("AZURE_KEY_VAULT_NAME") is None


def test_the_password_of_the_mail_server_is_asked_for_once_and_may_hold_anything(
    project: Path,
) -> None:
    azd = azd_of(project)
    azd.provision()
    password = operator().values["EMAIL_HOST_PASSWORD"]
    assert azd.secrets()["email-host-password"] == password
    assert password not in azd.environment.values()
    azd.answers = {}
    azd.provision()
    assert azd.secrets()["email-host-password"] == password
    azd.config.clear()  # azd env config unset infra.parameters.emailHostPassword
    with pytest.raises(ValueError, match="azd asks for emailHost"):
        azd.provision()
    azd.answers = {"emailHostUser": "mailer", "emailHostPassword": "another"}
    azd.provision()
    assert azd.secrets()["email-host-password"] == "another"


def test_a_quote_in_another_value_breaks_the_parameter_file(project: Path) -> None:
    azd = azd_of(project)
    azd.environment["EMAIL_HOST"] = 'mail"er'
    with pytest.raises(json.JSONDecodeError):
        azd.provision()


def test_a_new_size_of_the_database_is_applied(project: Path) -> None:
    azd = azd_of(project)
    azd.provision()
    file = project / "infra" / "platform.bicep"
    text = file.read_text("utf-8")
    file.write_text(text.replace("storageSizeGB: 32", "storageSizeGB: 64"), "utf-8")
    azd.provision()
    [server] = azd.cloud.of_type("Microsoft.DBforPostgreSQL/flexibleServers")
    assert server.body["properties"]["storage"] == {"storageSizeGB": 64, "autoGrow": "Disabled"}


def with_another_variable(project: Path) -> None:
    """Add a variable as docs/deploy.md says."""
    for name, old, new in (
        ("settings", "  'ALLOWED_HOSTS'\n", "  'ALLOWED_HOSTS'\n  'API_URL'\n"),
        (
            "platform",
            "      DATABASE_PASSWORD",
            "      API_URL: 'https://a.bc'\n      DATABASE_PASSWORD",
        ),
    ):
        file = project / "infra" / f"{name}.bicep"
        text = file.read_text("utf-8")
        assert old in text
        file.write_text(text.replace(old, new, 1), "utf-8")


def test_a_deployment_applies_a_change_of_another_file_than_the_process_s_own(
    project: Path,
) -> None:
    azd = azd_of(project)
    azd.up()
    with_another_variable(project)
    for process in azd.up().values():
        assert azd.variables(process)["API_URL"] == "https://a.bc"


def test_without_the_hook_azd_would_only_exchange_the_image(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    azd = azd_of(project)
    azd.up()
    with_another_variable(project)
    azd.provision()
    monkeypatch.setattr(azd, "predeploy", lambda: None)
    [web] = azd.deploy("web")
    assert "API_URL" not in azd.variables(web)
    # What could not be made the first time would be looked for the second time.
    other = azd_of(project)
    other.provision()
    monkeypatch.setattr(other, "predeploy", lambda: None)
    for resource in other.cloud.of_type("Microsoft.ManagedIdentity/userAssignedIdentities"):
        del other.cloud.resources[resource.type, resource.name]
    with pytest.raises(BicepError, match="does not exist"):
        other.deploy("web")
    with pytest.raises(ValueError, match="0 resources"):
        other.deploy("web")


def test_the_operator_may_read_the_secrets_back(project: Path) -> None:
    azd = azd_of(project)
    azd.provision()
    operator = azd.environment["AZURE_PRINCIPAL_ID"]
    vault = "Microsoft.KeyVault/vaults"
    assert azd.may(operator, azure.KEY_VAULT_SECRETS_OFFICER, vault)


def test_without_a_domain_of_its_own_the_site_has_the_one_of_the_platform(project: Path) -> None:
    azd = azd_of(project)
    azd.environment["CUSTOM_DOMAIN"] = ""
    azd.provision()
    assert azd.secrets()["allowed-hosts"] == azd.environment["WEB_HOST"]
    azd.deploy("web")
    azd.environment |= {"CUSTOM_DOMAIN": "www.example.com", "CUSTOM_DOMAIN_CERTIFICATE_ID": "/c"}
    [web] = azd.deploy("web")
    domains = web.model_dump()["properties"]["configuration"]["ingress"]
    assert domains["custom_domains"] == [
        {"name": "www.example.com", "binding_type": "SniEnabled", "certificate_id": "/c"}
    ]


def test_a_restored_database_takes_the_place_of_the_first(project: Path) -> None:
    azd = azd_of(project)
    azd.provision()
    azd.environment["DATABASE_SERVER"] = "postgres-restored"
    azd.provision()
    assert "@postgres-restored.postgres." in azd.secrets()["database-url"]


@pytest.mark.parametrize("scheduler", choices()["scheduler"])
def test_every_process_waits_for_the_release(bake: Bake, scheduler: str) -> None:
    order = azd_of(bake(hosting="azure", scheduler=scheduler)).order()
    assert order[0] == "release"
    last = "schedule" if scheduler == "platform" else "beat"
    assert sorted(order[1:]) == sorted(["web", "worker", last])


MUTATIONS = [
    ("azure.yaml", "    uses:\n      - release\n", "", "uses"),
    ("azure.yaml", "      - release", "      - relase", "uses"),
    ("azure.yaml", "remoteBuild: true", "remotebuild: true", "remotebuild"),
    ("azure.yaml", "        shell: sh\n", "", "shell"),
    (
        "azure.yaml",
        "        shell: sh",
        "        shell: sh\n        continueOnError: true",
        "contin",
    ),
    ("azure.yaml", "postdeploy:", "predeploy:", "postdeploy"),
    ("azure.yaml", "WEB WORKER BEAT;", "WEB WORKER;", "predeploy"),
    ("azure.yaml", "_TEMPLATE_HASH", "_HASH", "predeploy"),
    ("azure.yaml", 'azd: ">= 1.23.13"', 'azd: ">= 1.20.0"', "azd"),
    ("azure.yaml", "name: shop", "name: my_shop", "name"),
    ("azure.yaml", "  beat:\n", "  scheduler:\n", "scheduler"),
    ("infra/main.parameters.json", "${EMAIL_HOST}", "${EMAIL_HOTS}", "emailHost"),
    ("infra/main.parameters.json", "secretOrRandomPassword", "secretOrRandom", "leaves"),
    ("infra/main.parameters.json", '"customDomain"', '"domain"', "no parameter domain"),
    ("infra/main.parameters.json", "1.0.0.0", "1.0", "contentVersion"),
    ("infra/main.bicep", "    customDomain: customDomain\n", "", "not given customDomain"),
    ("infra/main.bicep", "platform.outputs.vaultName", "platform.outputs.vault", "no output vault"),
    (
        "infra/main.bicep",
        "    location: location\n    p",
        "    locaton: location\n    p",
        "locaton",
    ),
    ("infra/platform.bicep", "@secure()\nparam secretKey", "param secretKey", "not @secure"),
    ("infra/platform.bicep", "autoGrow: 'Disabled'", "autoGrow: 'Enabled'", "autoGrow"),
    ("infra/platform.bicep", "storageSizeGB: 32", "storageSizeGB: 40", "storageSizeGB"),
    ("infra/platform.bicep", "version: '17'", "version: '9'", "version"),
    ("infra/platform.bicep", "'NoCluster'", "'OSSCluster'", "clusteringPolicy"),
    ("infra/platform.bicep", "'NoEviction'", "'VolatileLRU'", "evictionPolicy"),
    ("infra/platform.bicep", "port: 10000", "port: 6380", "port"),
    ("infra/platform.bicep", "hostName}:10000", "hostName}:6380", "REDIS_URL"),
    ("infra/platform.bicep", "'rediss://", "'redis://", "REDIS_URL"),
    ("infra/platform.bicep", "uriComponent(redisPassword)", "redisPassword", "REDIS_URL"),
    ("infra/platform.bicep", "verify-full", "require", "DATABASE_URL"),
    ("infra/platform.bicep", "//django:", "//postgres:", "DATABASE_URL"),
    (
        "infra/platform.bicep",
        "      EMAIL_HOST: emailHost\n",
        "",
        "emailHost is declared and",
    ),
    ("infra/platform.bicep", "EMAIL_HOST: emailHost\n", "MAIL_HOST: emailHost\n", "EMAIL_HOST: "),
    ("infra/platform.bicep", "adminUserEnabled: false", "adminUserEnabled: true", "adminUser"),
    ("infra/platform.bicep", "Authorization: true", "Authorization: false", "enableRbac"),
    ("infra/platform.bicep", "7f951dda", "8f951dda", "lacks the role 7f951dda"),
    ("infra/platform.bicep", "  scope: vault\n", "  scope: registry\n", "lacks the role 4633458b"),
    ("infra/platform.bicep", "parent: redis", "parent: cache", "cache is not declared"),
    ("infra/platform.bicep", "uniqueString(", "uniquestring(", "no function"),
    ("infra/secrets.bicep", "@secure()\nparam values", "param values", "without @secure"),
    ("infra/secrets.bicep", "replace(item.key, '_', '-')", "item.key", "hold a secret"),
    ("infra/settings.bicep", "vaultUri", "vaultUrl", "vaultUrl"),
    ("infra/settings.bicep", "'processes'", "'identity'", "does not exist"),
    ("infra/settings.bicep", "}secrets/", "}secret/", "keyVaultUrl"),
    ("infra/settings.bicep", "  'SECRET_KEY'\n", "  'SECRET_KEY'\n  'API_KEY'\n", "API_KEY"),
    ("infra/settings.bicep", "'REDIS_PASSWORD'", "'REDIS_SECRET'", "redis-password"),
    ("infra/web.bicep", "targetPort: 8000", "targetPort: 80", "targetPort"),
    ("infra/web.bicep", "allowInsecure: false", "allowInsecure: true", "allowInsecure"),
    ("infra/web.bicep", "path: '/ready/'", "path: '/readyz/'", "path"),
    ("infra/web.bicep", "type: 'Startup'", "type: 'Liveness'", "same type"),
    ("infra/web.bicep", "timeoutSeconds: 5", "timeoutSeconds: 1", "timeoutSeconds"),
    ("infra/web.bicep", "failureThreshold: 10", "failureThreshold: 30", "failureThreshold"),
    ("infra/web.bicep", "concurrentRequests: '16'", "concurrentRequests: 16", "concurrentRequests"),
    ("infra/web.bicep", "PeriodSeconds: 45", "PeriodSeconds: 30", "terminationGracePeriodSeconds"),
    ("infra/web.bicep", "'settings.bicep'", "'setting.bicep'", "does not exist"),
    ("infra/web.bicep", "outputs.environment", "outputs.enviroment", "no output enviroment"),
    ("infra/web.bicep", "name: 'web'\n  loc", "name: 'My_Web'\n  loc", "name"),
    ("infra/web.bicep", "service-name': 'web'", "service-name': 'beat'", "0 resources"),
    ("infra/web.bicep", "memory: '1Gi'", "memory: '2Gi'", "go with 1Gi"),
    ("infra/web.bicep", "      ingress: {", "      ingres: {", "ingres"),
    ("infra/web.bicep", "'--config', ", "", "unknown command"),
    ("infra/worker.bicep", "'celery', '-A', 'shop'", "'celery', '-A', 'shp'", "several manners"),
    ("infra/worker.bicep", "'Single'", "'single'", "activeRevisionsMode"),
    ("infra/worker.bicep", "minReplicas: 1", "minReplicas: 0", "minReplicas"),
    ("infra/worker.bicep", "  'maintenance'\n", "", "a rule for each"),
    ("infra/worker.bicep", "enableTLS: 'true'", "enableTLS: true", "enableTLS"),
    ("infra/worker.bicep", "'redis-password'", "'redis-passwort'", "redis-passwort"),
    ("infra/worker.bicep", "image: image", "image: imge", "imge is not declared"),
    ("infra/worker.bicep", "identity.id}'", "registry.id}'", "another identity"),
    ("infra/beat.bicep", "maxReplicas: 1", "maxReplicas: 2", "maxReplicas"),
    (
        "infra/beat.bicep",
        "['celery', '-A', 'shop', 'beat']",
        "['celery', 'beat']",
        "unknown command",
    ),
    ("infra/beat.bicep", "cpu: json('0.25')", "cpu: '0.25'", "cpu"),
    ("infra/beat.parameters.json", "BEAT_IMAGE", "BATE_IMAGE", "image"),
    ("infra/release.bicep", "replicaRetryLimit: 0", "replicaRetryLimit: 3", "replicaRetryLimit"),
    ("infra/release.bicep", "replicaTimeout: 900", "replicaTimeout: 1800", "replicaTimeout"),
    ("infra/release.bicep", "'Manual'", "'Schedule'", "triggerType"),
    ("infra/release.bicep", "      }\n", "", "expected"),
]

# The same of a project whose periodic tasks Azure starts.
SCHEDULE_MUTATIONS = [
    ("azure.yaml", "WORKER SCHEDULE;", "WORKER BEAT;", "predeploy"),
    ("azure.yaml", "  schedule:\n", "  beat:\n", "predeploy"),
    ("azure.yaml", "  schedule:\n", "  scheduler:\n", "scheduler"),
    ("infra/schedule.bicep", "'*/5 * * * *'", "'*/5 * * *'", "five fields"),
    ("infra/schedule.bicep", "'30 3 * * *'", "'60 3 * * *'", "wrong minute"),
    ("infra/schedule.bicep", "'30 3 * * *'", "'30 24 * * *'", "wrong hour"),
    ("infra/schedule.bicep", "'30 3 * * *'", "'30 3 * * 7'", "wrong day of week"),
    ("infra/schedule.bicep", "'30 3 * * *'", "'30 3 0 * *'", "wrong day of month"),
    ("infra/schedule.bicep", "'30 3 * * *'", "'30 3 * 5-13 *'", "wrong month"),
    ("infra/schedule.bicep", "'30 3 * * *'", "'30 @daily * * *'", "wrong hour"),
    ("infra/schedule.bicep", "'*/5 * * * *'", "'*/0 * * * *'", "wrong minute"),
    ("infra/schedule.bicep", "cron: '*/5", "cronExpression: '*/5", "property cron"),
    ("infra/schedule.bicep", "'failure-digest'", "'heartbeat'", "the same name"),
    ("infra/schedule.bicep", "'failure-digest'", "'failure_digest'", "name"),
    ("infra/schedule.bicep", "'failure-digest'", "'a-digest-of-all-that-failed'", "name"),
    ("infra/schedule.bicep", "'cron-${entry.name}'", "entry.name", "name"),
    ("infra/schedule.bicep", "'cron-${entry.name}'", "'cron-${entry.cron}'", "name"),
    ("infra/schedule.bicep", "entry.name == 'heartbeat'", "entry.name != 'heartbeat'", "finds 3"),
    ("infra/schedule.bicep", "entry.name == 'heartbeat'", "entry.name == 'beat'", "finds 0"),
    ("infra/schedule.bicep", "service-name': 'schedule'", "service-name': 'worker'", "finds 0"),
    ("infra/schedule.bicep", "'enqueue', entry.name]", "'enqueue']", "must run"),
    ("infra/schedule.bicep", "'enqueue', entry.name]", "'enqueue', 'heartbeat']", "must run"),
    ("infra/schedule.bicep", "'enqueue', entry.name]", "'enqueue', entry.nam]", "property nam"),
    ("infra/schedule.bicep", "'Schedule'", "'Event'", "triggerType"),
    ("infra/schedule.bicep", "        parallelism: 1\n", "", "parallelism"),
    ("infra/schedule.bicep", "replicaCompletionCount: 1", "replicaCompletionCount: 2", "replicaC"),
    ("infra/schedule.bicep", "replicaTimeout: 120", "replicaTimeout: 300", "replicaTimeout"),
    ("infra/schedule.bicep", "replicaRetryLimit: 1", "replicaRetryLimit: 9", "replicaRetryLimit"),
    ("infra/schedule.bicep", "memory: '0.5Gi'", "memory: '1Gi'", "go with 0.5Gi"),
    ("infra/schedule.bicep", "in schedule:", "in entries:", "entries is not declared"),
    ("infra/schedule.parameters.json", "SCHEDULE_IMAGE", "CRON_IMAGE", "image"),
]


@pytest.mark.parametrize(
    ("name", "old", "new", "message"), MUTATIONS, ids=[f"{m[0]}: {m[2]!r}" for m in MUTATIONS]
)
def test_a_mistake_is_refused(project: Path, name: str, old: str, new: str, message: str) -> None:
    edit(project / name, old, new)
    with pytest.raises((ValueError, BicepError), match=message):
        azure.components(project, operator())


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    SCHEDULE_MUTATIONS,
    ids=[f"{m[0]}: {m[2]!r}" for m in SCHEDULE_MUTATIONS],
)
def test_a_mistake_in_the_schedule_is_refused(
    scheduled: Path, name: str, old: str, new: str, message: str
) -> None:
    edit(scheduled / name, old, new)
    with pytest.raises((ValueError, BicepError), match=message):
        azure.components(scheduled, operator())


def test_a_project_without_beat_and_jobs_is_refused(project: Path) -> None:
    edit(project / "azure.yaml", "WORKER BEAT;", "WORKER;")
    text = (project / "azure.yaml").read_text("utf-8")
    (project / "azure.yaml").write_text(text.partition("\n  beat:")[0], "utf-8")
    with pytest.raises(ValueError, match="either beat or schedule"):
        azure.components(project, operator())


def test_a_default_for_a_secret_is_refused(project: Path) -> None:
    file = project / "infra" / "main.bicep"
    text = file.read_text("utf-8").replace("param secretKey string", "param secretKey string = 'a'")
    file.write_text(text, "utf-8")
    with pytest.raises(BicepError, match="secretKey is secure and has a value"):
        bicep_rules.check(file)


def test_a_secret_as_output_is_refused(project: Path) -> None:
    file = project / "infra" / "platform.bicep"
    file.write_text(f"{file.read_text('utf-8')}output key string = redisPassword\n", "utf-8")
    with pytest.raises(BicepError, match="output key shows a secret"):
        bicep_rules.check(file)


@pytest.mark.parametrize(
    "source",
    [
        "param a string\nparam a string\n",
        "var a = 'b\n",
        "var a = [\n  'b' 'c'\n]\n",
        "var a = { b: 1 c: 2 }\n",
        "var a = 1 ~ 2\n",
        "type a = string\n",
        "@secure()\nvar a = 1\n",
        "var a = '\\q'\n",
    ],
)
def test_what_is_no_bicep_is_refused(tmp_path: Path, source: str) -> None:
    file = tmp_path / "a.bicep"
    file.write_text(source, "utf-8")
    with pytest.raises(BicepError):
        bicep.read(file)


def test_strings_and_comparisons_are_read_as_bicep_reads_them(tmp_path: Path) -> None:
    file = tmp_path / "a.bicep"
    file.write_text(
        "param n int\n"
        "// a comment's quote\n"
        "output a string = n < 5 ? 'it\\'s ${n == 1 ? 'one' : '${n}${'}'}'}' : 'many' // end\n",
        "utf-8",
    )
    cloud = Cloud({})
    assert deploy(file, {"n": 1}, cloud) == {"a": "it's one"}
    assert deploy(file, {"n": 2}, cloud) == {"a": "it's 2}"}
    assert deploy(file, {"n": 5}, cloud) == {"a": "many"}


@pytest.mark.parametrize("scheduler", choices()["scheduler"])
@pytest.mark.slow
def test_another_parser_finds_the_same_resources(bake: Bake, scheduler: str) -> None:
    project = bake(hosting="azure", scheduler=scheduler)
    for path in sorted((project / "infra").glob("*.bicep")):
        tree = BicepParser().parse(text=path.read_text("utf-8"))
        ours = {
            name: (symbol.type, symbol.version, symbol.existing)
            for name, symbol in bicep.read(path).symbols.items()
            if isinstance(symbol, bicep.Resource)
        }
        theirs = {
            name: (resource["type"], resource["api_version"], resource["existing"])
            for name, resource in tree.get("resources", {}).items()
        }
        assert ours == theirs, path.name


@pytest.mark.parametrize("scheduler", choices()["scheduler"])
def test_the_schemas_of_azure_accept_every_resource(bake: Bake, scheduler: str) -> None:
    types = schema("azure-aca-resources.schema.json")
    azd = azd_of(bake(hosting="azure", scheduler=scheduler))
    azd.up()
    resources = [r for r in azd.cloud.resources.values() if "resourceGroups" not in r.type]
    assert len(resources) >= 20
    for resource in resources:
        reference = types["resources"][f"{resource.type}@{resource.version}"]
        # The types say that processors are whole, and the platform's smallest share is a quarter.
        body = json.loads(re.sub(r'("cpu": )[0-9.]+', r"\g<1>1", json.dumps(resource.body)))
        validator = jsonschema.Draft202012Validator({**reference, "$defs": types["$defs"]})
        problems = [error.message for error in validator.iter_errors(body)]
        assert problems == [], f"{resource.type} {resource.name}"


@pytest.mark.parametrize("scheduler", choices()["scheduler"])
@pytest.mark.slow
def test_the_schema_of_azd_accepts_azure_yaml(bake: Bake, scheduler: str) -> None:
    azd = schema("azure-yaml-v1.0.schema.json")
    for slug in SLUGS:
        project = bake(hosting="azure", project_slug=slug, scheduler=scheduler)
        jsonschema.validate(yaml.safe_load((project / "azure.yaml").read_text("utf-8")), azd)


# infra/release.sh, with an az that answers as it is told


AZ = """\
#!/bin/sh
echo "$*" >> "$CALLS"
case "$*" in
    *"job start"*) echo release-abc123 ;;
    *"execution show"*)
        answer=$(head -n 1 "$ANSWERS")
        sed -i 1d "$ANSWERS"
        test "$answer" != error || exit 1
        echo "$answer" ;;
esac
"""


def run_release(project: Path, *answers: str) -> tuple[Any, list[str]]:
    """Run the script while Azure gives some answers, and return the result and its calls of az."""
    programs = project / "bin"
    programs.mkdir()
    for name, script in (("az", AZ), ("sleep", "#!/bin/sh\n")):
        (programs / name).write_text(script, "utf-8")
        (programs / name).chmod(stat.S_IRWXU)
    (project / "answers").write_text("".join(f"{answer}\n" for answer in answers), "utf-8")
    result = subprocess.run(
        ["sh", "infra/release.sh"],
        cwd=project,
        env={
            "PATH": f"{programs}:/usr/bin:/bin",
            "CALLS": str(project / "calls"),
            "ANSWERS": str(project / "answers"),
            "AZURE_RESOURCE_GROUP": "rg-production",
            "AZURE_SUBSCRIPTION_ID": "0000",
        },
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return result, (project / "calls").read_text("utf-8").splitlines()


unix = pytest.mark.skipif(sys.platform == "win32", reason="the script is for a Unix shell")


@unix
@pytest.mark.parametrize("scheduler", choices()["scheduler"])
def test_the_hook_makes_azd_forget_the_hash_of_every_service(bake: Bake, scheduler: str) -> None:
    project = bake(hosting="azure", scheduler=scheduler)
    manifest = yaml.safe_load((project / "azure.yaml").read_text("utf-8"))
    script = 'azd() { for word; do printf "<%s>" "$word"; done; echo; }\n'
    script += manifest["hooks"]["predeploy"]["run"]
    result = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == [
        f"<env><set><SERVICE_{service.upper()}_TEMPLATE_HASH><>" for service in manifest["services"]
    ]


@unix
def test_the_script_waits_until_the_release_has_succeeded(project: Path) -> None:
    result, calls = run_release(project, "Running", "error", "Processing", "Succeeded")
    assert result.returncode == 0, result.stderr
    assert len(calls) == 5
    assert calls[0].startswith("containerapp job start --query name --name release")
    assert "--job-execution-name release-abc123" in calls[1]
    assert all("--resource-group rg-production --subscription 0000" in call for call in calls)


@unix
@pytest.mark.parametrize("status", ["Failed", "Stopped", "Degraded"])
def test_the_script_fails_with_the_release(project: Path, status: str) -> None:
    result, calls = run_release(project, "Running", status)
    assert result.returncode == 1
    assert len(calls) == 3
    assert f"release-abc123 has not succeeded: {status}." in result.stderr


@unix
@pytest.mark.slow
def test_the_script_gives_up_after_the_time_that_a_release_may_take(project: Path) -> None:
    release = (project / "infra" / "release.bicep").read_text("utf-8")
    script = (project / "infra" / "release.sh").read_text("utf-8")
    timeout = re.search(r"replicaTimeout: (\d+)", release)
    patience = re.search(r"patience=(\d+)", script)
    assert timeout and patience
    assert int(timeout[1]) < int(patience[1]) < DEPLOY_TIMEOUT
    result, calls = run_release(project, *["Running"] * 200)
    assert result.returncode == 1
    assert len(calls) == 1 + int(patience[1]) / 5


# docs/deploy.md


def blocks_of_the_page(project: Path) -> list[str]:
    """Return what is to be pasted, one block after the other."""
    page = (project / "docs" / "deploy.md").read_text("utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len(blocks) > 15
    return blocks


@unix
@pytest.mark.parametrize("scheduler", choices()["scheduler"])
def test_blocks_of_the_page_can_be_pasted(bake: Bake, scheduler: str) -> None:
    for block in blocks_of_the_page(bake(hosting="azure", scheduler=scheduler)):
        checked = subprocess.run(
            ["sh", "-n"], input=block, capture_output=True, text=True, check=False
        )
        assert checked.returncode == 0 and not checked.stderr, block + checked.stderr
        # What is pasted after it would be taken for the answer.
        before = block.rstrip("\n").rpartition("\n")[0]
        asks = r"\bread |createsuperuser|--follow|^az login|^azd (auth login|up|provision)"
        found = re.search(asks, before, re.MULTILINE)
        # Only the keys of the e-mail are asked for, and only if azd has none.
        assert not found or (found[0] == "azd provision" and "emailHostPassword" not in block), (
            block
        )


def test_the_page_gives_no_secret_as_an_argument(bake: Bake) -> None:
    for block in blocks_of_the_page(bake(hosting="azure")):
        assert not re.search("--value|PASSWORD", block), block


@pytest.mark.parametrize("scheduler", choices()["scheduler"])
def test_the_page_tells_of_a_schedule_on_a_disk_that_goes(bake: Bake, scheduler: str) -> None:
    page = (bake(hosting="azure", scheduler=scheduler) / "docs" / "deploy.md").read_text("utf-8")
    assert ("when each task ran last" in page) == (scheduler == "code")


@pytest.mark.parametrize("scheduler", choices()["scheduler"])
def test_the_page_tells_what_becomes_of_the_schedule_at_a_deployment(
    bake: Bake, scheduler: str
) -> None:
    page = (bake(hosting="azure", scheduler=scheduler) / "docs" / "deploy.md").read_text("utf-8")
    assert ("may be sent twice" in page) == (scheduler in ("database", "code"))
    assert ("waits for the lock" in page) == (scheduler == "redbeat")
    assert ("az containerapp job delete --name cron-NAME" in page) == (scheduler == "platform")


# DATABASE_URL, against a server with TLS


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "known", "refusal"),
    [
        ("localhost", True, None),
        ("other.example.com", True, "does not match host name"),
        ("localhost", False, "certificate verify failed"),
    ],
    ids=["right", "another server", "another CA"],
)
def test_the_database_url_verifies_the_server(
    project: Path,
    tmp_path: Path,
    postgres: PostgresServer,
    authority: Authority,
    name: str,
    known: bool,
    refusal: str | None,
) -> None:
    azd = azd_of(project)
    azd.provision()
    ca = authority if known else Authority(tmp_path)
    given, own = urlsplit(azd.secrets()["database-url"]), urlsplit(postgres.admin_url)
    assert azure.CA_BUNDLE in given.query
    with tls_postgres(postgres, authority.server_context(name)) as port:
        url = given._replace(
            scheme="postgresql",
            netloc=f"{own.username}:{own.password}@localhost:{port}",
            path=own.path,
            query=given.query.replace(azure.CA_BUNDLE, str(ca.file)),
        ).geturl()
        if refusal is None:
            with psycopg.connect(url) as connection:
                assert connection.execute("SELECT 1").fetchone() == (1,)
        else:
            with pytest.raises(psycopg.OperationalError, match=refusal):
                psycopg.connect(url)
