"""The status page in a real browser, while all is well and while parts are down or hang."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.browsers import Browser, Screen, needs_browser
from tests.conftest import Bake
from tests.processes import Process, Stack, wait_until
from tests.production import (
    HOST,
    add_administrator,
    call,
    effects,
    prepare,
    production,
    production_environment,
    query,
    visit,
    wait_for_effect,
)
from tests.servers.postgres import Postgres
from tests.servers.redis import Redis
from tests.servers.smtp import SMTPServer
from tests.servers.tls import Authority, TLSProxy

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    needs_browser,
    pytest.mark.xdist_group("status"),
]

DOCS = Path(__file__).resolve().parent.parent / "docs"
# Set, it lets the pictures in `docs` be made anew.
SCREENSHOTS = "STATUS_SCREENSHOTS"
PHONE, DESKTOP, NARROW = Screen(390, 844), Screen(1280, 900), Screen(360, 800)
PASSWORD = "a pass phrase of the administrator"
LONGEST_ANSWER = 3.0  # seconds
# The first argument of tasks that fail, which begins with the task's name.
FAILING = ("stumble-once", "stumble-refused", "stumble-shown", "die-once", "overrun-once")

# Each fails at first, and does what it should when it is sent again.
IMPORTS = """\
import os
import signal
from contextlib import suppress

from celery.exceptions import SoftTimeLimitExceeded
"""
TASKS = """

def first_time(name):
    return not Effect.objects.filter(name=name).exists()


@shared_task
def stumble(name):
    first = first_time(name)
    Effect.objects.create(name=name, detail="failed" if first else "done")
    if first:
        raise ValueError("failed on purpose")


@shared_task(max_retries=0)
def die(name):
    first = first_time(name)
    Effect.objects.create(name=name, detail="died" if first else "done")
    if first:
        os.kill(os.getpid(), signal.SIGKILL)


@shared_task(soft_time_limit=1, time_limit=2)
def overrun(name):
    first = first_time(name)
    Effect.objects.create(name=name, detail="begun" if first else "done")
    while first:
        with suppress(SoftTimeLimitExceeded):
            time.sleep(30)
"""


@dataclass
class Site:
    """A running project, its servers, and a browser in which an administrator has logged in."""

    stack: Stack
    postgres: Postgres
    redis: Redis
    browser: Browser
    worker: Process

    def query(self, statement: str) -> list[tuple[object, ...]]:
        """Return the rows of a query."""
        return query(self.stack.environment["DATABASE_URL"], statement)

    def effects(self, name: str) -> list[str]:
        """Return what the tasks of the trial app recorded under a name."""
        return effects(self.stack.environment["DATABASE_URL"], name)

    def recover(self) -> None:
        """Bring everything back and wait until the page says that all is well."""
        self.postgres.recover()
        self.redis.recover()
        if not self.worker.running:
            self.worker = self.stack.worker()
        wait_until(self.is_well, 60, "a page that says that all is well")

    def is_well(self) -> bool:
        """Open the page and return whether all is well."""
        self.browser.open("/status/?refresh=off")
        return "All is well" in self.browser.text


@pytest.fixture(scope="module")
def project(bake: Bake, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with tasks that fail once."""
    folder = tmp_path_factory.mktemp("status") / "my_project"
    project = prepare(Path(shutil.copytree(bake(), folder)))
    tasks = project / "apps" / "trial" / "tasks.py"
    tasks.write_text(f"{IMPORTS}{tasks.read_text('utf-8')}{TASKS}", "utf-8")
    return project


@pytest.fixture(scope="module")
def site(project: Path, authority: Authority) -> Iterator[Site]:
    """The project with all its processes and servers of its own, which the tests mistreat."""
    with ExitStack() as servers:
        postgres = servers.enter_context(Postgres())
        redis = servers.enter_context(Redis())
        mail = servers.enter_context(SMTPServer())
        environment = production_environment(
            postgres.create_database(), redis.url(), EMAIL_PORT=str(mail.port)
        )
        stack = servers.enter_context(production(project, environment))
        # The name of this machine is nobody's business on a picture.
        command = f"{stack.commands['worker']} --hostname celery@worker-1"
        stack.commands = {**stack.commands, "worker": command}
        worker = stack.worker()
        stack.beat()
        stack.web()
        add_administrator(stack, PASSWORD)
        proxy = servers.enter_context(TLSProxy(stack.port, authority.server_context(HOST)))
        browser = servers.enter_context(Browser(proxy.port))
        browser.show_on(DESKTOP)
        log_in(browser)
        yield Site(stack, postgres, redis, browser, worker)


