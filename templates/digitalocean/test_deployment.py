"""The app spec gives every process what it needs, and deploy/spec.py applies it safely."""

import json
import re
import runpy
import stat
import subprocess
import sys
{%- if cookiecutter.scheduler == "platform" %}
from collections import Counter
{%- endif %}
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.conf import settings

PROJECT = Path(settings.BASE_DIR)
SPEC_FILE = PROJECT / ".do" / "app.yaml"
COMMANDS = """\
web: {{ cookiecutter.__web_command }}
worker: {{ cookiecutter.__worker_command }}
{%- if cookiecutter.scheduler != "platform" %}
beat: {{ cookiecutter.__beat_command }}
{%- endif %}
{%- if cookiecutter.use_flower %}
flower: {{ cookiecutter.__flower_command }}
{%- endif %}
release: {{ cookiecutter.__release_command }}
"""

APP_ID = "4f6c71e2-1e90-4762-9fee-6cc4a0a9f2cf"
# An app of its own, so that .do/app.yaml may be edited.
SPEC = """\
name: shop
region: fra
domains:
  - domain: shop.example.com
    type: PRIMARY
envs:
  - key: DJANGO_ENVIRONMENT
    value: production
  - key: SECRET_KEY
    type: SECRET
  - key: API_KEY
    type: SECRET
  - key: API_TOKEN
    type: SECRET
services:
  - name: web
    {{ cookiecutter.__app_source }}: {repo: someone/something, branch: main, deploy_on_push: false}
    health_check: {http_path: /ready/}
    alerts:
      - {rule: CPU_UTILIZATION, operator: GREATER_THAN, value: 90, window: TEN_MINUTES}
workers:
  - name: worker
    {{ cookiecutter.__app_source }}: {repo: someone/something, branch: main, deploy_on_push: false}
jobs:
  - name: release
    kind: PRE_DEPLOY
    {{ cookiecutter.__app_source }}: {repo: someone/something, branch: main, deploy_on_push: false}
databases:
  - {name: db, engine: PG}
ingress:
  rules:
    - {match: {path: {prefix: /}}, component: {name: web}}
"""
SECRETS = {
    "SECRET_KEY": "secret-key-0123456789",
    "API_KEY": "api-key-0123456789",
    "API_TOKEN": "api-token-0123456789",
}
ENTERED = [name for name in SECRETS if name != "SECRET_KEY"]

# doctl as far as it is used here. It keeps the app's spec in a file, and changes what it gets as
# App Platform does: secrets are encrypted, blanks go, defaults come.
DOCTL = """\
#!{python} -IS
import json, sys
from pathlib import Path

live, fail = Path(__file__).with_name("live.json"), Path(__file__).with_name("fail")
arguments = " ".join(sys.argv[1:])
if fail.exists():  # what a deployment that fails looks like
    print("{app_id}")
    sys.exit("Notice: waiting\\n....\\nError: " + fail.read_text())
if arguments == "apps spec get {app_id} --format json":
    print(live.read_text())
elif arguments in (
    "apps create --spec - --wait --format ID --no-header",
    "apps update {app_id} --spec - --update-sources --wait --format ID --no-header",
):
    spec = json.load(sys.stdin)
    Path(__file__).with_name("applied.json").write_text(json.dumps(spec))
    for variable in spec["envs"]:
        if variable.get("type") == "SECRET" and not variable["value"].startswith("EV["):
            variable["value"] = "EV[1:" + variable["value"][::-1] + "]"
    for component in spec["services"] + spec["workers"] + spec["jobs"]:
        del component["{{ cookiecutter.__app_source }}"]["deploy_on_push"]
        component["source_dir"] = "/"
    spec["databases"][0]["version"] = "17"
    spec["features"] = ["buildpack-stack=ubuntu-22"]
    live.write_text(json.dumps(spec))
    print("{app_id}")
else:
    sys.exit("Error: unknown command: " + arguments)
"""

Run = Callable[..., int | str | None]


@pytest.fixture
def spec() -> Any:
    """What .do/app.yaml says."""
    return yaml.safe_load(SPEC_FILE.read_text("utf-8"))


@pytest.fixture
def components(spec: Any) -> dict[str, Any]:
    """The components by name."""
    return {item["name"]: item for kind in ("services", "workers", "jobs") for item in spec[kind]}


def test_each_process_has_its_command(components: dict[str, Any]) -> None:
    for line in COMMANDS.splitlines():
        name, command = line.split(": ", 1)
        assert name in components, f".do/app.yaml has no {name}; if you mean that, change COMMANDS"
        assert components[name]["run_command"].startswith(command), (
            f"{name} does not run {command}; if you mean that, change COMMANDS"
        )


def test_the_release_comes_first{{ "_and_beat_is_alone" if cookiecutter.scheduler in ("database", "code") }}(components: dict[str, Any]) -> None:
    assert components["release"]["kind"] == "PRE_DEPLOY"
{%- if cookiecutter.scheduler in ("database", "code") %}
    assert components["beat"]["instance_count"] == 1
    assert "autoscaling" not in components["beat"]
{%- endif %}
{%- if cookiecutter.scheduler == "platform" %}


