"""Every kind of project passes its own checks, with what its own requirements install."""

import html
import re
import shlex
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings

from tests.baking import allowed, bake_with_cookiecutter, choices
from tests.conftest import Bake
from tests.hostile import LINE
from tests.platforms.surroundings import FLOWER_LOGIN
from tests.processes import Stack, free_port, http_get, python_environment, wait_until
from tests.production import production_environment
from tests.servers.postgres import PostgresServer
from tests.test_variables import VALUES
from tests.users import add_notes_app

pytestmark = pytest.mark.slow

# Servers that are not there: what is checked here needs none.
PRODUCTION = {
    **VALUES,
    **production_environment(
        "postgres://u:p@127.0.0.1:1/n", "redis://127.0.0.1:1/0", FLOWER_BASIC_AUTH=FLOWER_LOGIN
    ),
}

HOSTILE = {
    "project_name": "Ünï \"quoted\" 'name' \\ $HOME #1: {50%} 🎉",
    "project_slug": "a123456789_b123456789_c123456789_d123456",
    "description": 'It\'s "fine": \\n $(true) # {x} %s <b>&amp;</b> 漢字 🎉',
    "author_name": 'O\'Neil "the" Ä\\',
    "author_email": "o'neil+tag%x@example.com",
    "domain_name": "xn--mller-kva.example.com",
}
RENDER_HOME = """
from shop import environment
environment.start("testing")
import django
django.setup()
from django.core.management import call_command
from django.test import Client
call_command("check")
print(Client().get("/").content.decode())
"""


def kind_id(kind: dict[str, str]) -> str:
    """Return the name of a kind in the list of tests."""
    questions = ("hosting", "process_manager", "scheduler")
    return "-".join(kind[question] for question in questions if question in kind)


# Each process manager with each hosting and with each scheduler, and each e-mail provider once.
# The first three run each time. What they lack are the files for App Platform and Dokku, which
# OTHER_PAIRS and test_hosting.py run, and `code`, as which test_schedule_moves.py runs beat.
KINDS = [
    {
        "hosting": hosting,
        "process_manager": manager,
        "scheduler": scheduler,
        "domain_name": "shop.example.org",
        **more,
    }
    for hosting, manager, scheduler, more in [
        ("compose", "direct", "database", {"domain_name": "example.com"}),
        (
            "compose",
            "prodserver",
            "redbeat",
            {"email_provider": "ses", "use_prometheus": "true"},
        ),
        (
            "azure",
            "prodserver",
            "platform",
            {
                **HOSTILE,
                "email_provider": "postmark",
                "ci": "none",
                "license": "Proprietary",
                "use_flower": "true",
                "use_prometheus": "true",
            },
        ),
        (
            "digitalocean",
            "direct",
            "code",
            {"email_provider": "sendgrid", "ci": "gitlab", "use_flower": "true"},
        ),
        (
            "digitalocean",
            "prodserver",
            "database",
            {"email_provider": "brevo", "use_flower": "true"},
        ),
        ("dokku", "direct", "platform", {"email_provider": "mailjet", "use_prometheus": "true"}),
        ("dokku", "prodserver", "code", {"email_provider": "mailgun"}),
        ("azure", "direct", "redbeat", {"email_provider": "resend"}),
    ]
]
KINDS_OF_EVERY_RUN = KINDS[:3]


def params(
    kinds: Iterable[dict[str, str]], of_every_run: list[dict[str, str]] = KINDS_OF_EVERY_RUN
) -> list[Any]:
    """Return parameters of tests, of which those beyond every run are nightly."""
    return [
        pytest.param(
            kind, id=kind_id(kind), marks=() if kind in of_every_run else pytest.mark.nightly
        )
        for kind in kinds
    ]


# The suite and the checks of the first are run as its README says, in test_first_steps.py.
KINDS_BUT_THE_DEFAULT = params(KINDS[1:])
# One with each scheduler, which alone decides what is asked of the database: most with "database".
KINDS_OF_DATABASE_USE = params(
    {kind["scheduler"]: kind for kind in KINDS_OF_EVERY_RUN}.values(),
    of_every_run=[kind for kind in KINDS_OF_EVERY_RUN if kind["scheduler"] == "database"],
)
# What is left of each hosting with each scheduler, where no more than its files is new. Of the
# schedulers, the platform's own changes them most.
OTHER_PAIRS = params(
    (
        pair
        for hosting in choices()["hosting"]
        for scheduler in choices()["scheduler"]
        if allowed(pair := {"hosting": hosting, "scheduler": scheduler})
        and not any(pair.items() <= kind.items() for kind in KINDS_OF_EVERY_RUN)
    ),
    of_every_run=[
        {"hosting": "digitalocean", "scheduler": "database"},
        {"hosting": "digitalocean", "scheduler": "platform"},
        {"hosting": "dokku", "scheduler": "platform"},
    ],
)