@pytest.fixture
def healthy(site: Site) -> Site:
    """The site while all is well, whatever an earlier test has broken."""
    site.recover()
    return site


def log_in(browser: Browser) -> None:
    """Log in at the form, to which the page sends whoever is not known."""
    browser.open("/status/")
    assert browser.driver.current_url == f"https://{HOST}/accounts/login/?next=/status/"
    browser.find("input[name=username]").send_keys("admin")
    browser.find("input[name=password]").send_keys(PASSWORD)
    browser.press("main button")
    assert browser.driver.current_url == f"https://{HOST}/status/"


@pytest.fixture(scope="module")
def failures(site: Site) -> dict[str, int]:
    """Tasks that have failed: the number of the failure by the task's first argument."""
    code = "from apps.trial import tasks\n" + "\n".join(
        f"tasks.{name.split('-')[0]}.delay({name!r})" for name in FAILING
    )
    result = site.stack.manage("shell", "--command", code)
    assert result.returncode == 0, result.stderr
    statement = (
        'SELECT substring(content from \'"args": ."([a-z-]+)"\'), failure_id '
        "FROM operations_failedmessage"
    )
    wait_until(lambda: len(site.query(statement)) >= len(FAILING), 60, "the failures")
    rows = site.query(statement)
    return {str(name): int(str(number)) for name, number in rows}


def button(failure: int) -> str:
    """Return a selector of the button that retries a failure."""
    return f"form[action$='/{failure}/retry/'] button"


@pytest.mark.usefixtures("failures")
def test_people_of_all_abilities_can_read_the_pages_on_any_screen(healthy: Site) -> None:
    browser = healthy.browser
    for path in ("/status/?refresh=off", "/"):
        browser.open(path)
        for screen in (PHONE, DESKTOP):
            for dark in (False, True):
                browser.show_on(Screen(screen.width, screen.height, dark))
                for details in browser.driver.find_elements(By.TAG_NAME, "details"):
                    browser.driver.execute_script("arguments[0].open = true", details)
                assert browser.violations() == [], (path, screen, dark)
        browser.show_on(NARROW)
        assert (browser.is_too_wide(), browser.unreached_by_keyboard()) == (False, []), path
    browser.show_on(DESKTOP)


def test_the_login_page_is_accessible_and_is_what_strangers_get(
    healthy: Site, project: Path
) -> None:
    response = visit(healthy.stack, "/status/")
    assert (response.status, response.headers["location"]) == (
        302,
        "/accounts/login/?next=/status/",
    )
    browser = healthy.browser
    browser.open("/accounts/login/")
    for dark in (False, True):
        browser.show_on(Screen(PHONE.width, PHONE.height, dark))
        assert browser.violations() == []
    browser.show_on(NARROW)
    assert not browser.is_too_wide()
    browser.show_on(DESKTOP)


def test_the_page_refreshes_by_itself_until_it_is_told_to_stop(healthy: Site) -> None:
    browser = healthy.browser
    browser.planned_refreshes()
    browser.open("/status/")
    assert browser.planned_refreshes() == [30]
    browser.press("a[href='?refresh=off']")
    assert "Refreshing is paused." in browser.text
    assert browser.planned_refreshes() == []


def test_the_page_shows_queues_workers_and_schedule(healthy: Site) -> None:
    call(healthy.stack, "sleep", "long", 8)
    wait_for_effect(healthy.stack.environment["DATABASE_URL"], "long", "started", 20)
    wait_until(
        lambda: healthy.is_well() and "apps.trial.tasks.sleep" in healthy.browser.text,
        8,
        "the running task",
    )
    page = healthy.browser.text
    for text in ("celery@worker-1", "my_project.settings.production", "notifications"):
        assert text in page
    for entry in ("heartbeat", "tick", "failure-digest"):
        assert entry in page
    assert "every 3 seconds" in page
    assert "30 3 * * *" in page