def test_jobs_start_what_the_schedule_lists_and_nothing_else(spec: Any) -> None:
    wanted = Counter(
        (f"python manage.py enqueue {entry.name}", entry.as_cron(), settings.TIME_ZONE)
        for entry in settings.PERIODIC_TASKS
    )
    found = Counter(
        (job["run_command"], job["schedule"]["cron"], job["schedule"]["time_zone"])
        for job in spec["jobs"]
        if job["kind"] == "SCHEDULED"
    )
    assert found == wanted, (
        f"the SCHEDULED jobs in .do/app.yaml lack {sorted(wanted - found)} of SCHEDULE, "
        f"and SCHEDULE lacks {sorted(found - wanted)} of .do/app.yaml"
    )
{%- endif %}


{% if cookiecutter.use_flower -%}
def test_flower_gets_the_requests_that_it_knows(spec: Any) -> None:
    rules = {rule["component"]["name"]: rule for rule in spec["ingress"]["rules"]}
    assert rules["flower"]["match"]["path"]["prefix"] == "/flower"
    assert rules["flower"]["component"]["preserve_path_prefix"] is True


{% endif -%}
def test_every_process_gets_what_production_settings_require(
    spec: Any, components: dict[str, Any]
) -> None:
    result = subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=PROJECT,
        env={"DJANGO_ENVIRONMENT": "production"},
        capture_output=True,
        text=True,
        check=False,
    )
    missing = re.search(r"Missing or blank: (.*)\.", result.stderr)
    assert missing, result.stderr
    for name, component in components.items():
        given = {variable["key"] for variable in spec["envs"] + component.get("envs", [])}
        for variable in missing[1].split(", "):
            assert variable in given, f"{name} gets no {variable}: add it to .do/app.yaml"


def test_the_file_holds_no_secret(spec: Any) -> None:
    for variable in spec["envs"]:
        if re.search("SECRET|PASSWORD|TOKEN|KEY", variable["key"]):
            assert variable["type"] == "SECRET"
        if variable.get("type") == "SECRET":
            assert "value" not in variable


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with app.yaml, and with doctl, the only program there is."""
    (tmp_path / "app.yaml").write_text(SPEC, "utf-8")
    doctl = tmp_path / "doctl"
    doctl.write_text(DOCTL.format(python=sys.executable, app_id=APP_ID), "utf-8")
    doctl.chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the script in this process with some variables, and return its exit code or message."""
    main = runpy.run_path(str(PROJECT / "deploy" / "spec.py"))["main"]
    main.__globals__["SPEC_FILE"] = folder / "app.yaml"

    def run(*arguments: str, **variables: str) -> int | str | None:
        with monkeypatch.context() as context:
            context.setattr(sys, "argv", ["spec.py", *arguments])
            for name in SECRETS:
                context.setenv(name, variables.get(name, ""))
            try:
                main()
            except SystemExit as stop:
                return stop.code
        return 0

    return run


@pytest.fixture
def app(run: Run, folder: Path) -> Path:
    """An app that was just made; the file holds its spec."""
    assert run("create", **SECRETS) == 0
    return folder / "live.json"


def change(app: Path, **changes: Any) -> None:
    """Change the app as somebody in the console would."""
    app.write_text(json.dumps(json.loads(app.read_text()) | changes))


def applied(app: Path) -> dict[str, str]:
    """Return the variables that the app got last."""
    spec = json.loads(app.with_name("applied.json").read_text())
    return {variable["key"]: variable["value"] for variable in spec["envs"]}


