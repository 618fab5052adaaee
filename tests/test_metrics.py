"""The metrics, scraped by a real Prometheus; its alerts in real faults; the mails about them."""

import http.client
import json
import re
import shlex
import shutil
import signal
import ssl
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import psutil
import pytest
import redis as redis_client
import yaml

from tests.conftest import Bake
from tests.processes import Process, Response, Stack, free_port, http_get, wait_until
from tests.production import (
    METRICS_TOKEN,
    PROXY_HEADERS,
    prepare,
    production,
    production_environment,
    query,
)
from tests.servers.postgres import Postgres, PostgresServer
from tests.servers.redis import Redis
from tests.servers.smtp import SMTPServer
from tests.servers.tls import Authority, TLSProxy
from tests.users import replace_once

pytestmark = pytest.mark.xdist_group("metrics")

TOKEN = METRICS_TOKEN
BEARER = {"Authorization": f"Bearer {TOKEN}"}
# Also the host of the certificates, which has an address everywhere.
HOST = "localhost"
RECIPIENT = "operator@example.com"

# So many times faster than in a project the rules are here, and 15 seconds at most.
HASTE = 20
LONGEST = 15
# In seconds; a scrape takes one, and four if something hangs.
SCRAPE_INTERVAL = 5
# What takes minutes in a project, in seconds: file, its line, and the line for the tests.
QUICK = (
    ("apps/operations/metrics/certificates.py", "MAX_AGE = 600.0", "MAX_AGE = 1.0"),
    ("apps/operations/overdue.py", "timedelta(minutes=2)", "timedelta(seconds=4)"),
)
MEMORY = 32 * 1024**2  # bytes that the broker may have


def needs(*programs: str) -> pytest.MarkDecorator:
    """Return the mark of a test that needs programs of Debian."""
    missing = [program for program in programs if shutil.which(program) is None]
    return pytest.mark.skipif(bool(missing), reason=f"there is no {' and no '.join(missing)}")