@pytest.fixture(scope="module", params=params(KINDS))
def stack(
    request: pytest.FixtureRequest, bake: Bake, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """A project of each kind; nothing is set but what a test sets."""
    baked = bake(**request.param)
    project = Path(shutil.copytree(baked, tmp_path_factory.mktemp("project") / baked.name))
    with Stack(project, {}, python_environment(project)) as stack:
        yield stack


@pytest.mark.parametrize("stack", KINDS_BUT_THE_DEFAULT, indirect=True)
def test_its_own_suite_passes(stack: Stack) -> None:
    result = stack.run(["pytest", "-q"], timeout=200)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Required test coverage of 100.0% reached" in result.stdout


def assert_the_deployment_is_accepted(project: Path) -> None:
    """Expect that the project's own tests of its deployment files pass."""
    with Stack(project, {}, python_environment(project)) as stack:
        result = stack.run(["pytest", "-q", "--no-cov", "tests/test_deployment.py"], timeout=200)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("pair", OTHER_PAIRS)
def test_the_suite_accepts_the_files_of_its_hosting(bake_copy: Bake, pair: dict[str, str]) -> None:
    assert_the_deployment_is_accepted(bake_copy(**pair))


def test_the_suite_accepts_an_app_spec_that_was_edited_as_its_page_says(bake_copy: Bake) -> None:
    project = bake_copy(hosting="digitalocean")
    file = project / ".do" / "app.yaml"
    text = file.read_text("utf-8")
    for old, new in (
        ("repo: OWNER/REPOSITORY", "repo: someone/something"),
        ("region: fra", "region: nyc"),
        ("    type: PRIMARY\n", "    type: PRIMARY\n    zone: example.com\n"),
        ("\nenvs:\n", "\nenvs:\n  - key: ANYMAIL_WEBHOOK_SECRET\n    type: SECRET\n"),
        (" --without-mingle", " --without-mingle --queues default,maintenance"),
    ):
        assert old in text, old
        text = text.replace(old, new)
    file.write_text(text, encoding="utf-8")
    assert_the_deployment_is_accepted(project)


@pytest.mark.parametrize("stack", KINDS_OF_DATABASE_USE, indirect=True)
def test_its_own_suite_passes_on_postgresql(stack: Stack, postgres: PostgresServer) -> None:
    # As the administrator, because the suite makes a database of its own.
    result = stack.run(["pytest", "-q", "--no-cov"], timeout=200, DATABASE_URL=postgres.admin_url)
    assert result.returncode == 0, result.stdout + result.stderr


def test_no_migration_is_missing(stack: Stack) -> None:
    result = stack.manage("makemigrations", "--check")
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("stack", KINDS_BUT_THE_DEFAULT, indirect=True)
@pytest.mark.parametrize("command", ["ruff check", "ruff format --check", "mypy --strict ."])
def test_its_checks_are_clean(stack: Stack, command: str) -> None:
    result = stack.run(command.split(), timeout=200)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_app_of_its_pages_passes_its_checks_too(bake_copy: Bake) -> None:
    project = bake_copy()
    add_notes_app(project)
    with Stack(project, {}, python_environment(project)) as stack:
        assert stack.manage("makemigrations", "notes").returncode == 0
        for command in (
            "ruff check apps/notes tests",
            "ruff format --check apps/notes tests",
            "mypy .",
            "pytest --no-cov tests/test_notes.py",
        ):
            result = stack.run(command.split(), timeout=200)
            assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("environment", ["production", "staging"])
def test_its_deployment_has_no_finding(stack: Stack, environment: str) -> None:
    variables = {**PRODUCTION, "DJANGO_ENVIRONMENT": environment}
    command = ["python", "manage.py", "check", "--deploy", "--fail-level", "WARNING"]
    with Stack(stack.project, variables, python_environment(stack.project)) as deployed:
        result = deployed.run(command)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "no issues" in result.stdout


@pytest.mark.parametrize("ci", [ci for ci in choices()["ci"] if ci != "none"])
def test_its_pipeline_gives_all_that_production_requires(bake: Bake, ci: str) -> None:
    options = {"use_flower": "true", "use_prometheus": "true", "email_provider": "mailjet"}
    project = bake(ci=ci, **options)
    command, variables = production_check(project, ci)
    with Stack(project, variables, python_environment(project)) as stack:
        result = stack.run(["python", *command])
    assert result.returncode == 0, result.stdout + result.stderr


def production_check(project: Path, ci: str) -> tuple[list[str], dict[str, str]]:
    """Return what the pipeline runs with production settings, and with which variables."""
    if ci == "github":
        workflow = yaml.safe_load((project / ".github/workflows/ci.yml").read_text("utf-8"))
        steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
        [step] = [step for step in steps if "check --deploy" in step.get("run", "")]
        words, variables = shlex.split(step["run"]), step["env"]
    else:
        pipeline = yaml.safe_load((project / ".gitlab-ci.yml").read_text("utf-8"))
        [line] = [line for line in pipeline["check"]["script"] if "check --deploy" in line]
        words = shlex.split(line)
        start = words.index("uv")
        variables = dict(word.split("=", 1) for word in words[:start])
        words = words[start:]
    assert words[:2] == ["uv", "run"]
    return words[2:], variables


def test_static_files_are_collected_with_an_empty_environment(stack: Stack) -> None:
    result = stack.manage("collectstatic", "--noinput")
    assert result.returncode == 0, result.stdout + result.stderr
    assert (stack.project / "staticfiles" / "staticfiles.json").exists()


def test_it_runs_without_server_and_without_variables(stack: Stack) -> None:
    """The first five minutes of a user."""
    assert stack.manage("migrate").returncode == 0
    port = free_port()
    stack.commands = {"development": f"python manage.py runserver --noreload 127.0.0.1:{port}"}
    server = stack.start("development")
    url = f"http://127.0.0.1:{port}"
    wait_until(lambda: answers(url), 30, "the home page")
    page = http_get(url + "/").text
    assert "<h1>" in page
    style = re.search(r'rel="stylesheet" href="([^"]+)"', page)
    assert style
    assert http_get(url + style[1]).status == 200
    assert stack.manage("doctor").returncode == 0
    assert server.terminate(10) is not None


@given(name=LINE.filter(str.strip), description=LINE, author=LINE.filter(str.strip))
@settings(max_examples=4, suppress_health_check=[HealthCheck.too_slow])
def test_any_printable_text_ends_in_a_project_that_passes_its_checks(
    template: Path, name: str, description: str, author: str
) -> None:
    assume(max(len(name), len(description), len(author)) <= 200)
    texts = {"project_name": name, "description": description, "author_name": author}
    with tempfile.TemporaryDirectory() as folder:
        project = bake_with_cookiecutter(
            template, Path(folder, "out"), {"project_slug": "shop", **texts}
        )
        with Stack(project, {}, python_environment(project)) as stack:
            result = stack.run(["python", "-c", RENDER_HOME])
    assert result.returncode == 0, result.stderr
    assert html.escape(name) in html.escape(html.unescape(result.stdout))


def answers(url: str) -> bool:
    """Return whether a site answers."""
    try:
        return http_get(f"{url}/health/").status == 200
    except OSError:
        return False


def test_it_reads_its_env_file_in_development_only(stack: Stack) -> None:
    env_file = stack.project / ".env"
    env_file.write_text("LOG_LEVEL=from-the-file\n", encoding="utf-8")
    try:
        development = stack.manage("check")
        with Stack(stack.project, PRODUCTION, python_environment(stack.project)) as deployed:
            production = deployed.manage("check")
    finally:
        env_file.unlink()
    assert "LOG_LEVEL is 'from-the-file'" in development.stderr
    assert production.returncode == 0, production.stderr


def test_env_example_changes_nothing_when_it_is_copied(stack: Stack) -> None:
    env_file = stack.project / ".env"
    shutil.copy(stack.project / ".env.example", env_file)
    try:
        result = stack.manage("check")
    finally:
        env_file.unlink()
    assert result.returncode == 0, result.stderr
