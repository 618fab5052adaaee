"""The image and the Compose files, built and run by a Docker engine. Nothing is ever pulled."""

import json
import os
import re
import secrets
import shutil
import ssl
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import Bake
from tests.platforms import compose
from tests.processes import Response, add_lock_file, http_get, json_objects, wait_until
from tests.production import prepare, production_environment
from tests.test_compose import CADDY

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.xdist_group("docker")]

APPLICATION = ("web", "worker", "beat")
# A beat with a volume of its own and plain commands, and one without, started by django-prodserver.
KINDS = {
    "code": {"scheduler": "code", "process_manager": "direct"},
    "redbeat": {"scheduler": "redbeat", "process_manager": "prodserver"},
}
SERVICES = ("caddy", "postgres", "broker", "backup", *APPLICATION)
# What a container has besides the image when it is run by the production file.
LOCKED_DOWN = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--init")
# Any free ports of this machine, because other servers may use those of the files.
FREE_PORT = """
services:
  web:
    ports: !override
      - 127.0.0.1::8000
  mailpit:
    ports: !reset []
"""
FREE_PORTS = """
services:
  caddy:
    ports: !override
      - 127.0.0.1::80
      - 127.0.0.1::443
"""
# Takes every login and every message, in the place of the operator's mail server.
MAIL_SERVER = """
import socketserver, sys

ANSWERS = {
    b"EHLO": b"250-mail\\r\\n250 AUTH PLAIN", b"AUTH": b"235 welcome", b"QUIT": b"221 bye"
}

class Conversation(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(b"220 mail\\r\\n")
        for line in self.rfile:
            command = line[:4].strip().upper()
            if command == b"DATA":
                self.wfile.write(b"354 go on\\r\\n")
                while self.rfile.readline() not in (b".\\r\\n", b""):
                    pass
            answer = ANSWERS.get(command, b"250 ok")
            self.wfile.write(answer + b"\\r\\n")

socketserver.ThreadingTCPServer(("", int(sys.argv[1])), Conversation).serve_forever()
"""
# Where the image caddy:2 is not the public one, which is based on Alpine, it may lack this program,
# and have a Caddy from before the file's directives.
WGET = r"""#!/bin/bash
exec 3<>/dev/tcp/127.0.0.1/8080
printf 'GET / HTTP/1.0\r\nHost: 127.0.0.1:8080\r\n\r\n' >&3
head -n 1 <&3 | grep -q ' 200 '
"""


@cache
def engine_environment() -> dict[str, str]:
    """Return the environment of every command: what it takes to find the engine, nothing else."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name in {"PATH", "HOME"} or name.startswith("DOCKER_")
    }
    command = ["docker", "buildx", "version"]
    buildx = subprocess.run(command, env=environment, capture_output=True, check=False)
    if buildx.returncode != 0:
        # Compose would look for the builder that is absent, and share no cache with `build`.
        environment["DOCKER_BUILDKIT"] = "0"
    return environment


def docker(
    *arguments: str, folder: Path | None = None, timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run a Docker command to its end and return it, whatever its exit code.

    Args:
        arguments: the command without `docker`.
        folder: working directory.
        timeout: seconds.

    Raises:
        subprocess.TimeoutExpired: it was still running and has been killed.
    """
    return subprocess.run(
        ["docker", *arguments],
        cwd=folder,
        env=engine_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def images_named(project: Path) -> set[str]:
    """Return the images that Dockerfile and production file start from."""
    dockerfile = (project / "Dockerfile").read_text("utf-8")
    services = yaml.safe_load((project / "compose.production.yml").read_text("utf-8"))["services"]
    ready_made = {service["image"] for service in services.values()} - {project.name}
    return ready_made | set(re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE))


