"""Choosing the settings, and reading variables."""

import os
import tempfile
from pathlib import Path

import pytest
from django.conf import LazySettings
from django.core.exceptions import ImproperlyConfigured

from {{ cookiecutter.project_slug }} import environment
from {{ cookiecutter.project_slug }}.environment import POSTGRESQL_SCHEMES, Environment

from .conftest import SECRET_KEY

# What `openssl req -x509 -newkey ed25519 -nodes -subj /CN=Test -days 36500` made.
CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBNDCB56ADAgECAhR7qQvM7Eug/Qy2hWDLtL6C8DdcpzAFBgMrZXAwDzENMAsG
A1UEAwwEVGVzdDAgFw0yNjExMjIxODU4MzRaGA8yMTI2MTAyOTE4NTgzNFowDzEN
MAsGA1UEAwwEVGVzdDAqMAUGAytlcAMhAM34TL69irhJjcaQVKSyTun3VIR1rxMY
QOjlfPLtYXtdo1MwUTAdBgNVHQ4EFgQUXqk/TMW80faYRka2Dqux5uERJIgwHwYD
VR0jBBgwFoAUXqk/TMW80faYRka2Dqux5uERJIgwDwYDVR0TAQH/BAUwAwEB/zAF
BgMrZXADQQAofBWS4jS8sNAOwDTK6M6+GfNVyeKy9AfeaTGXhuhZLpaIB4zDf2cc
Q4cBYoJ2bs5g9OVfrB40R9HNAsyPjhsO
-----END CERTIFICATE-----
"""


def message(env: Environment) -> str:
    """Return what the environment has to say about its variables."""
    with pytest.raises(ImproperlyConfigured) as caught:
        env.complete()
    return str(caught.value)


@pytest.mark.parametrize("name", environment.ENVIRONMENTS)
def test_django_environment_picks_the_settings(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(os, "environ", {"DJANGO_ENVIRONMENT": name})
    assert environment.select_settings("production").endswith(f".settings.{name}")
    assert os.environ["DJANGO_SETTINGS_MODULE"].endswith(f".settings.{name}")


@pytest.mark.parametrize("blank", [{}, {"DJANGO_ENVIRONMENT": " ", "DJANGO_SETTINGS_MODULE": ""}])
def test_the_default_counts_when_nothing_is_set(
    monkeypatch: pytest.MonkeyPatch, blank: dict[str, str]
) -> None:
    monkeypatch.setattr(os, "environ", dict(blank))
    assert environment.select_settings("production").endswith(".settings.production")


def test_an_explicit_settings_module_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = {"DJANGO_ENVIRONMENT": "staging", "DJANGO_SETTINGS_MODULE": "elsewhere"}
    monkeypatch.setattr(os, "environ", chosen)
    assert environment.select_settings("production") == "elsewhere"


def test_an_unknown_environment_stops_the_process_and_lists_the_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "environ", {"DJANGO_ENVIRONMENT": "prod"})
    with pytest.raises(SystemExit, match=r"'prod'.*development, staging, production, testing"):
        environment.start("production")


def test_a_settings_module_that_does_not_exist_stops_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "environ", {"DJANGO_SETTINGS_MODULE": "config.settings.production"})
    monkeypatch.setattr(environment, "settings", LazySettings())
    with pytest.raises(SystemExit, match=r"'config\.settings\.production'.*no such module"):
        environment.start("production")


def test_a_package_missing_inside_the_settings_is_not_blamed_on_the_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "broken_settings.py").write_text("import not_installed")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(os, "environ", {"DJANGO_SETTINGS_MODULE": "broken_settings"})
    monkeypatch.setattr(environment, "settings", LazySettings())
    with pytest.raises(ModuleNotFoundError, match="not_installed"):
        environment.start("production")


def test_a_variable_may_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("value\n")
    assert Environment({"NAME_FILE": str(tmp_path / "secret")}).text("NAME") == "value"


def test_a_file_that_can_not_be_read_is_named(tmp_path: Path) -> None:
    env = Environment({"NAME_FILE": str(tmp_path / "missing")})
    assert env.text("NAME") == ""
    assert f"NAME_FILE names {tmp_path / 'missing'}, which can't be read" in message(env)


def test_a_variable_and_its_file_are_not_both_allowed() -> None:
    env = Environment({"NAME": "value", "NAME_FILE": "/run/secrets/name"})
    assert env.text("NAME") == "value"
    assert "NAME and NAME_FILE are both set" in message(env)


def test_blank_counts_as_missing_and_all_are_named_in_one_message() -> None:
    env = Environment({"BLANK": "  ", "SET": "value"})
    env.require("MISSING", "BLANK", "SET")
    assert "Missing or blank: MISSING, BLANK." in message(env)


@pytest.mark.parametrize(
    ("name", "meant"), [("REDIS_ULR", "REDIS_URL"), ("DJANGO_SECRET_KEY", "SECRET_KEY")]
)
def test_a_variable_that_may_be_misspelt_is_named_beside_what_is_missing(
    name: str, meant: str
) -> None:
    env = Environment({name: "a value", "REDIS_URL": " ", "DB_PORT": "5432", "PATH": "/bin"})
    env.text("DB_HOST")
    env.require("REDIS_URL", "SECRET_KEY")
    assert env.misspelt() == [f"{name} is set, and nothing reads it: is {meant} meant?"]
    assert f"  - {name} is set" in message(env)
    assert Environment({name: "a value"}).misspelt() == []


def test_nothing_is_raised_when_all_is_well() -> None:
    Environment({}).complete()


@pytest.mark.parametrize(
    ("value", "meaning"), [("true", True), ("ON", True), ("0", False), ("No", False), ("", True)]
)
def test_a_flag_is_read(value: str, meaning: bool) -> None:
    assert Environment({"FLAG": value}).flag("FLAG", default=True) is meaning


def test_a_flag_that_is_neither_is_a_problem() -> None:
    env = Environment({"FLAG": "maybe"})
    assert env.flag("FLAG", default=True) is True
    assert "FLAG is 'maybe'; it must be true or false." in message(env)


def test_a_number_is_read() -> None:
    env = Environment({"NUMBER": "7"})
    assert env.integer("NUMBER", default=3) == 7
    assert env.integer("OTHER", default=3) == 3


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "many", "9" * 10])
def test_a_number_that_makes_no_sense_is_a_problem(value: str) -> None:
    env = Environment({"NUMBER": value})
    assert env.integer("NUMBER", default=3, minimum=1) == 3
    assert f"NUMBER is {value!r}; it must be a whole number from 1." in message(env)


def test_a_port_beyond_the_last_is_a_problem() -> None:
    env = Environment({"PORT": "70000"})
    env.port("PORT", default=8000)
    assert "PORT is 70000; the last port is 65535." in message(env)


def test_a_share_is_read() -> None:
    env = Environment({"SHARE": "0.25", "ALL": "1"})
    assert env.share("SHARE", default=0) == 0.25
    assert env.share("ALL", default=0) == 1
    assert env.share("NONE", default=0.5) == 0.5


def test_secrets_are_told_for_logs_to_mask() -> None:
    variables = {
        "SECRET_KEY": "secret+key==",
        "WEBHOOK_SECRETS": "a.example=whsec_one,b.example=whsec_two",
        "REDIS_URL": "redis://:pass%2Fword@host:6379/0",
        "API_TOKEN": "brief",
        "LOG_LEVEL": "DEBUG and more",
    }
    env = Environment(variables)
    for name in variables:
        env.text(name)
    secrets = env.secrets()
    assert {"secret+key==", "whsec_one", "whsec_two", "pass%2Fword", "pass/word"} <= {*secrets}
    assert {"brief", "DEBUG and more"}.isdisjoint(secrets)


@pytest.mark.parametrize("apps", [["django_celery_results"], []])
def test_results_are_in_the_database_only_with_the_app_for_it(apps: list[str]) -> None:
    env = Environment({"CELERY_RESULT_BACKEND": "django-db"})
    assert env.result_backend("CELERY_RESULT_BACKEND", "redis://host/0", apps) == "django-db"
    if apps:
        env.complete()
    else:
        assert "needs the app django_celery_results; docs/results.md tells" in message(env)


def test_a_choice_is_read_in_any_case() -> None:
    assert Environment({"LEVEL": "debug"}).choice("LEVEL", ("DEBUG", "INFO"), default="INFO") == (
        "DEBUG"
    )


def test_an_unknown_choice_is_a_problem() -> None:
    env = Environment({"LEVEL": "LOUD"})
    assert env.choice("LEVEL", ("DEBUG", "INFO"), default="INFO") == "INFO"
    assert "LEVEL is 'LOUD'; it must be one of DEBUG, INFO." in message(env)


@pytest.mark.parametrize("path", ["office/", "back-office/7f_3A/"])
def test_a_path_is_what_urls_begin_with(path: str) -> None:
    assert Environment({"PATH": path}).path("PATH", default="admin/") == path
    assert Environment({}).path("PATH", default="admin/") == "admin/"


@pytest.mark.parametrize("path", ["office", "/office/", "/", "a//", "ä/", "a.b/", "../a/", "<a>/"])
def test_a_path_that_no_url_begins_with_is_refused(path: str) -> None:
    env = Environment({"PATH": path})
    assert env.path("PATH", default="admin/") == "admin/"
    assert "PATH is" in message(env)
    assert "a slash at the end, as in office-7f3a/" in message(env)


@pytest.mark.parametrize("path", ["status/", "accounts/admin/"])
def test_a_path_where_the_site_has_something_else_is_refused(path: str) -> None:
    env = Environment({"PATH": path})
    assert env.path("PATH", default="admin/") == "admin/"
    assert f"PATH is {path!r}, where something else is" in message(env)


def test_items_are_separated_by_commas() -> None:
    env = Environment({"ITEMS": " a, b,,c "})
    assert env.items("ITEMS") == ["a", "b", "c"]
    assert env.items("NONE", default=["x"]) == ["x"]


def test_pairs_may_hold_the_separator_in_their_value() -> None:
    assert Environment({"PAIRS": "a=1=, b=2"}).pairs("PAIRS") == {"a": "1=", "b": "2"}


def test_a_broken_pair_is_told_by_its_place_only() -> None:
    env = Environment({"PAIRS": "a=1,private"})
    env.pairs("PAIRS")
    assert "PAIRS: item 2 is not of the form key=value." in message(env)
    assert "private" not in message(env)


@pytest.mark.parametrize(
    "address",
    [
        "ann@example.org",
        "ann@localhost",
        "ann@bücher.example",
        "Ann <ann@example.org>",
        "Änn (Example Inc.) <ann@example.org>",
        '"Ann: Inc" <ann@example.org>',
    ],
)
def test_addresses_are_read(address: str) -> None:
    env = Environment({"ONE": address, "MANY": f"{address}, bob@example.org"})
    assert env.address("ONE", "noreply@example.org") == address
    assert env.address("MISSING", "noreply@example.org") == "noreply@example.org"
    assert env.addresses("MANY") == [address, "bob@example.org"]
    env.complete()


@pytest.mark.parametrize(
    "text",
    [
        "secret",
        "ann@",
        "@example.org",
        "ann@example",
        "ann..lee@example.org",
        "ann@-example.org",
        f"ann@{'a' * 64}.example.org",
        f"{'a' * 320}@example.org",
        "ann@@example.org",
        "Ann <ann@example.org",
        "Ann: Inc <ann@example.org>",
        "Ann <secret>",
        "ann@example.org bob@example.org",
        "ann@example.org; bob@example.org",
        "<>",
        "ann@example.org\nBcc: bob@example.org",
    ],
)
def test_an_address_that_is_none_is_a_problem_and_is_not_shown(text: str) -> None:
    env = Environment({"ONE": text, "MANY": f"eve@example.org,{text}"})
    env.address("ONE", "")
    env.addresses("MANY")
    problems = message(env)
    assert "ONE is no e-mail address" in problems
    assert "MANY: item 2 is no e-mail address" in problems
    assert "secret" not in problems
    assert "bob" not in problems


def test_networks_are_read() -> None:
    env = Environment({"NETWORKS": "10.1.0.0/16, fd12::/32"})
    assert env.networks("NETWORKS") == ["10.1.0.0/16", "fd12::/32"]
    env.complete()


def test_a_network_that_is_none_is_a_problem() -> None:
    env = Environment({"NETWORKS": "10.1.0.1/16"})
    env.networks("NETWORKS")
    assert "NETWORKS: 10.1.0.1/16 has host bits set; a network looks like" in message(env)


{% if cookiecutter.use_flower or cookiecutter.email_provider in ("ses", "postmark", "brevo", "mailjet") -%}
def test_user_and_password_of_a_url_are_read() -> None:
    env = Environment({"LOGIN": "user:0123456789abcdef"})
    assert env.basic_auth("LOGIN") == "user:0123456789abcdef"
    assert env.basic_auth("MISSING") == ""
    assert env.secrets() == ["0123456789abcdef", "user:0123456789abcdef"]
    env.complete()


@pytest.mark.parametrize("value", ["private", "user:private", "user:private/with/a/slash"])
def test_user_and_password_that_fit_no_url_are_a_problem_and_are_not_shown(value: str) -> None:
    env = Environment({"SECRET": value})
    assert env.basic_auth("SECRET") == ""
    assert "SECRET must be user:password" in message(env)
    assert "private" not in message(env)


{% endif -%}
def test_webhook_secrets_are_read_by_host() -> None:
    secret = f"whsec_{'c2VjcmV0' * 4}"
    env = Environment({"SECRETS": f"Example.com={secret}"})
    assert env.webhook_secrets("SECRETS") == {"example.com": secret}
    env.complete()


@pytest.mark.parametrize("secret", ["private", "whsec_private", "cHJpdmF0" * 4])
def test_a_webhook_secret_that_is_none_is_a_problem_and_is_not_shown(secret: str) -> None:
    env = Environment({"SECRETS": f"example.com={secret}"})
    env.webhook_secrets("SECRETS")
    assert "SECRETS: secret 1 must be whsec_" in message(env)
    assert secret not in message(env)


def test_a_webhook_secret_without_its_host_is_not_shown() -> None:
    env = Environment({"SECRETS": "whsec_cHJpdmF0"})
    assert env.webhook_secrets("SECRETS") == {}
    assert "SECRETS: item 1 is not of the form key=value." in message(env)
    assert "cHJpdmF0" not in message(env)


@pytest.mark.parametrize("key", ["short", "a" * 60, f"django-insecure-{SECRET_KEY}"])
def test_a_weak_secret_key_is_a_problem_and_is_not_shown(key: str) -> None:
    env = Environment({"SECRET_KEY": key})
    env.secret_key()
    assert "SECRET_KEY is too weak" in message(env)
    assert key not in message(env)


def test_hosts_are_read() -> None:
    env = Environment({"ALLOWED_HOSTS": "example.com,.example.org,127.0.0.1,[::1]"})
    assert env.hosts() == ["example.com", ".example.org", "127.0.0.1", "[::1]"]
    env.complete()


@pytest.mark.parametrize("host", ["*", "https://example.com", "example.com:443", "example.com/"])
def test_hosts_that_are_none_are_a_problem(host: str) -> None:
    env = Environment({"ALLOWED_HOSTS": host})
    env.hosts()
    assert "ALLOWED_HOSTS holds" in message(env)


@pytest.mark.parametrize("scheme", POSTGRESQL_SCHEMES)
def test_the_database_comes_from_its_url(scheme: str) -> None:
    url = f"{scheme}://user:p%40ss@host:6432/name?sslmode=require"
    assert Environment({"DATABASE_URL": url}).database(POSTGRESQL_SCHEMES) == {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "name",
        "USER": "user",
        "PASSWORD": "p@ss",
        "HOST": "host",
        "PORT": 6432,
        "OPTIONS": {"sslmode": "require"},
    }


def test_the_database_comes_from_five_variables() -> None:
    parts = {"DB_NAME": "name", "DB_USER": "user", "DB_PASSWORD": "p@ss:/", "DB_HOST": "host"}
    assert Environment(parts).database(POSTGRESQL_SCHEMES) == {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "name",
        "USER": "user",
        "PASSWORD": "p@ss:/",
        "HOST": "host",
        "PORT": 5432,
    }


def test_missing_parts_of_the_database_are_named() -> None:
    env = Environment({"DB_NAME": "name", "DB_HOST": "host"})
    env.database(POSTGRESQL_SCHEMES)
    assert "Missing or blank: DB_USER, DB_PASSWORD." in message(env)


def test_two_ways_to_name_the_database_are_a_problem() -> None:
    env = Environment({"DATABASE_URL": "postgres://host/name", "DB_HOST": "other"})
    env.database(POSTGRESQL_SCHEMES)
    assert "DATABASE_URL and DB_ variables are both set" in message(env)


@pytest.mark.parametrize("option", ["conn_max_age=0", "disable_server_side_cursors=true", "pool=1"])
def test_options_of_django_in_a_database_url_are_a_problem(option: str) -> None:
    env = Environment({"DATABASE_URL": f"postgres://host/name?{option}"})
    env.database(POSTGRESQL_SCHEMES)
    assert f"DATABASE_URL: {option.partition('=')[0]} is no option" in message(env)


def test_no_variable_is_no_database() -> None:
    env = Environment({})
    assert env.database(POSTGRESQL_SCHEMES) == {}
    env.complete()


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("foo", "is no URL"),
        ("sqlite:///db.sqlite3", "has the scheme 'sqlite'"),
        ("mysql://user:private@host/name", "has the scheme 'mysql'"),
        ("postgres://user:private@host:port/name", "can't be read"),
        ("postgres://user:private@host:5432", "names no database"),
    ],
)
def test_a_database_url_that_can_not_be_used_is_a_problem(url: str, problem: str) -> None:
    env = Environment({"DATABASE_URL": url})
    assert env.database(POSTGRESQL_SCHEMES) == {}
    assert f"DATABASE_URL {problem}" in message(env)
    assert "private" not in message(env)


@pytest.mark.parametrize(
    ("url", "read"),
    [
        ("redis://host:6379", "redis://host:6379"),
        ("rediss://:pw@host:6379/0", "rediss://:pw@host:6379/0"),
        ("rediss://host/0?ssl_cert_reqs=CERT_REQUIRED", "rediss://host/0"),
        ("rediss://host/0?ssl_cert_reqs=required&a=b", "rediss://host/0?a=b"),
    ],
)
def test_a_redis_url_is_read_without_its_tls_options(url: str, read: str) -> None:
    env = Environment({"REDIS_URL": url})
    assert env.redis_url("REDIS_URL") == read
    env.complete()


@pytest.mark.parametrize(
    "url", ["http://x", "not a url", "127.0.0.1:6379", "redis://", "redis://[", "redis://h:0/0"]
)
def test_a_redis_url_that_is_none_is_a_problem(url: str) -> None:
    env = Environment({"REDIS_URL": url})
    assert env.redis_url("REDIS_URL", default="default") == "default"
    assert "REDIS_URL can't be used: it must look like redis://" in message(env)


def test_tls_options_in_a_redis_url_are_a_problem() -> None:
    env = Environment({"REDIS_URL": "rediss://host/0?ssl_check_hostname=false"})
    env.redis_url("REDIS_URL")
    assert "REDIS_URL holds ssl_check_hostname; REDIS_CA and" in message(env)


def test_a_redis_database_is_a_number() -> None:
    env = Environment({"REDIS_URL": "redis://host:6379/first"})
    env.redis_url("REDIS_URL")
    assert "REDIS_URL must end in the number of a database" in message(env)


def test_verification_can_not_be_turned_off_in_the_url_alone() -> None:
    env = Environment({"REDIS_URL": "rediss://host/0?ssl_cert_reqs=none"})
    assert env.redis_url("REDIS_URL") == "rediss://host/0"
    assert "set REDIS_TLS_VERIFY=false to say you mean it" in message(env)


def test_verification_can_be_turned_off_on_purpose() -> None:
    env = Environment(
        {"REDIS_URL": "rediss://host/0?ssl_cert_reqs=none", "REDIS_TLS_VERIFY": "false"}
    )
    assert env.redis_url("REDIS_URL") == "rediss://host/0"
    assert env.redis_tls() == {"ssl_cert_reqs": "none", "ssl_check_hostname": False}
    env.complete()


def test_redis_is_verified_by_default() -> None:
    assert Environment({}).redis_tls() == {"ssl_cert_reqs": "required", "ssl_check_hostname": True}


def test_redis_is_verified_with_a_private_ca() -> None:
    env = Environment({"REDIS_CA": CERTIFICATE})
    assert env.redis_tls()["ssl_ca_data"] == CERTIFICATE.strip()
    env.complete()


def test_a_private_ca_may_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text(CERTIFICATE)
    env = Environment({"REDIS_CA_FILE": str(tmp_path / "ca.pem")})
    assert env.redis_tls()["ssl_ca_data"] == CERTIFICATE.strip()
    env.complete()


def test_a_ca_file_that_is_not_there_is_a_problem() -> None:
    env = Environment({"REDIS_CA_FILE": "/missing/ca.pem"})
    env.redis_tls()
    assert "REDIS_CA_FILE names /missing/ca.pem, which can't be read" in message(env)


@pytest.mark.parametrize("text", ["no certificate", "nö"])
def test_a_ca_that_is_no_certificate_is_a_problem(text: str) -> None:
    env = Environment({"REDIS_CA": text})
    assert "ssl_ca_data" not in env.redis_tls()
    assert "REDIS_CA (or REDIS_CA_FILE) holds no certificate in PEM form" in message(env)


@pytest.fixture
def _temporary_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.mark.usefixtures("_temporary_folder")
@pytest.mark.parametrize(
    "variables",
    [
        {"DATABASE_URL": "postgres://user:pw@host:5432/name?sslmode=require&connect_timeout=3"},
        {"DB_NAME": "name", "DB_USER": "user", "DB_PASSWORD": "pw", "DB_HOST": "host"},
    ],
    ids=["url", "parts"],
)
def test_the_database_is_verified_with_its_ca(variables: dict[str, str]) -> None:
    env = Environment({**variables, "DATABASE_CA": CERTIFICATE})
    options = env.database(POSTGRESQL_SCHEMES)["OPTIONS"]
    env.complete()
    assert options["sslmode"] == "verify-full"
    file = Path(options["sslrootcert"])
    assert file.read_text() == CERTIFICATE.strip()
    assert file.stat().st_mode & 0o077 == 0


def test_the_file_of_the_database_s_ca_is_used_itself(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text(CERTIFICATE)
    env = Environment(
        {"DATABASE_URL": "postgres://host/name", "DATABASE_CA_FILE": str(tmp_path / "ca.pem")}
    )
    options = env.database(POSTGRESQL_SCHEMES)["OPTIONS"]
    assert options["sslrootcert"] == str(tmp_path / "ca.pem")
    env.complete()
