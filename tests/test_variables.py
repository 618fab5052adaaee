"""Whatever the hosting, every process gets what the chosen e-mail provider's settings require."""

import re
from pathlib import Path

import pytest

from tests.baking import choices
from tests.conftest import Bake
from tests.platforms import azure, compose, digitalocean, dokku
from tests.platforms.surroundings import Addresses

PLATFORMS = {"compose": compose, "digitalocean": digitalocean, "dokku": dokku, "azure": azure}
VALUES = {
    "EMAIL_HOST": "localhost",
    "EMAIL_HOST_USER": "mailer",
    "EMAIL_HOST_PASSWORD": "its $5",
    "SENDGRID_API_KEY": "key $ 1",
    "AWS_ACCESS_KEY_ID": "id",
    "AWS_SECRET_ACCESS_KEY": "key/+2",
    "AWS_DEFAULT_REGION": "eu-west-1",
    "MAILGUN_API_KEY": "key 3",
    "MAILGUN_SENDER_DOMAIN": "mail.example.com",
    "POSTMARK_SERVER_TOKEN": "token",
    "RESEND_API_KEY": "key 4",
    "BREVO_API_KEY": "key 5",
    "MAILJET_API_KEY": "key 6",
    "MAILJET_SECRET_KEY": "key 7",
}
# Each provider with the first hosting and with one more in every run, with all in the nightly one.
HOSTINGS_WITH_PROVIDERS = [
    pytest.param(
        hosting,
        provider,
        marks=() if hosting == "compose" else pytest.mark.slow if one_more else pytest.mark.nightly,
    )
    for hosting_number, hosting in enumerate(choices()["hosting"])
    for number, provider in enumerate(choices()["email_provider"])
    for one_more in [(hosting_number + number) % 3 == 0]
]


@pytest.mark.parametrize(("hosting", "provider"), HOSTINGS_WITH_PROVIDERS)
def test_every_process_gets_the_variables_of_the_provider_and_of_no_other(
    bake: Bake, hosting: str, provider: str
) -> None:
    project = bake(hosting=hosting, email_provider=provider)
    required, names = variables(project)
    operator = Addresses(**VALUES)
    operator.additions = {}
    for component in PLATFORMS[hosting].components(project, operator):
        environment = component.environment
        assert required <= environment.keys() <= names, component.name
        for name in environment.keys() & VALUES.keys():
            assert environment[name] == VALUES[name], f"{component.name}: {name}"


@pytest.mark.parametrize("hosting", choices()["hosting"])
def test_every_process_gets_a_token_for_the_metrics(bake: Bake, hosting: str) -> None:
    project = bake(hosting=hosting, use_prometheus="true")
    required, names = variables(project)
    operator = Addresses(**VALUES, METRICS_TOKEN="0123456789" * 4)
    operator.additions = {}
    for component in PLATFORMS[hosting].components(project, operator):
        assert required <= component.environment.keys() <= names, component.name
        assert len(component.environment["METRICS_TOKEN"]) >= 32


def variables(project: Path) -> tuple[set[str], set[str]]:
    """Return the variables that production requires, and all that there are."""
    settings = (project / "my_project/settings/production.py").read_text("utf-8")
    required = set(re.findall(r'"([A-Z_]+)"', "".join(re.findall(r"env\.require\(.*\)", settings))))
    names = set(re.findall(r"^([A-Z_]+)=$", (project / ".env.example").read_text("utf-8"), re.M))
    assert len(required) >= 5
    return required, names