@pytest.fixture(scope="module", autouse=True)
def engine(bake: Bake) -> None:
    """Skip the tests where something is missing that they need."""
    if shutil.which("docker") is None:
        pytest.skip("there is no docker command")
    if docker("version").returncode != 0:
        pytest.skip("no Docker engine answers")
    if docker("compose", "version").returncode != 0:
        pytest.skip("docker has no compose command")
    for name in sorted(images_named(bake())):
        if docker("image", "inspect", name).returncode != 0:
            pytest.skip(f"the image {name} is not on this machine, and tests pull none")


@dataclass
class Images:
    """Builds images and removes all that came of it."""

    tags: set[str] = field(default_factory=set)
    steps: list[str] = field(default_factory=list)

    def build(self, folder: Path, tag: str) -> subprocess.CompletedProcess[str]:
        """Build a project's image and return how that went.

        Args:
            folder: the project.
            tag: the image's name.
        """
        self.tags.add(tag)
        result = docker("build", "--force-rm", "--tag", tag, ".", folder=folder, timeout=250)
        # The builder without BuildKit leaves an image of each step and stage.
        self.steps += re.findall(r"^ ---> ([0-9a-f]{12})$", result.stdout, re.MULTILINE)
        return result

    def remove(self) -> None:
        """Remove what was built, and nothing that something else is based on or named after."""
        docker("image", "rm", "--force", *self.tags)
        for step in reversed(self.steps):
            if docker("image", "inspect", "--format", "{{.RepoTags}}", step).stdout.strip() == "[]":
                docker("image", "rm", step)


@pytest.fixture(scope="module")
def images() -> Iterator[Images]:
    """A builder that leaves nothing behind."""
    images = Images()
    yield images
    images.remove()