def run(*command: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, with its output as text."""
    return subprocess.run(
        command, cwd=folder, env=variables or None, capture_output=True, text=True, check=False
    )


def promtool(*arguments: str, folder: Path) -> None:
    """Expect that promtool finds no fault."""
    result = run("promtool", *arguments, folder=folder)
    assert result.returncode == 0, result.stdout + result.stderr


KINDS = [
    {"hosting": "compose"},
    {"hosting": "dokku", "scheduler": "platform", "project_slug": "a"},
    {"hosting": "azure", "scheduler": "code", "project_slug": "z" * 40},
]


@needs("promtool")
@pytest.mark.parametrize("answers", KINDS, ids=lambda answers: answers["hosting"])
def test_the_alert_rules_pass_their_own_tests(bake: Bake, answers: dict[str, str]) -> None:
    folder = bake(use_prometheus="true", **answers) / "monitoring"
    promtool("check", "rules", "alerts.yml", folder=folder)
    promtool("test", "rules", "alerts.test.yml", folder=folder)


@pytest.mark.slow
@needs("promtool")
def test_the_tests_of_the_rules_notice_another_threshold_or_time(
    bake_copy: Bake,
) -> None:
    folder = bake_copy(use_prometheus="true") / "monitoring"
    rules = (folder / "alerts.yml").read_text("utf-8")
    changes = [match.span(1) for match in re.finditer(r" [<>]=? ([0-9.]+)$", rules, re.MULTILINE)]
    changes += [match.span(1) for match in re.finditer(r"for: (\d+)m$", rules, re.MULTILINE)]
    assert len(changes) >= 16
    for start, end in changes:
        other = 3 * (float(rules[start:end]) or 1)
        changed = f"{rules[:start]}{other:g}{rules[end:]}"
        (folder / "alerts.yml").write_text(changed, encoding="utf-8")
        result = run("promtool", "test", "rules", "alerts.test.yml", folder=folder)
        assert result.returncode != 0, rules[start - 80 : end]


def test_every_alert_says_how_bad_it_is_and_what_to_do(bake: Bake) -> None:
    project = bake(use_prometheus="true")
    page = (project / "docs" / "metrics.md").read_text("utf-8")
    for rule in alert_rules(project):
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert set(rule["annotations"]) == {"summary", "description"}
        assert f"| `{rule['alert']}` |" in page


def alert_rules(project: Path) -> list[dict[str, Any]]:
    """Return the alert rules of a project."""
    [group] = yaml.safe_load((project / "monitoring/alerts.yml").read_text("utf-8"))["groups"]
    rules: list[dict[str, Any]] = group["rules"]
    return rules


def test_the_page_lists_every_metric_and_no_other(bake: Bake) -> None:
    project = bake(use_prometheus="true")
    page = (project / "docs" / "metrics.md").read_text("utf-8")
    listed = set(re.findall(r"^\| `([a-z_]+)` \|", page, re.MULTILINE))
    code = "".join(
        file.read_text("utf-8") for file in (project / "apps/operations/metrics").glob("*.py")
    )
    pattern = r'\b(Counter|Gauge|Histogram|\w*MetricFamily|gauge)\(\s*"([a-z_]+)"'
    found = {
        name + ("_total" if kind.startswith("Counter") else "")
        for kind, name in re.findall(pattern, code)
    }
    assert listed == found


# --- A project with everything around it ---------------------------------------------------------


def quick_rules(text: str) -> str:
    """Return alert rules whose times are `HASTE` times shorter, and none longer than `LONGEST`.

    The threshold of the heartbeat is a time too.
    """

    def shorter(match: re.Match[str]) -> str:
        seconds = int(match["number"]) * {"m": 60, "h": 3600}[match["unit"]] / HASTE
        return f"{match['before']}{min(seconds, LONGEST):.0f}s"

    # A window holds three scrapes at least.
    text = re.sub(r"(?P<before>for: |\[)(?P<number>\d+)(?P<unit>[mh])\b", shorter, text)
    quick, count = re.subn(r"> 180$", f"> {180 // HASTE}", text, flags=re.MULTILINE)
    assert count == 1
    return quick


def get(stack: Stack, path: str, timeout: float = 10.0) -> Response:
    """Get a page as a visitor does, through the proxy that ends TLS."""
    return http_get(stack.url + path, host=HOST, headers=PROXY_HEADERS, timeout=timeout)


def scrape(stack: Stack, headers: Mapping[str, str] = BEARER) -> Response:
    """Ask for the metrics as Prometheus does in the network of the containers."""
    return http_get(f"{stack.url}/metrics", host="web:8000", headers=headers, timeout=10)


def value(text: str, series: str) -> float:
    """Return the value of one series of a scrape, 0 if it is not there."""
    match = re.search(rf"^{re.escape(series)} (\S+)$", text, re.MULTILINE)
    return float(match[1]) if match else 0.0


@dataclass(frozen=True)
class Site:
    """A running project whose parts can be broken, and the Prometheus that watches it."""

    stack: Stack
    postgres: Postgres
    redis: Redis
    mails: SMTPServer
    authority: Authority
    unknown_authority: Authority
    tls: ssl.SSLContext
    prometheus: str
    processes: dict[str, Process]

    def ask(self, path: str, **parameters: str) -> Any:
        """Return the data that Prometheus answers with."""
        response = http_get(f"{self.prometheus}/api/v1/{path}?{urlencode(parameters)}", timeout=10)
        answer = response.json()
        assert answer["status"] == "success", answer
        return answer["data"]

    def firing(self) -> set[str]:
        """Return the names of the alerts that fire."""
        alerts = self.ask("alerts")["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}

    def wait_for_alerts(self, names: set[str], timeout: float = 120) -> None:
        """Wait until each of some alerts has fired."""
        missing = set(names)
        deadline = time.monotonic() + timeout
        while missing := missing - self.firing():
            assert time.monotonic() < deadline, f"{missing} did not fire: {self.state()}"
            time.sleep(0.5)

    def wait_for_silence(self, timeout: float = 180) -> None:
        """Wait until no alert fires."""
        deadline = time.monotonic() + timeout
        while firing := self.firing():
            assert time.monotonic() < deadline, f"{firing} did not resolve: {self.state()}"
            time.sleep(0.5)

    def state(self) -> str:
        """Return what Prometheus knows, for a failure."""
        rules = self.ask("rules")["groups"][0]["rules"]
        known = {rule["name"]: (rule["state"], rule["query"]) for rule in rules}
        values = {
            name: self.ask("query", query=re.sub(r" [<>] [0-9.]+( \* 86400)?$", "", query))[
                "result"
            ]
            for name, (state, query) in known.items()
        }
        target = self.ask("targets")["activeTargets"][0]
        return f"{known}\n{values}\n{target['lastError']} {target['lastScrapeDuration']}"

    @contextmanager
    def without(self, name: str) -> Iterator[None]:
        """Stop a process, and start it again."""
        self.processes.pop(name).terminate(20)
        try:
            yield
        finally:
            self.processes[name] = getattr(self.stack, name)()

    @contextmanager
    def tasks_that_fail(self) -> Iterator[None]:
        """Let tasks fail all the time."""
        code = (
            "import time; from apps.trial.tasks import fail\n"
            "while True: fail.delay('private'); time.sleep(0.5)"
        )
        command = shlex.join(["python", "manage.py", "shell", "-c", code])
        self.stack.commands = {**self.stack.commands, "noise": command}
        with self.stack.start("noise"):
            yield

    @contextmanager
    def visitors(self, path: str) -> Iterator[None]:
        """Let a visitor ask for a page all the time."""
        ended = threading.Event()

        def visit() -> None:
            while not ended.wait(0.2):
                get(self.stack, path)

        with ThreadPoolExecutor(1) as pool:
            visits = pool.submit(visit)
            try:
                yield
            finally:
                ended.set()
        visits.result()

    @contextmanager
    def certificate(self, authority: Authority, days: float) -> Iterator[None]:
        """Let the site show another certificate."""
        authority.certify(self.tls, days=days)
        try:
            yield
        finally:
            self.authority.certify(self.tls, days=90)

    @contextmanager
    def full_memory(self) -> Iterator[None]:
        """Fill the broker's memory, but for a few percent."""
        with redis_client.Redis.from_url(self.redis.url()) as client:
            # Not at once: what is on its way counts too.
            while client.info("memory")["used_memory"] < MEMORY * 0.9:
                client.rpush("filler", b"x" * 65_536)
            try:
                yield
            finally:
                client.delete("filler")

    @contextmanager
    def frozen_broker(self) -> Iterator[None]:
        """Let the broker accept connections and answer nothing."""
        self.redis.freeze()
        try:
            yield
        finally:
            self.redis.thaw()


@pytest.fixture(scope="module")
def project(bake: Bake, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with metrics, in which nothing takes long."""
    folder = tmp_path_factory.mktemp("metrics") / "my_project"
    shutil.copytree(bake(use_prometheus="true"), folder)
    for name, slow, quick in QUICK:
        replace_once(folder / name, slow, quick)
    return prepare(folder)


def monitoring_files(project: Path, folder: Path, web: int, alertmanager: int) -> Path:
    """Copy the files of the monitoring with the addresses of a test, and with quick rules.

    Args:
        project: whose files.
        folder: where they go, and in place of the containers' `/tmp`.
        web: port of the web process.
        alertmanager: port of Alertmanager.
    """
    shutil.copytree(project / "monitoring", folder, dirs_exist_ok=True)
    for name, changes in {
        "prometheus.yml": {
            "web:8000": f"127.0.0.1:{web}",
            "alertmanager:9093": f"127.0.0.1:{alertmanager}",
            "/tmp/": f"{folder}/",
            "scrape_interval: 15s": f"scrape_interval: {SCRAPE_INTERVAL}s\n"
            f"  scrape_timeout: {SCRAPE_INTERVAL}s",
            "evaluation_interval: 15s": "evaluation_interval: 1s",
        },
        "prometheus.sh": {"> /tmp/": f"> {folder}/"},
        "alertmanager.sh": {
            "cat > /tmp/": f"cat > {folder}/",
            "file=/tmp/": f"file={folder}/",
            "group_wait: 30s": "group_wait: 1s",
            "group_interval: 5m": "group_interval: 2s",
        },
    }.items():
        for old, new in changes.items():
            replace_once(folder / name, old, new)
    rules = folder / "alerts.yml"
    rules.write_text(quick_rules(rules.read_text("utf-8")), encoding="utf-8")
    return folder


def debian_programs(folder: Path) -> str:
    """Return a PATH on which Alertmanager has the name that it has in its image."""
    folder.mkdir()
    program = shutil.which("prometheus-alertmanager")
    assert program
    (folder / "alertmanager").symlink_to(program)
    return f"{folder}:/usr/bin:/bin"


@pytest.fixture(scope="module")
def site(
    project: Path,
    postgres: PostgresServer,
    authority: Authority,
    unknown_authority: Authority,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    """The project with all its processes, Prometheus and Alertmanager."""
    if not isinstance(postgres, Postgres):
        pytest.skip("DATABASE_URL names a server that these tests cannot stop")
    folder = tmp_path_factory.mktemp("monitoring")
    tls = authority.server_context()
    with ExitStack() as exit_stack:
        redis = exit_stack.enter_context(Redis())
        with redis_client.Redis.from_url(redis.url()) as client:
            client.config_set("maxmemory", MEMORY)
        proxy = exit_stack.enter_context(TLSProxy(redis.port, tls))
        certificates = project / "apps/operations/metrics/certificates.py"
        replace_once(certificates, "PORT = 443", f"PORT = {proxy.port}")
        authority.certify(tls, days=90)
        mails = exit_stack.enter_context(SMTPServer())
        environment = production_environment(
            postgres.create_database(),
            redis.url(),
            METRICS_TOKEN=TOKEN,
            ALLOWED_HOSTS=HOST,
            SSL_CERT_FILE=str(authority.file),
        )
        stack = exit_stack.enter_context(production(project, environment))
        processes = {"web": stack.web(), "worker": stack.worker(), "beat": stack.beat()}
        ports = {"prometheus": free_port(), "alertmanager": free_port()}
        files = monitoring_files(project, folder / "files", stack.port, ports["alertmanager"])
        path = debian_programs(folder / "bin")
        compose = yaml.safe_load((project / "compose.production.yml").read_text("utf-8"))
        variables = {
            "prometheus": {"METRICS_TOKEN": TOKEN},
            "alertmanager": {
                "ALERT_RECIPIENTS": f"{RECIPIENT}, second@example.com",
                "EMAIL_HOST": "127.0.0.1",
                "EMAIL_PORT": str(mails.port),
                "EMAIL_USE_TLS": "false",
            },
        }
        for name, port in ports.items():
            options = [
                option.replace("=/prometheus", f"={folder}/data").replace(
                    "=/alertmanager", f"={folder}/state"
                )
                for option in compose["services"][name]["command"]
            ]
            command = ["sh", f"{files}/{name}.sh", *options]
            command.append(f"--web.listen-address=127.0.0.1:{port}")
            processes[name] = exit_stack.enter_context(
                Process(
                    command,
                    folder=folder,
                    environment={"PATH": path, **variables[name]},
                    name=name,
                )
            )
        url = f"http://127.0.0.1:{ports['prometheus']}"
        site = Site(
            stack,
            postgres,
            redis,
            mails,
            authority,
            unknown_authority,
            tls,
            url,
            processes,
        )
        processes["prometheus"].wait_for_line("Server is ready to receive web requests", 30)
        wait_until(lambda: site.ask("query", query="up == 1")["result"], 30, "a scrape")
        yield site
        postgres.recover()


@pytest.mark.slow
@needs("prometheus", "prometheus-alertmanager")
def test_every_alert_fires_in_its_fault_and_resolves_after_it(site: Site) -> None:
    names = {rule["alert"] for rule in alert_rules(site.stack.project)}
    phases: list[tuple[set[str], list[Callable[[], Any]]]] = [
        (
            {
                "BeatSilent",
                "TasksOverdue",
                "TasksFailing",
                "SiteSlow",
                "SiteFailing",
                "CertificateExpiring",
                "BrokerMemoryFull",
            },
            [
                partial(site.without, "beat"),
                site.tasks_that_fail,
                partial(site.visitors, "/trial/sleep/?seconds=1.5"),
                partial(site.visitors, "/trial/sleep/?seconds=nonsense"),
                partial(site.certificate, site.authority, 3),
                site.full_memory,
            ],
        ),
        (
            {"WorkersDown", "QueueGrowing", "CertificateWrong"},
            [
                partial(site.without, "worker"),
                partial(backlog, site.stack),
                partial(site.certificate, site.unknown_authority, 90),
            ],
        ),
        ({"PartDown"}, [site.frozen_broker]),
        ({"WebDown"}, [partial(site.without, "web")]),
    ]
    assert set().union(*(alerts for alerts, _ in phases)) == names
    site.wait_for_silence()
    for alerts, faults in phases:
        with ExitStack() as faults_of_phase:
            for fault in faults:
                faults_of_phase.enter_context(fault())
            site.wait_for_alerts(alerts)
        site.wait_for_silence()
    wait_until(lambda: len(subjects(site.mails, "RESOLVED")) >= len(names), 30, "all mails")
    for name in names:
        assert subjects(site.mails, f"FIRING:\\d+] {name}"), name
    for mail in site.mails.inbox:
        assert mail.recipients in {
            (RECIPIENT,),
            ("second@example.com",),
            (RECIPIENT, "second@example.com"),
        }


@contextmanager
def backlog(stack: Stack) -> Iterator[None]:
    """Let more tasks wait than is right."""
    code = "from apps.trial.tasks import record\nfor n in range(150): record.delay('many')"
    result = stack.manage("shell", "--command", code)
    assert result.returncode == 0, result.stderr
    yield


def subjects(mails: SMTPServer, pattern: str) -> list[str]:
    """Return the subjects that match."""
    found = [str(mail.message["Subject"]) for mail in mails.inbox]
    return [subject for subject in found if re.search(pattern, subject)]


@pytest.mark.slow
@needs("prometheus", "prometheus-alertmanager")
def test_every_panel_of_the_dashboard_gets_an_answer(site: Site) -> None:
    dashboards = site.stack.project / "monitoring/grafana/dashboards"
    board = json.loads((dashboards / "overview.json").read_text("utf-8"))
    targets = [
        (panel["title"], target["expr"].replace("$__rate_interval", "30s"))
        for panel in board["panels"]
        for target in panel.get("targets", ())
    ]
    assert len(targets) >= 15

    def empty() -> set[str]:
        """Return the panels without data while somebody visits the site."""
        assert get(site.stack, "/").status == 200
        return {title for title, query in targets if not site.ask("query", query=query)["result"]}

    # Nothing has failed, unless another test came first.
    wait_until(lambda: empty() <= {"Failures and retries per second"}, 90, "data in all panels")
    for annotation in board["annotations"]["list"]:
        site.ask("query", query=annotation["expr"])


@pytest.mark.slow
@needs("prometheus", "prometheus-alertmanager")
@pytest.mark.parametrize(
    ("server", "sources"), [("postgres", {"database"}), ("redis", {"broker", "workers"})]
)
def test_a_scrape_is_answered_in_time_while_a_server_hangs(
    site: Site, server: str, sources: set[str]
) -> None:
    getattr(site, server).freeze()
    try:
        for _ in range(3):
            started = time.monotonic()
            text = scrape(site.stack).text
            # Prometheus' own patience is 10.
            assert time.monotonic() - started < 8
            up = re.findall(r'application_source_up{source="(\w+)"} (.)', text)
            assert {source for source, answers in up if answers == "0.0"[0]} == sources
            assert value(text, 'application_info{service="my_project",version="0.1.0"}') == 1
    finally:
        getattr(site, server).recover()
    wait_until(lambda: "} 0.0" not in up_lines(scrape(site.stack).text), 60, "all parts")


def up_lines(text: str) -> str:
    """Return the lines of a scrape that say which parts answer."""
    return "\n".join(line for line in text.splitlines() if "source_up{" in line)


@pytest.mark.slow
@needs("prometheus", "prometheus-alertmanager")
def test_the_token_is_needed_and_is_in_no_log(site: Site) -> None:
    assert "application_info" in scrape(site.stack).text
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}):
        refused = scrape(site.stack, headers)
        assert (refused.status, refused.body) == (401, b"")
    scrape(site.stack, {"Authorization": f"Bearer {TOKEN}?"})
    assert get(site.stack, f"/?token={TOKEN}").status == 200
    lines = [line for process in site.processes.values() for line in process.lines]
    assert any("/metrics" in line for line in lines)
    assert not any(TOKEN in line for line in lines)


@pytest.mark.slow
@needs("prometheus", "prometheus-alertmanager")
def test_only_the_web_process_writes_files(site: Site) -> None:
    folders = {
        name: [path.name for path in process.temporary_folder.glob("metrics-*")]
        for name, process in site.processes.items()
        if name in {"web", "worker", "beat"}
    }
    assert len(folders.pop("web")) == 1
    assert folders == {"worker": [], "beat": []}


# --- Counts --------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("manager", ["direct", "prodserver"])
def test_every_request_and_every_run_is_counted_once(
    bake: Bake, tmp_path: Path, database_url: str, redis_url: str, manager: str
) -> None:
    """However the processes share the work, also when they are replaced or killed meanwhile."""
    baked = bake(use_prometheus="true", process_manager=manager)
    project = prepare(Path(shutil.copytree(baked, tmp_path / "my_project")))
    environment = production_environment(
        database_url,
        redis_url,
        ALLOWED_HOSTS=HOST,
        WEB_CONCURRENCY="2",
        GUNICORN_MAX_REQUESTS="40",
        CELERY_WORKER_CONCURRENCY="3",
    )
    with production(project, environment) as stack, ThreadPoolExecutor(4) as pool:
        web = stack.web()
        list(pool.map(lambda _: try_get(stack), range(300)))
        assert served(web) > 250
        replaced = [line for line in web.lines if "Autorestarting worker" in line]
        assert len(replaced) >= 4
        wait_until(lambda: counted_requests(stack) == served(web), 20, "the same count as the log")
        [folder] = web.temporary_folder.glob("metrics-*")
        assert len(list(folder.glob("counter_*.db"))) <= 4, "files become more and more"

        psutil.Process(web.pid).children()[0].kill()
        list(pool.map(lambda _: try_get(stack), range(20)))
        wait_until(lambda: counted_requests(stack) == served(web), 20, "the same count as the log")

        assert "\nhttp_requests_in_progress 0.0\n" in scrape(stack).text

        worker = stack.worker()
        code = (
            "from apps.trial.tasks import fail, record\n"
            "for n in range(60): record.delay('many')\n"
            "for n in range(20): fail.delay('private')"
        )
        assert stack.manage("shell", "--command", code).returncode == 0
        stack.manage(
            "shell", "--command", "from apps.trial.tasks import sleep; sleep.delay('s', 300)"
        )
        started = "SELECT 1 FROM trial_effect WHERE detail = 'started'"
        wait_until(lambda: query(database_url, started), 60, "the last task")
        statement = "SELECT count(*) FROM operations_failedtask"
        wait_until(lambda: query(database_url, statement) == [(20,)], 60, "all failures")
        text = scrape(stack).text
        expected = {("record", "success"): 60, ("fail", "failure"): 20, ("fail", "success"): 0}
        for (task, outcome), count in expected.items():
            series = f'celery_tasks_total{{outcome="{outcome}",task="apps.trial.tasks.{task}"}}'
            wait_until(partial(counts_to, stack, series, count), 20, f"{count} of {series}\n{text}")
        series = 'celery_task_duration_seconds_count{task="apps.trial.tasks.record"}'
        assert value(scrape(stack).text, series) == 60
        # A child that is killed leaves no end of its run behind.
        for child in psutil.Process(worker.pid).children():
            child.send_signal(signal.SIGKILL)
        series = 'celery_tasks_total{outcome="retry",task="apps.trial.tasks.sleep"}'
        wait_until(partial(counts_to, stack, series, 1), 30, series)
        folder_of_files = folder
        assert web.terminate(40) == 0
        assert not folder_of_files.exists()


def try_get(stack: Stack) -> None:
    """Get the home page; a process that ends cuts the connections that it holds."""
    with suppress(OSError, http.client.HTTPException):
        get(stack, "/")


def served(web: Process) -> int:
    """Return how many requests for the home page gunicorn says that it has answered."""
    return sum('GET /\\" 200' in line for line in web.lines)


def counted_requests(stack: Stack) -> float:
    """Return how many requests for the home page were counted."""
    return value(scrape(stack).text, 'http_requests_total{method="GET",status="2xx",view="home"}')


def counts_to(stack: Stack, series: str, count: float) -> bool:
    """Return whether a series has a value."""
    return value(scrape(stack).text, series) == count


@pytest.mark.slow
def test_a_broker_that_hangs_holds_no_task_up(
    project: Path, database_url: str, redis_url: str, stoppable_redis: Redis
) -> None:
    """The counts go to another server here, as the worker itself could not go on without."""
    environment = production_environment(database_url, redis_url, ALLOWED_HOSTS=HOST)
    code = (
        "import time; from apps.operations.metrics.tasks import counts\n"
        "started = time.monotonic()\n"
        "for n in range(1000): counts.add({'unknown': 1})\n"
        "print('took', time.monotonic() - started)"
    )
    with production(project, environment) as stack:
        stoppable_redis.freeze()
        result = stack.manage("shell", "--command", code, CELERY_BROKER_URL=stoppable_redis.url())
    assert result.returncode == 0, result.stderr
    [took] = re.findall(r"took (\S+)", result.stdout)
    assert float(took) < 2
    assert result.stdout.count("tasks are not counted meanwhile") == 1


# --- The files of the profile --------------------------------------------------------------------


@needs("promtool")
def test_prometheus_accepts_its_file(bake: Bake, tmp_path: Path) -> None:
    files = monitoring_files(bake(use_prometheus="true"), tmp_path / "files", 1, 2)
    (files / "metrics-token").write_text(TOKEN)
    promtool("check", "config", "prometheus.yml", folder=files)


@needs("amtool", "prometheus-alertmanager")
@pytest.mark.parametrize(
    ("provider", "prefix"), [("smtp", "EMAIL"), ("sendgrid", "SMTP"), ("resend", "SMTP")]
)
def test_alertmanager_accepts_what_any_variables_make(
    bake: Bake, tmp_path: Path, provider: str, prefix: str
) -> None:
    project = bake(use_prometheus="true", email_provider=provider)
    files = monitoring_files(project, tmp_path / "files", 1, 2)
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "alertmanager").write_text("#!/bin/sh\n")
    (programs / "alertmanager").chmod(stat.S_IRWXU)
    password = 'it\'s "$HOME" `x` \\n : # %'
    variables = {
        "PATH": f"{programs}:/usr/bin:/bin",
        "ALERT_RECIPIENTS": "Ann <ann@example.org>, bob@example.org",
        "DEFAULT_FROM_EMAIL": "It's us <noreply@example.com>",
        f"{prefix}_HOST": "smtp.example.com",
        f"{prefix}_PORT": "465",
        f"{prefix}_HOST_USER": "mailer",
        f"{prefix}_HOST_PASSWORD": password,
    }
    result = run("sh", "alertmanager.sh", folder=files, **variables)
    assert result.returncode == 0, result.stderr
    config = files / "alertmanager.yml"
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    made = yaml.safe_load(config.read_text("utf-8"))
    assert made["global"]["smtp_auth_password"] == password
    assert made["global"]["smtp_smarthost"] == "smtp.example.com:465"
    assert made["global"]["smtp_require_tls"] is False
    checked = run("amtool", "check-config", "alertmanager.yml", folder=files)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    for name in ("ALERT_RECIPIENTS", f"{prefix}_HOST"):
        missing = {key: text for key, text in variables.items() if key != name}
        stopped = run("sh", "alertmanager.sh", folder=files, **missing)
        assert stopped.returncode != 0
        assert f"{name}: is missing in alerts.env" in stopped.stderr