@pytest.mark.parametrize("name", ["stumble-once", "die-once", "overrun-once"])
def test_a_retry_runs_the_task_once_more_and_only_once(
    healthy: Site, failures: dict[str, int], name: str
) -> None:
    browser, failure = healthy.browser, failures[name]
    browser.open("/status/?refresh=off")
    assert name not in browser.driver.page_source
    # Two clicks that arrive at the same moment, as from an impatient hand.
    answers = browser.driver.execute_async_script(
        """
        const [selector, done] = arguments;
        const form = document.querySelector(selector).form;
        const click = () => fetch(form.action, {method: "POST", body: new FormData(form)});
        Promise.all([click(), click()]).then(all => done(all.map(one => one.status)));
        """,
        button(failure),
    )
    assert answers == [200, 200]
    # A third one, in a page that still has the button.
    browser.press(button(failure))
    assert "It has been sent again already." in browser.text
    assert "Refreshing is paused." in browser.text
    assert not browser.driver.find_elements(By.CSS_SELECTOR, button(failure))
    wait_until(lambda: "done" in healthy.effects(name), 20, "the second run")
    wait_until(lambda: _nothing_waits(healthy), 20, "an idle worker")
    assert healthy.effects(name).count("done") == 1
    assert (
        healthy.query(f"SELECT * FROM operations_failedmessage WHERE failure_id = {failure}") == []
    )


def _nothing_waits(site: Site) -> bool:
    return site.is_well() and "Runs nothing now." in site.browser.text


def test_a_retry_without_a_broker_is_refused_in_words_and_possible_later(
    healthy: Site, failures: dict[str, int]
) -> None:
    browser, failure = healthy.browser, failures["stumble-refused"]
    for stop in (healthy.redis.kill, healthy.redis.freeze):
        browser.open("/status/?refresh=off")
        stop()
        browser.press(button(failure))
        assert "The broker does not answer, so nothing was sent." in browser.text
        healthy.recover()
    browser.press(button(failure), Keys.ENTER)
    assert "apps.trial.tasks.stumble was sent again." in browser.text
    wait_for_effect(healthy.stack.environment["DATABASE_URL"], "stumble-refused", "done", 20)


def stop_worker(site: Site) -> None:
    """End the worker at once."""
    site.worker.kill()


def stop_all(site: Site) -> None:
    """End everything but the web process."""
    site.worker.kill()
    site.redis.kill()
    site.postgres.kill()


@pytest.mark.parametrize(
    ("fault", "named", "has_records"),
    [
        pytest.param(stop_worker, "round trip", True, id="no worker"),
        pytest.param(lambda site: site.redis.kill(), "broker", True, id="no broker"),
        pytest.param(lambda site: site.redis.freeze(), "broker", True, id="frozen broker"),
        pytest.param(lambda site: site.postgres.kill(), "database", False, id="no database"),
        pytest.param(lambda site: site.postgres.freeze(), "database", False, id="frozen database"),
        pytest.param(stop_all, "database", False, id="nothing but web"),
    ],
)
def test_the_page_tells_what_is_down_within_three_seconds(
    healthy: Site, fault: Callable[[Site], None], named: str, has_records: bool
) -> None:
    browser = healthy.browser
    fault(healthy)

    def tells() -> bool:
        seconds = browser.open("/status/?refresh=off")
        assert seconds < LONGEST_ANSWER, f"{seconds:.1f} s"
        problems = browser.driver.find_elements(By.CSS_SELECTOR, ".not-passed .bad strong")
        return named in [problem.text for problem in problems]

    wait_until(tells, 30, f"a problem with {named}")
    assert "problem" in browser.find("h1").text
    assert ("Failed tasks" in browser.text) is has_records
    assert browser.violations() == []
    if not has_records:
        response = visit(healthy.stack, "/status/")
        assert (response.status, response.text.count("\n")) == (503, 1)
        assert response.text.startswith("The database does not answer")


def test_nobody_who_has_logged_out_sees_the_page_of_a_service_without_database(
    healthy: Site,
) -> None:
    browser = healthy.browser
    old = {cookie["name"]: cookie["value"] for cookie in browser.driver.get_cookies()}
    assert "status_pass" in old
    browser.press("form[action='/accounts/logout/'] button")
    healthy.postgres.kill()
    browser.open("/status/?refresh=off")
    assert "so nobody can be let in" in browser.text
    healthy.postgres.recover()
    log_in(browser)


@pytest.mark.usefixtures("failures")
def test_pictures_for_the_docs(healthy: Site, tmp_path: Path) -> None:
    browser = healthy.browser
    wait_until(healthy.is_well, 20, "a healthy page")
    browser.open("/status/")
    folder = DOCS if SCREENSHOTS in os.environ else tmp_path
    for name, screen in (("phone", PHONE), ("desktop", DESKTOP)):
        browser.screenshot(folder / f"status-{name}.png", screen.width)
    browser.show_on(DESKTOP)