@pytest.fixture(scope="module", params=KINDS)
def project(
    request: pytest.FixtureRequest, bake: Bake, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A project with a lock file and the apps of the tests; its name is used nowhere else."""
    slug = f"docker_test_{secrets.token_hex(4)}"
    baked = bake(project_slug=slug, **KINDS[request.param])
    project = prepare(Path(shutil.copytree(baked, tmp_path_factory.mktemp("docker") / slug)))
    add_lock_file(project)
    return project


@pytest.fixture(scope="module")
def server(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project as it lies on a server, with the secrets that its page has made."""
    server = Path(shutil.copytree(project, tmp_path_factory.mktemp("server") / project.name))
    compose.write_variables(server, server, DOMAIN="localhost")
    variables = (server / ".env").read_text("utf-8")
    free_ports = server.parent / "free_ports.yml"
    free_ports.write_text(FREE_PORTS, encoding="utf-8")
    if docker("run", "--rm", "caddy:2", "sh", "-c", "command -v wget").returncode != 0:
        (server.parent / "wget").write_text(WGET, encoding="utf-8")
        (server.parent / "wget").chmod(0o755)
        mounts = (
            f"    volumes:\n      - {server.parent}/wget:/usr/local/bin/wget:ro\n"
            f"      - {CADDY}:/usr/bin/caddy:ro\n"
        )
        free_ports.write_text(FREE_PORTS + mounts, encoding="utf-8")
    mail = server.parent / "mail.yml"
    mail.write_text(mail_service("mail", project.name, 2525), encoding="utf-8")
    with (server / "app.env").open("a", encoding="utf-8") as application:
        application.write("EMAIL_HOST=mail\nEMAIL_PORT=2525\nEMAIL_USE_TLS=false\n")
    files = f"={compose.FILE}:{free_ports}:{mail}\n"
    (server / ".env").write_text(variables.replace(f"={compose.FILE}\n", files), encoding="utf-8")
    (server / ".git").mkdir()
    (server / ".git" / "HEAD").write_text("ref: refs/heads/main\n", encoding="utf-8")
    (server / "apps" / "__pycache__").mkdir(exist_ok=True)
    (server / "apps" / "__pycache__" / "stale.pyc").touch()
    return server


def mail_service(name: str, image: str, port: int) -> str:
    """Return a Compose file with a mail server that is no image of its own.

    Args:
        name: of the service.
        image: one that has Python.
        port: where it listens.
    """
    service = {
        "image": image,
        "pull_policy": "never",
        "command": ["python", "-c", MAIL_SERVER, str(port)],
        "init": True,
    }
    return json.dumps({"services": {name: service}})


@pytest.fixture(scope="module")
def image(server: Path, images: Images) -> str:
    """The name of the project's image, as the production file gives it."""
    result = images.build(server, server.name)
    assert result.returncode == 0, result.stdout + result.stderr
    return server.name


def run(image: str, *command: str, options: tuple[str, ...] = ()) -> str:
    """Return what a command in a new container prints; its exit code is 0."""
    result = docker("run", "--rm", *options, image, *command)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_secrets_of_the_page_are_for_their_owner_alone(server: Path) -> None:
    for name in (".env", "app.env"):
        assert stat.S_IMODE((server / name).stat().st_mode) == 0o600, name


def test_the_image_holds_what_runs_and_nothing_else(project: Path, image: str) -> None:
    parts = run(image, "ls", "-A", "/app").split()
    assert set(parts) == {
        project.name,
        "__pycache__",  # of the files here, compiled in the image
        "apps",
        "gunicorn.conf.py",
        "manage.py",
        "pyproject.toml",
        "static",
        "staticfiles",
        "templates",
        "uv.lock",
    }
    files = run(image, "find", "/app", "/opt/venv").split("\n")
    names = {Path(file).name for file in files}
    assert "wsgi.py" in names
    assert not names & {".env", "app.env", ".git", "stale.pyc", "pytest", "ruff", "uv"}


def test_the_image_is_for_production_and_for_a_user_without_rights(image: str) -> None:
    assert run(image, "printenv", "DJANGO_ENVIRONMENT").strip() == "production"
    assert run(image, "id", "-u").strip() == "1000"
    # A number, by which a platform can tell that it is not root.
    assert docker("inspect", "--format", "{{.Config.User}}", image).stdout.strip() == "1000"
    writable = run(image, "find", "/app", "/opt/venv", "-writable", "-not", "-type", "l").split()
    assert writable == [], "the application can change itself"


def test_the_image_gives_no_rights_away_besides_those_of_its_base(image: str) -> None:
    base = "python:3.13-slim-trixie"
    for rights in (
        # For everybody to write to; where only owners remove what is theirs, that is meant.
        ("-perm", "-0002", "-not", "-perm", "-1000", "-not", "-type", "l"),
        # With the rights of their owners, whoever runs them.
        ("-perm", "/6000", "-type", "f"),
    ):
        find = ("find", "/", "-xdev", *rights)
        as_root = ("--user", "0")
        before = set(run(base, *find, options=as_root).split())
        assert set(run(image, *find, options=as_root).split()) <= before
    owned = run(image, "find", "/", "-xdev", "-user", "1000", options=("--user", "0")).split()
    assert set(owned) <= {"/var/lib/beat"}


def test_no_secret_of_the_server_is_in_the_image(server: Path, image: str) -> None:
    variables = (server / ".env").read_text("utf-8") + (server / "app.env").read_text("utf-8")
    secrets_there = re.findall(
        r"^\w*(?:SECRET|PASSWORD|TOKEN)\w*=(\S{8,})$", variables, re.MULTILINE
    )
    assert len(secrets_there) >= 3
    told = docker("inspect", image).stdout + docker("history", "--no-trunc", image).stdout
    assert "collectstatic" in told
    for secret in secrets_there:
        assert secret not in told
        found = docker(
            "run", "--rm", image, "grep", "--recursive", "--fixed-strings", secret, "/app"
        )
        assert (found.returncode, found.stdout) == (1, "")


def test_static_files_in_the_image_are_named_after_their_content(image: str) -> None:
    manifest = json.loads(run(image, "cat", "/app/staticfiles/staticfiles.json"))
    name = manifest["paths"]["site.css"]
    assert re.fullmatch(r"site\.[0-9a-f]{12}\.css", name)
    assert "/app/staticfiles/" + name in run(image, "find", "/app/staticfiles", "-name", "site.*")


@pytest.mark.parametrize("process", ["release", *APPLICATION])
def test_a_container_without_variables_ends_with_one_message(
    server: Path, process: str, image: str
) -> None:
    services = yaml.safe_load((server / "compose.production.yml").read_text("utf-8"))["services"]
    result = docker("run", "--rm", *LOCKED_DOWN, image, *services[process]["command"].split())
    assert result.returncode != 0
    output = result.stdout + result.stderr
    for name in ("SECRET_KEY", "ALLOWED_HOSTS", "DATABASE_URL", "REDIS_URL", "EMAIL_HOST"):
        assert len(re.findall(rf"\b{name}\b", output)) == 1, output
    assert "Traceback" not in output


def test_the_image_alone_serves_from_a_file_system_that_it_cannot_change(image: str) -> None:
    variables = production_environment("postgres://u:p@127.0.0.1:1/n", "redis://127.0.0.1:1/0")
    options = [f"--env={name}={value}" for name, value in variables.items()]
    started = docker("run", "--detach", "--rm", *LOCKED_DOWN, *options, image)
    assert started.returncode == 0, started.stderr
    container = started.stdout.strip()
    ask = "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/health/', timeout=5)"
    try:
        wait_until(
            lambda: docker("exec", container, "python", "-c", ask).returncode == 0, 30, "/health/"
        )
    finally:
        docker("rm", "--force", "--volumes", container)


def test_a_change_of_code_installs_no_dependency_again(
    project: Path, image: str, images: Images, tmp_path: Path
) -> None:
    changed = Path(shutil.copytree(project, tmp_path / "changed"))
    with (changed / "templates" / "home.html").open("a", encoding="utf-8") as page:
        page.write("<!-- changed -->\n")
    result = images.build(changed, f"{image}:changed")
    assert result.returncode == 0, result.stdout + result.stderr
    # Without buildx the older builder works, which says it in its own words.
    output, cached = result.stdout + result.stderr, r".*\n( ---> Using cache|#\d+ CACHED)"
    assert re.search(f"RUN uv sync{cached}", output), output
    assert not re.search(f"RUN python -m compileall{cached}", output), output


def test_an_image_without_lock_file_is_not_built(
    project: Path, images: Images, tmp_path: Path
) -> None:
    unlocked = Path(shutil.copytree(project, tmp_path / "unlocked"))
    (unlocked / "uv.lock").unlink()
    result = images.build(unlocked, f"{project.name}:unlocked")
    assert result.returncode != 0
    # A builder adds colours, or the step and the time.
    output = re.sub(r"\x1b\[[0-9;]*m|^#\d+ [\d.]+ ", "", result.stdout + result.stderr, flags=re.M)
    assert "uv.lock is missing: run 'uv lock' and commit it." in output.splitlines()
    assert "Traceback" not in output


def test_an_image_with_a_broken_reference_is_not_built(
    project: Path, image: str, images: Images, tmp_path: Path
) -> None:
    broken = Path(shutil.copytree(project, tmp_path / "broken"))
    with (broken / "static" / "site.css").open("a", encoding="utf-8") as style:
        style.write('body { background: url("missing.png"); }\n')
    result = images.build(broken, f"{image}:broken")
    assert result.returncode != 0
    assert "missing.png" in result.stdout + result.stderr


@dataclass
class Deployment:
    """The containers of one project, whose files are those of COMPOSE_FILE unless it names some."""

    folder: Path
    name: str
    files: tuple[str, ...] = ()

    def compose(self, *arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a Compose command and return it, whatever its exit code; see `docker`."""
        files = [part for file in self.files for part in ("--file", file)]
        return docker(
            *("compose", "--project-name", self.name, *files, *arguments),
            folder=self.folder,
            timeout=timeout,
        )

    def page(self, part: str, **placeholders: str) -> str:
        """Return what a block of docs/deploy.md prints; its exit code is 0.

        Args:
            part: a text that no other block holds.
            placeholders: what the page leaves to the operator -> what stands there.
        """
        result = self.try_page(part, **placeholders)
        assert result.returncode == 0, "\n".join([result.stderr, *self.log()])
        return result.stdout

    def try_page(
        self, part: str, before: str = "", **placeholders: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a block of docs/deploy.md after the one that defines `put`; see `page`.

        Args:
            part: a text that no other block holds.
            before: commands of the test.
            placeholders: what the page leaves to the operator -> what stands there.
        """
        block = compose.page_block(self.folder, part)
        for name, value in placeholders.items():
            block = re.sub(rf"\b{name}\b", value, block)
        return subprocess.run(
            ["sh", "-euc", compose.page_block(self.folder, "put() {") + before + block],
            cwd=self.folder,
            env=engine_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=250,
            check=False,
        )

    def up(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Start everything, or the services named, and wait until they are healthy."""
        return self.compose("up", "--detach", "--wait", *arguments, timeout=250)

    def run(self, service: str, *command: str) -> str:
        """Return what a command in a service's container prints; its exit code is 0."""
        result = self.compose("exec", "-T", service, *command)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    def container(self, service: str) -> dict[str, Any]:
        """Return what `docker inspect` tells about a service's one container."""
        [number] = self.compose("ps", "--all", "--quiet", service).stdout.split()
        [described] = json.loads(docker("inspect", number).stdout)
        container: dict[str, Any] = described
        return container

    def log(self, *services: str) -> list[str]:
        """Return the lines of the services' logs."""
        options = ("--no-log-prefix", "--no-color")
        return self.compose("logs", *options, *services).stdout.splitlines()

    def address(self, service: str, port: int) -> str:
        """Return `host:port` at which this machine reaches a service's port."""
        return self.compose("port", service, str(port)).stdout.strip()

    def visit(self, path: str) -> Response:
        """Get a page as a visitor does, by HTTPS and through Caddy."""
        authority = self.run("caddy", "cat", "/data/caddy/pki/authorities/local/root.crt")
        port = int(self.address("caddy", 443).rpartition(":")[2])
        context = ssl.create_default_context(cadata=authority)
        with closing(HTTPSConnection("localhost", port, timeout=30, context=context)) as connection:
            connection.request("GET", path)
            answer = connection.getresponse()
            headers = {name.lower(): value for name, value in answer.getheaders()}
            return Response(answer.status, headers, answer.read())


@contextmanager
def deployment(folder: Path, name: str, *files: str) -> Iterator[Deployment]:
    """Yield a deployment that is taken down at the end, data included.

    Args:
        folder: the project.
        name: Compose's project name.
        files: the Compose files; those of COMPOSE_FILE if none is given.
    """
    deployment = Deployment(folder, name, files)
    try:
        yield deployment
    finally:
        deployment.compose("down", "--volumes", "--remove-orphans", "--timeout", "0")


@pytest.fixture(scope="module")
def site(server: Path, image: str) -> Iterator[Deployment]:
    """The production file, with every service up."""
    with deployment(server, server.name) as site:
        up = site.up("--build")
        assert up.returncode == 0, "\n".join([up.stderr, *site.log()])
        # Built once, although many services run it.
        assert up.stdout.count("Successfully tagged ") <= 1
        check_release(site)
        yield site


def moment(container: dict[str, Any], state: str) -> datetime:
    """Return when a container got into a state, such as `StartedAt`."""
    return datetime.fromisoformat(container["State"][state])


def check_release(site: Deployment) -> None:
    """Assert that the release ran once and before the rest; later tests run it again."""
    release = site.container("release")
    assert release["State"]["ExitCode"] == 0
    assert [line.startswith("Released ") for line in site.log("release")].count(True) == 1
    for service in APPLICATION:
        assert moment(release, "FinishedAt") < moment(site.container(service), "StartedAt")


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_is_healthy_and_confined(site: Deployment, service: str) -> None:
    container = site.container(service)
    limits = container["HostConfig"]
    assert container["State"]["Health"]["Status"] == "healthy"
    assert limits["ReadonlyRootfs"] is True
    assert limits["CapDrop"] == ["ALL"]
    assert "no-new-privileges:true" in limits["SecurityOpt"]
    assert limits["Memory"] > 0 and limits["PidsLimit"] > 0
    assert limits["LogConfig"]["Config"]["max-size"] == "10m"
    assert (limits["PortBindings"] != {}) == (service == "caddy"), "the world can reach it"


def test_the_main_process_of_a_server_has_no_rights(site: Deployment) -> None:
    for service in ("postgres", "broker", "web"):
        status = site.run(service, "cat", "/proc/1/status")
        assert not re.search(r"^Uid:.*\b0\b", status, re.MULTILINE), service
        assert "CapEff:\t0000000000000000" in status, service


def test_the_broker_keeps_everything_and_lets_nobody_in(site: Deployment) -> None:
    wanted = {"appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction"}
    for name, value in {**wanted, "maxmemory": str(256 * 1024**2)}.items():
        assert site.run("broker", "valkey-cli", "config", "get", name).split() == [name, value]
    # The variables of the service hold the password.
    stranger = ("env", "-u", "VALKEYCLI_AUTH", "-u", "REDISCLI_AUTH", "valkey-cli", "ping")
    assert "NOAUTH" in site.run("broker", *stranger)


@pytest.mark.parametrize("service", APPLICATION)
def test_doctor_finds_nothing(site: Deployment, service: str) -> None:
    assert "PROBLEM" not in site.run(service, "python", "manage.py", "doctor", "--wait", "20")


def test_the_site_is_served_with_its_static_files(site: Deployment) -> None:
    assert site.visit("/ready/").status == 200
    page = site.visit("/")
    assert page.status == 200
    assert "strict-transport-security" in page.headers
    style = re.search(r'rel="stylesheet" href="([^"]+)"', page.text)
    assert style
    assert "immutable" in site.visit(style[1]).headers["cache-control"]


def test_http_is_sent_to_https(site: Deployment) -> None:
    plain = http_get(f"http://{site.address('caddy', 80)}/a/?b=c", host="localhost")
    assert (plain.status, plain.headers["location"]) == (308, "https://localhost/a/?b=c")


def test_a_worker_told_to_stop_puts_its_task_back_within_its_grace_period(
    site: Deployment,
) -> None:
    worker = site.container("worker")
    code = "from apps.trial import tasks; tasks.sleep.delay('long', 20)"
    site.run("web", "python", "manage.py", "shell", "--command", code)
    wait_until(lambda: received(site) == 1, 20, "the task to be received")
    started = time.monotonic()
    assert site.compose("stop", "worker").returncode == 0
    assert time.monotonic() - started < worker["Config"]["StopTimeout"]
    assert site.container("worker")["State"]["ExitCode"] != 137, "it had to be killed"
    waiting = site.run("broker", "valkey-cli", "lrange", "default", "0", "-1")
    assert waiting.count('"task": "apps.trial.tasks.sleep"') == 1, waiting
    docker("start", worker["Id"])
    wait_until(lambda: received(site) == 2, 30, "the next worker to receive the task")


def received(site: Deployment) -> int:
    """Return how often the worker has received the task that sleeps."""
    return len(
        [line for line in site.log("worker") if re.search(r"tasks\.sleep\S+ received", line)]
    )


@pytest.mark.parametrize("service", APPLICATION)
def test_a_process_told_to_stop_ends_well_and_every_line_of_its_log_is_json(
    site: Deployment, service: str
) -> None:
    container = site.container(service)
    assert site.compose("stop", service).returncode == 0
    assert site.container(service)["State"]["ExitCode"] == 0, "it did not end by itself"
    assert json_objects(service, site.log(service))
    docker("start", container["Id"])


def count(site: Deployment, service: str) -> int:
    """Return how many healthy containers a service has."""
    containers = site.compose("ps", "--quiet", service).stdout.split()
    for container in containers:
        state = docker("inspect", "--format", "{{.State.Health.Status}}", container).stdout
        assert state.strip() == "healthy"
    return len(containers)


@pytest.mark.parametrize("project", ["redbeat"], indirect=True)
def test_the_worker_is_scaled_by_the_page(site: Deployment) -> None:
    site.page("put .env WORKERS 3")
    assert count(site, "worker") == 3
    site.page("put .env QUEUE_WORKERS 1")
    assert count(site, "worker") == 0
    for queue in ("default", "notifications", "maintenance"):
        assert count(site, f"worker-{queue}") == 1
    # Its task is for the queue `maintenance`.
    assert "ok       round trip" in site.run("web", "python", "manage.py", "doctor")
    variables = re.sub("(QUEUE_)?WORKERS=.*\n", "", (site.folder / ".env").read_text("utf-8"))
    (site.folder / ".env").write_text(variables, encoding="utf-8")
    assert site.up("--scale", "worker=2").returncode == 0
    assert (count(site, "worker"), count(site, "worker-default")) == (2, 0)
    assert site.up().returncode == 0
    assert count(site, "worker") == 1


@pytest.mark.parametrize("project", ["redbeat"], indirect=True)
def test_a_second_beat_waits_for_the_lock_and_is_healthy(site: Deployment) -> None:
    assert site.up("--scale", "beat=2").returncode == 0
    assert count(site, "beat") == 2
    wait_until(lambda: any("another beat ticks" in line for line in site.log("beat")), 20, "it")
    assert site.up().returncode == 0
    assert count(site, "beat") == 1


@pytest.mark.parametrize("project", ["code"], indirect=True)
@pytest.mark.parametrize("name", ["SECRET_KEY_FALLBACKS", "POSTGRES_PASSWORD", "BROKER_PASSWORD"])
def test_a_secret_is_rotated_by_the_page(site: Deployment, name: str) -> None:
    before = [(site.folder / file).read_text("utf-8") for file in (".env", "app.env")]
    output = site.page(f" {name} ")
    after = [(site.folder / file).read_text("utf-8") for file in (".env", "app.env")]
    assert before != after
    secrets = re.findall("[0-9a-f]{64}", "".join(after))
    assert not any(secret in output for secret in secrets)
    for service in APPLICATION:
        site.run(service, "python", "manage.py", "doctor", "--wait", "20")
    assert site.run("backup", "sh", "/deploy/backup.sh", "now")


@pytest.mark.parametrize("project", ["code"], indirect=True)
def test_a_deployment_by_the_page_ends_with_a_release_that_fails(site: Deployment) -> None:
    before = site.container("web")["Id"]
    # There is no repository to pull from; the output tells how far the commands came.
    git = "git() { echo pulled; }; "
    variables = (site.folder / "app.env").read_text("utf-8")
    (site.folder / "app.env").write_text(f"{variables}ALLOWED_HOSTS=*\n", encoding="utf-8")
    failed = site.try_page("git pull", git)
    (site.folder / "app.env").write_text(variables, encoding="utf-8")
    assert failed.returncode != 0
    assert "pulled\nbackup: wrote " in failed.stdout
    assert "ALLOWED_HOSTS holds *" in failed.stdout + failed.stderr
    assert site.container("web")["Id"] == before
    assert site.visit("/ready/").status == 200

    done = site.try_page("git pull", git)
    assert done.returncode == 0, done.stderr
    assert site.visit("/ready/").status == 200


@pytest.mark.parametrize("project", ["code"], indirect=True)
def test_a_backup_is_restored_by_the_page(site: Deployment) -> None:
    def accounts() -> str:
        """Return how many accounts there are."""
        code = "from apps.accounts.models import User; print('accounts:', User.objects.count())"
        output = site.run("web", "python", "manage.py", "shell", "--command", code)
        found = re.search(r"accounts: (\d+)", output)
        assert found
        return found[1]

    before = accounts()
    made = site.run("backup", "sh", "/deploy/backup.sh", "now")
    name = re.search(r"wrote /backups/(\S+\.dump)", made)
    assert name
    create = "from apps.accounts.models import User; User.objects.create(email='a@example.com')"
    site.run("web", "python", "manage.py", "shell", "--command", create)
    assert accounts() != before
    refused = site.compose("exec", "-T", "backup", "sh", "/deploy/restore.sh")
    assert refused.returncode == 1
    assert "are open; stop what uses it" in refused.stderr
    site.page("restore.sh FILE &&\ndocker compose up --detach", FILE=name[1])
    assert accounts() == before
    assert "ok       migrations" in site.run("web", "python", "manage.py", "doctor", "--wait", "20")


def test_a_release_that_fails_lets_nothing_start(server: Path, image: str, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(server, tmp_path / "failing"))
    variables = (folder / "app.env").read_text("utf-8")
    (folder / "app.env").write_text(
        re.sub("SECRET_KEY=.*", "SECRET_KEY=short", variables), encoding="utf-8"
    )
    with deployment(folder, f"{server.name}_failing") as failing:
        assert failing.up().returncode != 0
        assert failing.container("release")["State"]["ExitCode"] != 0
        assert any("SECRET_KEY" in line for line in failing.log("release"))
        for service in APPLICATION:
            assert moment(failing.container(service), "StartedAt").year == 1, "it was started"


@pytest.mark.parametrize("variable", ["POSTGRES_PASSWORD", "BROKER_PASSWORD"])
def test_the_production_file_wants_its_passwords(
    server: Path, variable: str, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(server, tmp_path / "incomplete"))
    complete = Deployment(folder, server.name)
    assert complete.compose("config", "--quiet").returncode == 0
    for blank in (f"{variable}=", ""):
        lines = (server / ".env").read_text("utf-8").splitlines()
        kept = [line for line in lines if not line.startswith(variable)]
        (folder / ".env").write_text("\n".join([*kept, blank]), encoding="utf-8")
        refused = complete.compose("config", "--quiet")
        assert refused.returncode != 0
        assert variable in refused.stderr


def test_the_development_file_runs_the_code_of_the_folder(
    project: Path, images: Images, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(project, tmp_path / "development"))
    override = tmp_path / "free_port.yml"
    override.write_text(FREE_PORT, encoding="utf-8")
    # In the place of Mailpit, whose image is not asked for.
    mail = tmp_path / "mail.yml"
    mail.write_text(mail_service("mailpit", f"{project.name}:development", 1025), encoding="utf-8")
    files = ("compose.yml", str(override), str(mail))
    with deployment(folder, f"{project.name}-development", *files) as development:
        assert development.compose("config", "--quiet").returncode == 0
        images.tags.add(f"{project.name}:development")
        up = development.up("--build", "mailpit", *APPLICATION)
        assert up.returncode == 0, "\n".join([up.stderr, *development.log()])
        url = "http://" + development.address("web", 8000)
        wait_until(lambda: answers(f"{url}/ready/"), 30, "/ready/")
        page = folder / "templates" / "home.html"
        page.write_text(page.read_text("utf-8").replace("<h1>", "<h1>Changed "), encoding="utf-8")
        assert "<h1>Changed " in http_get(f"{url}/").text
        assert "ok       round trip" in development.run(
            "worker", "python", "manage.py", "doctor", "--wait", "20"
        )


def answers(url: str) -> bool:
    """Return whether a page is there."""
    try:
        return http_get(url).status == 200
    except OSError:
        return False