def test_create_applies_the_secrets_and_prints_the_id_alone(
    run: Run, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("create", **SECRETS) == 0
    assert applied(folder / "live.json").items() >= SECRETS.items()
    output = capsys.readouterr()
    assert output.out == f"{APP_ID}\n"
    assert not any(secret in output.err for secret in SECRETS.values())


def test_create_names_every_missing_secret(run: Run) -> None:
    message = str(run("create", SECRET_KEY=SECRETS["SECRET_KEY"]))
    assert f"environment has no value for {', '.join(ENTERED)}." in message


def test_update_changes_the_secrets_that_are_named_and_no_others(run: Run, app: Path) -> None:
    before = applied(app)
    mine = {"SECRET_KEY": "new-key", ENTERED[0]: "of-the-developer"}
    assert run("update", APP_ID, "--set", "SECRET_KEY", **mine) == 0
    after = applied(app)
    assert after.pop("SECRET_KEY") == "new-key"
    assert after[ENTERED[0]] == f"EV[1:{SECRETS[ENTERED[0]][::-1]}]"
    assert after.keys() < before.keys()


def test_update_never_blanks_a_secret(run: Run, app: Path) -> None:
    envs = [variable for variable in json.loads(app.read_text())["envs"] if "type" not in variable]
    change(app, envs=envs)
    message = str(run("update", APP_ID, "--set", ENTERED[0], **SECRETS))
    rest = ", ".join(["SECRET_KEY", *ENTERED[1:]])
    assert f"no value for {rest}, and --set does not name it" in message


@pytest.mark.parametrize(
    ("name", "part"),
    [("REDIS_URL", "no SECRET of the name REDIS_URL"), ("SECRET_KEY", "SECRET_KEY has no value")],
)
def test_update_sets_no_other_variable_and_no_blank(
    run: Run, app: Path, name: str, part: str
) -> None:
    assert part in str(run("update", APP_ID, "--set", name))
    assert run("update", APP_ID) == 0


def test_update_removes_nothing_unasked(run: Run, app: Path) -> None:
    added = {"key": "ADDED_IN_CONSOLE", "value": "x", "scope": "RUN_TIME"}
    change(app, envs=[*json.loads(app.read_text())["envs"], added])
    assert "would lose it: envs.ADDED_IN_CONSOLE." in str(run("update", APP_ID))
    assert run("update", APP_ID, "--remove") == 0
    assert "ADDED_IN_CONSOLE" not in app.read_text()


def test_diff_finds_nothing_in_what_the_platform_does(
    run: Run, app: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("diff", APP_ID) == 0
    assert capsys.readouterr().out.endswith("The app is what .do/app.yaml says.\n")


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"region": "nyc"}, "region: not the same"),
        ({"ingress": {}}, "ingress.rules: only in the file"),
        ({"maintenance": {"enabled": True}}, "maintenance: only in the app"),
        ({"disable_edge_cache": True}, "disable_edge_cache: only in the app"),
        ({"vpc": {"id": ""}, "disable_edge_cache": False}, "The app is what .do/app.yaml says."),
    ],
)
def test_diff_names_what_differs(
    run: Run,
    app: Path,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, Any],
    line: str,
) -> None:
    capsys.readouterr()
    change(app, **changes)
    assert run("diff", APP_ID) == (": " in line)
    assert capsys.readouterr().out == f"{line}\n"


@pytest.mark.parametrize(
    ("keys", "value", "path"),
    [
        (("domains", 0, "zone"), "example.com", "domains.{domain}.zone"),
        (
            ("services", 0, "health_check", "initial_delay_seconds"),
            60,
            "services.web.health_check.initial_delay_seconds",
        ),
        (("workers", 0, "source_dir"), "/src", "workers.worker.source_dir"),
        (
            ("services", 0, "alerts", 3),
            {"rule": "CPU_UTILIZATION", "operator": "GREATER_THAN", "value": 95},
            "services.web.alerts.CPU_UTILIZATION 2",
        ),
    ],
)
def test_what_somebody_added_is_found_however_deep(
    run: Run, app: Path, keys: tuple[Any, ...], value: Any, path: str
) -> None:
    live = json.loads(app.read_text())
    node = live
    for key in keys[:-1]:
        node = node[key]
    if isinstance(node, list):
        node.append(value)
    else:
        node[keys[-1]] = value
    change(app, **live)
    place = path.format(domain=live["domains"][0]["domain"])
    assert f"would lose it: {place}." in str(run("update", APP_ID))
    assert run("update", APP_ID, "--remove") == 0


def test_diff_names_a_secret_that_is_blank(
    run: Run, app: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blank = [variable | {"value": ""} for variable in json.loads(app.read_text())["envs"]]
    change(app, envs=blank)
    assert run("diff", APP_ID) == 1
    assert "SECRET_KEY: blank in the app" in capsys.readouterr().out


def test_a_failure_of_doctl_is_one_sentence_without_secrets(run: Run, folder: Path) -> None:
    (folder / "fail").write_text(f"no luck with\n{SECRETS['SECRET_KEY']}")
    message = str(run("create", **SECRETS))
    assert message == (
        f"deploy/spec.py: doctl apps create failed: no luck with (hidden) The app is {APP_ID}."
    )


def test_a_missing_doctl_is_named(run: Run, folder: Path) -> None:
    (folder / "doctl").unlink()
    assert "doctl is missing" in str(run("diff", APP_ID))


def test_a_secret_in_the_file_is_refused(run: Run, folder: Path) -> None:
    file = folder / "app.yaml"
    secret = "key: SECRET_KEY\n    value: hunter2"
    file.write_text(file.read_text("utf-8").replace("key: SECRET_KEY", secret), "utf-8")
    assert "SECRET_KEY has a value in .do/app.yaml" in str(run("create", **SECRETS))


def test_a_repository_that_was_not_filled_in_is_refused(run: Run, folder: Path) -> None:
    file = folder / "app.yaml"
    text = file.read_text("utf-8").replace("someone/something", "OWNER/REPOSITORY")
    file.write_text(text, "utf-8")
    assert "still says OWNER/REPOSITORY" in str(run("create", **SECRETS))
