"""Choosing the settings module, and reading variables so that one message names every problem.

Imports no settings: manage.py, wsgi.py, asgi.py and celery.py call :func:`start` or
:func:`select_settings` first, the settings modules read their values through :class:`Environment`.
"""

import base64
import ipaddress
import os
import re
import ssl
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

import environ
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.core.validators import validate_email

ENVIRONMENTS = ("development", "staging", "production", "testing")
POSTGRESQL_SCHEMES = ("postgres", "postgresql")
DATABASE_PARTS = ("DB_NAME", "DB_USER", "DB_PASSWORD", "DB_HOST")

# What django-environ takes from the query of a database URL for Django, as text or not at all.
DJANGO_OPTIONS = {
    "ATOMIC_REQUESTS",
    "AUTOCOMMIT",
    "CONN_HEALTH_CHECKS",
    "CONN_MAX_AGE",
    "DISABLE_SERVER_SIDE_CURSORS",
    "disable_server_side_cursors",
    "pool",
}

TRUE = ("1", "true", "yes", "on")
FALSE = ("0", "false", "no", "off")

# Django's own limits, checked by security.W009.
SECRET_KEY_LENGTH = 50
SECRET_KEY_UNIQUE_CHARACTERS = 5
{%- if cookiecutter.use_prometheus %}
TOKEN_LENGTH = 32
{%- endif %}
LAST_PORT = 65535
# Where the site has something else.
TAKEN_PATHS = {"accounts", {% if cookiecutter.email_provider != "smtp" %}"anymail", {% endif %}"health", {% if cookiecutter.use_prometheus %}"metrics", {% endif %}"ready", "static", "status"}
# A name that holds other characters than these stands in quotation marks.
NAMED_ADDRESS = re.compile(r'(?:[^"<>@,;:\[\]\\\r\n]+|"[^"\\\r\n]+" ?)<([^<>]+)>')
# What nearly every address looks like. Django's own pattern allows more, but costs a process that
# starts a tenth of a second.
PLAIN_ADDRESS = re.compile(
    r"[A-Za-z0-9_+-]+(\.[A-Za-z0-9_+-]+)*@([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]{2,63}"
)
ADDRESS_EXAMPLE = "ann@example.org or Ann <ann@example.org>"
# In characters; Django's own limit.
LONGEST_ADDRESS = 320
# In bytes, as Standard Webhooks has it.
WEBHOOK_KEY_LENGTHS = range(24, 65)
# What a variable is called whose value is kept out of logs, and the shortest that is one.
SECRET_VARIABLE = re.compile(r"SECRET|PASSWORD|TOKEN|KEY")
SECRET_LENGTH = 6
# From which ratio of difflib on a name may be another one misspelt: REDIS_ULR and REDIS_URL have
# 0.89, DATABASE_URL and DATABASE_CA 0.78.
LIKENESS = 0.85


def select_settings(default: str) -> str:
    """Choose the settings module and put it into ``DJANGO_SETTINGS_MODULE``.

    An explicit ``DJANGO_SETTINGS_MODULE`` wins, then ``DJANGO_ENVIRONMENT``, then the default.

    Args:
        default: The environment to use when neither variable is set, one of ``ENVIRONMENTS``.

    Returns:
        The dotted name of the settings module.

    Raises:
        ImproperlyConfigured: If ``DJANGO_ENVIRONMENT`` names no environment.
    """
    module = os.environ.get("DJANGO_SETTINGS_MODULE", "").strip()
    if not module:
        name = os.environ.get("DJANGO_ENVIRONMENT", "").strip() or default
        if name not in ENVIRONMENTS:
            raise ImproperlyConfigured(
                f"DJANGO_ENVIRONMENT is {name!r}; it must be one of {', '.join(ENVIRONMENTS)}."
            )
        module = f"{__package__}.settings.{name}"
    os.environ["DJANGO_SETTINGS_MODULE"] = module
    return module


def start(default: str) -> None:
    """Choose and load the settings; a process that can't is stopped with the message alone.

    Args:
        default: The environment to use when the variables choose none.

    Raises:
        SystemExit: With the message, if the settings can't be chosen or loaded.
    """
    with message_alone():
        module = select_settings(default)
        try:
            _ = settings.INSTALLED_APPS
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module}.".startswith(f"{error.name}."):
                raise
            raise ImproperlyConfigured(
                f"DJANGO_SETTINGS_MODULE is {module!r}, and there is no such module; "
                f"leave it unset and set DJANGO_ENVIRONMENT to one of {', '.join(ENVIRONMENTS)}."
            ) from error


@contextmanager
def message_alone() -> Iterator[None]:
    """Stop the process with the message, without a traceback, if its configuration is wrong.

    Raises:
        SystemExit: With the message of an ``ImproperlyConfigured`` that was raised inside.
    """
    try:
        yield
    except ImproperlyConfigured as error:
        sys.exit(str(error))


def _is_address(text: str) -> bool:
    """Return whether a text is an address, ``Name <address>`` or bare."""
    named = NAMED_ADDRESS.fullmatch(text)
    address = named[1] if named else text
    if PLAIN_ADDRESS.fullmatch(address) and len(address) <= LONGEST_ADDRESS:
        return True
    try:
        validate_email(address)
    except ValidationError:
        return False
    return True


class Environment:
    """Reads typed variables and remembers each problem, so that they can be reported together.

    A blank variable counts as missing. Every variable may come as ``NAME_FILE`` instead, the path
    of a file that holds the value (Docker secrets). A value that can't be used is replaced by a
    harmless one, and :meth:`complete` raises.
    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self._missing: list[str] = []
        self._wrong: list[str] = []
        self._secrets: set[str] = set()
        self._read: dict[str, str] = {}

    def reject(self, problem: str) -> None:
        """Add a problem to the message.

        Args:
            problem: A sentence that names the variable, what is wrong and what would be right.
        """
        self._wrong.append(problem)

    def require(self, *names: str) -> None:
        """Demand that variables are set and not blank.

        Args:
            names: The names of the variables.
        """
        self._missing += [name for name in names if not self.text(name)]

    def complete(self) -> None:
        """Report all problems at once, with the process and the settings module that they stop.

        Raises:
            ImproperlyConfigured: If a variable is missing, blank or wrong.
        """
        problems = list(dict.fromkeys(self._wrong))
        if self._missing:
            names = ", ".join(dict.fromkeys(self._missing))
            problems.insert(0, f"Missing or blank: {names}.")
        if problems:
            problems += self.misspelt()
            process = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
            raise ImproperlyConfigured(
                f"{process} can't start with {os.environ.get('DJANGO_SETTINGS_MODULE')}:\n"
                + "\n".join(f"  - {problem}" for problem in problems)
                + "\nEvery variable is explained in .env.example."
            )

    def text(self, name: str, default: str = "") -> str:
        """Read a variable as text without surrounding white space.

        Args:
            name: The name of the variable.
            default: What a missing or blank variable stands for.

        Returns:
            The value, the content of the file that ``NAME_FILE`` names, or the default.
        """
        value = self._variables.get(name, "").strip()
        path = self._variables.get(f"{name}_FILE", "").strip()
        if value and path:
            self.reject(f"{name} and {name}_FILE are both set; set one of them.")
        if path and not value:
            try:
                value = Path(path).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                self.reject(f"{name}_FILE names {path}, which can't be read: {error}.")
        self._read[name] = value
        self._remember_secrets(name, value)
        return value or default

    def _remember_secrets(self, name: str, value: str) -> None:
        """Note what of a value must not be shown: the password of a URL, or all of it."""
        password = re.search(r"://[^/\s:@]*:([^/\s@]+)@", value)
        if password:
            self._secrets |= {password[1], unquote(password[1])}
        elif SECRET_VARIABLE.search(name):
            # Also the items of a list, and the secrets in pairs like host=secret.
            for item in (value, *value.split(",")):
                self._secrets |= {item.strip(), item.partition("=")[2].strip()}

    def secrets(self) -> list[str]:
        """Return the secrets among the variables that were read so far, for logs to mask."""
        return sorted(secret for secret in self._secrets if len(secret) >= SECRET_LENGTH)

    def misspelt(self) -> list[str]:
        """Return a question for each variable that is not read and is like one that is not set.

        Nothing more follows from it: a hosting sets variables of its own.
        """
        from difflib import get_close_matches  # noqa: PLC0415 (few processes ask)

        files = {f"{name}_FILE" for name in self._read}
        blank = sorted(name for name, value in self._read.items() if not value)
        return [
            f"{name} is set, and nothing reads it: is {similar} meant?"
            for name in sorted(self._variables.keys() - self._read.keys() - files)
            for similar in get_close_matches(
                name.removeprefix("DJANGO_"), blank, n=1, cutoff=LIKENESS
            )
        ]

    def flag(self, name: str, *, default: bool) -> bool:
        """Read a variable as yes or no; anything else is a problem.

        Args:
            name: The name of the variable.
            default: What a missing or blank variable stands for.

        Returns:
            The value.
        """
        value = self.text(name).lower()
        if value and value not in TRUE + FALSE:
            self.reject(f"{name} is {value!r}; it must be true or false.")
        return value in TRUE if value in TRUE + FALSE else default

    def integer(self, name: str, *, default: int, minimum: int = 0) -> int:
        """Read a variable as a whole number.

        Args:
            name: The name of the variable.
            default: What a missing or blank variable stands for.
            minimum: The smallest number that makes sense.

        Returns:
            The number.
        """
        value = self.text(name)
        if not value:
            return default
        if not re.fullmatch(r"[0-9]{1,9}", value) or int(value) < minimum:
            self.reject(f"{name} is {value!r}; it must be a whole number from {minimum}.")
            return default
        return int(value)

    def port(self, name: str, *, default: int) -> int:
        """Read a variable as the number of a TCP port.

        Args:
            name: The name of the variable.
            default: What a missing or blank variable stands for.

        Returns:
            The number.
        """
        port = self.integer(name, default=default, minimum=1)
        if port > LAST_PORT:
            self.reject(f"{name} is {port}; the last port is {LAST_PORT}.")
        return port

    def share(self, name: str, *, default: float) -> float:
        """Read a variable as a share of a whole.

        Args:
            name: The name of the variable.
            default: What a missing or blank variable stands for.

        Returns:
            A number from 0 to 1.
        """
        value = self.text(name)
        if not value:
            return default
        if not re.fullmatch(r"0(\.[0-9]+)?|1(\.0+)?", value):
            self.reject(f"{name} is {value!r}; it must be a number from 0 to 1, as 0.05.")
            return default
        return float(value)

    def choice(self, name: str, choices: Iterable[str], *, default: str) -> str:
        """Read a variable as one of some words, in any case.

        Args:
            name: The name of the variable.
            choices: The words.
            default: What a missing or blank variable stands for.

        Returns:
            The word as it stands in ``choices``.
        """
        value = self.text(name, default)
        for choice in choices:
            if choice.lower() == value.lower():
                return choice
        self.reject(f"{name} is {value!r}; it must be one of {', '.join(choices)}.")
        return default

    def path(self, name: str, *, default: str) -> str:
        """Read a variable as the beginning of the paths of a part of the site.

        Args:
            name: The name of the variable.
            default: What a missing or blank variable stands for.

        Returns:
            The path, without a slash before and with one behind it.
        """
        path = self.text(name, default)
        if not re.fullmatch(r"([A-Za-z0-9_-]+/)+", path):
            self.reject(
                f"{name} is {path!r}; it must be letters, digits, - or _ and a slash at the end, "
                "as in office-7f3a/."
            )
            return default
        if path.partition("/")[0] in TAKEN_PATHS:
            self.reject(f"{name} is {path!r}, where something else is; take another, as office/.")
            return default
        return path

    def items(self, name: str, *, default: Iterable[str] = ()) -> list[str]:
        """Read a variable as a list, separated by commas.

        Args:
            name: The name of the variable.
            default: What a missing or blank variable stands for.

        Returns:
            The items without white space around them and without blank ones.
        """
        items = [item.strip() for item in self.text(name).split(",")]
        return [item for item in items if item] or list(default)

    def pairs(self, name: str) -> dict[str, str]:
        """Read a variable as ``key=value`` pairs, separated by commas.

        Args:
            name: The name of the variable.

        Returns:
            The pairs; a value may itself hold ``=``.
        """
        pairs = {}
        for position, item in enumerate(self.items(name), start=1):
            key, _, value = item.partition("=")
            if not key.strip() or not value.strip():
                # The item may be a secret, so only its place is told.
                self.reject(f"{name}: item {position} is not of the form key=value.")
                continue
            pairs[key.strip()] = value.strip()
        return pairs

    def networks(self, name: str) -> list[str]:
        """Read a variable as a list of IP networks.

        Args:
            name: The name of the variable.

        Returns:
            The networks as they were written.
        """
        networks = self.items(name)
        for network in networks:
            try:
                ipaddress.ip_network(network)
            except ValueError as error:
                self.reject(f"{name}: {error}; a network looks like 10.1.0.0/16.")
        return networks

    def address(self, name: str, default: str) -> str:
        """Read a variable as an e-mail address.

        Args:
            name: The name of the variable.
            default: What a missing or blank variable stands for.

        Returns:
            The address as it was written, ``Name <address>`` or bare.
        """
        address = self.text(name, default)
        if not _is_address(address):
            self.reject(f"{name} is no e-mail address; it looks like {ADDRESS_EXAMPLE}.")
        return address

    def addresses(self, name: str) -> list[str]:
        """Read a variable as a list of e-mail addresses.

        Args:
            name: The name of the variable.

        Returns:
            The addresses as they were written, ``Name <address>`` or bare.
        """
        addresses = self.items(name)
        for position, address in enumerate(addresses, start=1):
            if not _is_address(address):
                self.reject(
                    f"{name}: item {position} is no e-mail address; it looks like "
                    f"{ADDRESS_EXAMPLE}, and commas separate the items."
                )
        return addresses
{%- if cookiecutter.use_flower or cookiecutter.email_provider in ("ses", "postmark", "brevo", "mailjet") %}

    def basic_auth(self, name: str) -> str:
        """Read a user name and a password, of characters that may stand in a URL.

        Args:
            name: The name of the variable.

        Returns:
            ``user:password``, or nothing.
        """
        value = self.text(name)
        if value and not re.fullmatch(r"[A-Za-z0-9_-]+:[A-Za-z0-9_-]{16,}", value):
            self.reject(
                f"{name} must be user:password, of letters, digits, - and _, with a password of at "
                "least 16 characters, as from python -c 'import secrets; "
                "print(secrets.token_urlsafe(24))'."
            )
            return ""
        self._secrets |= {value, value.partition(":")[2]}
        return value
{%- endif %}

    def webhook_secrets(self, name: str) -> dict[str, str]:
        """Read the secrets that sign webhooks.

        Args:
            name: The name of the variable.

        Returns:
            The secrets by host, in lower case.
        """
        secrets = {host.lower(): secret for host, secret in self.pairs(name).items()}
        for position, secret in enumerate(secrets.values(), start=1):
            try:
                key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
            except ValueError:
                key = b""
            if not secret.startswith("whsec_") or len(key) not in WEBHOOK_KEY_LENGTHS:
                self.reject(
                    f"{name}: secret {position} must be whsec_ and the base64 form of 24 to 64 "
                    "random bytes."
                )
        return secrets

    def secret_key(self, name: str = "SECRET_KEY") -> str:
        """Read Django's secret key and hold it to Django's limits.

        Args:
            name: The name of the variable.

        Returns:
            The key.
        """
        key = self.text(name)
        if key and (
            len(key) < SECRET_KEY_LENGTH
            or len(set(key)) < SECRET_KEY_UNIQUE_CHARACTERS
            or key.startswith("django-insecure-")
        ):
            self.reject(
                f"{name} is too weak: it needs at least {SECRET_KEY_LENGTH} random characters, as "
                "from python -c 'import secrets; print(secrets.token_urlsafe(64))'."
            )
        return key

{% if cookiecutter.use_prometheus %}    def token(self, name: str) -> str:
        """Read a secret that a client sends in a header.

        Args:
            name: The name of the variable.

        Returns:
            The secret.
        """
        token = self.text(name)
        sent = re.fullmatch(r"[A-Za-z0-9._~+/=-]*", token)
        if token and (len(token) < TOKEN_LENGTH or not sent):
            self.reject(
                f"{name} must have at least {TOKEN_LENGTH} random letters, digits or ._~+/=-, as "
                "from python -c 'import secrets; print(secrets.token_urlsafe(48))'."
            )
        return token

{% endif %}    def hosts(self, name: str = "ALLOWED_HOSTS") -> list[str]:
        """Read the host names that the site answers to.

        Args:
            name: The name of the variable.

        Returns:
            The host names; a leading dot stands for all subdomains.
        """
        hosts = self.items(name)
        for host in hosts:
            if host == "*":
                self.reject(
                    f"{name} holds *, which accepts forged Host headers; name the hosts "
                    "(health probes need no entry)."
                )
            elif not re.fullmatch(r"\.?[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\]", host):
                self.reject(
                    f"{name} holds {host!r}; it takes host names without scheme, port or path."
                )
        return hosts

    def database(self, schemes: Iterable[str]) -> dict[str, Any]:
        """Read the database from ``DATABASE_URL``, or from ``DB_NAME``, ``DB_USER``, ....

        With ``DATABASE_CA`` the server is verified: by that CA, and by its name.

        Args:
            schemes: The URL schemes that are allowed.

        Returns:
            An entry for ``DATABASES``, empty when no variable is set or one is wrong.
        """
        url = self.text("DATABASE_URL")
        parts = {name: self.text(name) for name in DATABASE_PARTS}
        port = self.port("DB_PORT", default=5432)
        if url and any(parts.values()):
            self.reject("DATABASE_URL and DB_ variables are both set; use one or the other.")
        database: dict[str, Any] = {}
        if url:
            database = self._database_url(url, tuple(schemes))
        elif any(parts.values()):
            self.require(*DATABASE_PARTS)
            database = {
                "ENGINE": "django.db.backends.postgresql",
                "NAME": parts["DB_NAME"],
                "USER": parts["DB_USER"],
                "PASSWORD": parts["DB_PASSWORD"],
                "HOST": parts["DB_HOST"],
                "PORT": port,
            }
        authority = self.authority("DATABASE_CA")
        if database and authority:
            verified = {"sslmode": "verify-full", "sslrootcert": self._authority_file(authority)}
            database["OPTIONS"] = database.get("OPTIONS", {}) | verified
        return database

    def _authority_file(self, authority: str) -> str:
        """Return the path of the database's CA, which libpq takes from a file only."""
        path = self._variables.get("DATABASE_CA_FILE", "").strip()
        if path:
            return path
        with tempfile.NamedTemporaryFile("w", suffix=".pem", delete=False) as file:
            file.write(authority)
        return file.name

    def authority(self, name: str) -> str:
        """Read the certificate of a CA that is not among the system's.

        Args:
            name: The name of the variable.

        Returns:
            One or more certificates in PEM form, or nothing.
        """
        authority = self.text(name)
        if authority:
            try:
                ssl.create_default_context(cadata=authority)
            except (OSError, TypeError) as error:
                self.reject(f"{name} (or {name}_FILE) holds no certificate in PEM form: {error}.")
                return ""
        return authority

    def _database_url(self, url: str, schemes: tuple[str, ...]) -> dict[str, Any]:
        example = "postgres://user:password@host:5432/name"
        scheme = url.partition("://")[0] if "://" in url else ""
        if scheme not in schemes:
            found = f"has the scheme {scheme!r}" if scheme else "is no URL"
            self.reject(
                f"DATABASE_URL {found}; {' and '.join(schemes)} are allowed, as in {example}."
            )
            return {}
        try:
            database: dict[str, Any] = environ.Env.db_url_config(url)
        except ValueError:
            self.reject(
                f"DATABASE_URL can't be read; it must look like {example}, with special "
                "characters in user and password percent-encoded."
            )
            return {}
        django_options = DJANGO_OPTIONS & set(database | database.get("OPTIONS", {}))
        if django_options:
            names = ", ".join(sorted(django_options)).lower()
            self.reject(f"DATABASE_URL: {names} is no option of PostgreSQL; see settings/base.py.")
        if scheme in POSTGRESQL_SCHEMES and not database["NAME"]:
            self.reject(f"DATABASE_URL names no database; it must look like {example}.")
            return {}
        return database

    def redis_url(self, name: str, default: str = "") -> str:
        """Read the URL of a Redis-compatible server and take the TLS options out of it.

        Whether the certificate is verified is decided in one place, :meth:`redis_tls`: the three
        clients (Celery's broker, its result store, Django's cache) read ``ssl_cert_reqs`` in a URL
        in three ways, and one of them connects unverified without it.

        Args:
            name: The name of the variable.
            default: What a missing or blank variable stands for.

        Returns:
            The URL without ``ssl_cert_reqs``, or the default.
        """
        url = self.text(name)
        if not url:
            return default
        example = "redis://:password@host:6379/0 or rediss://:password@host:6379/0"
        try:
            parts = urlsplit(url)
            usable = bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if not usable or parts.scheme not in ("redis", "rediss"):
            self.reject(f"{name} can't be used: it must look like {example}.")
            return default
        if not re.fullmatch(r"/?|/[0-9]+", parts.path):
            self.reject(f"{name} must end in the number of a database, as in {example}.")
            return default
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        verification = options.pop("ssl_cert_reqs", "required").lower().removeprefix("cert_")
        if verification != "required" and self.flag("REDIS_TLS_VERIFY", default=True):
            self.reject(
                f"{name} turns the verification of certificates off (ssl_cert_reqs); give the "
                "server's CA in REDIS_CA, or set REDIS_TLS_VERIFY=false to say you mean it."
            )
        others = [option for option in options if option.startswith("ssl_")]
        if others:
            self.reject(
                f"{name} holds {', '.join(others)}; REDIS_CA and REDIS_TLS_VERIFY say how a server "
                "is verified."
            )
        return urlunsplit(parts._replace(query=urlencode(options)))

    def result_backend(self, name: str, redis_url: str, apps: Iterable[str]) -> str | None:
        """Read where Celery keeps results.

        Args:
            name: The name of the variable.
            redis_url: What a missing or blank variable stands for.
            apps: The installed apps, because the database can keep results only with one of them.

        Returns:
            The URL of a Redis-compatible server, ``django-db``, or nothing.
        """
        if self.text(name) != "django-db":
            return self.redis_url(name, default=redis_url) or None
        if "django_celery_results" not in apps:
            self.reject(
                f"{name} is django-db, which needs the app django_celery_results; docs/results.md "
                "tells how to add it."
            )
        return "django-db"

    def sentry_dsn(self, name: str) -> str:
        """Read where a Sentry takes errors.

        Args:
            name: The name of the variable.

        Returns:
            The DSN as Sentry shows it, or nothing.
        """
        dsn = self.text(name)
        try:
            parts = urlsplit(dsn)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname and parts.username)
            usable = usable and parts.port != 0 and parts.path.rpartition("/")[2].isdecimal()
        except ValueError:
            usable = False
        if dsn and not usable:
            self.reject(f"{name} is no DSN; it looks like https://key@o1.ingest.sentry.io/2.")
            return ""
        return dsn

    def redis_tls(self) -> dict[str, Any]:
        """Read how a ``rediss://`` server is verified.

        Returns:
            Keyword arguments that Celery, kombu and redis-py all understand.
        """
        authority = self.authority("REDIS_CA")
        if not self.flag("REDIS_TLS_VERIFY", default=True):
            return {"ssl_cert_reqs": "none", "ssl_check_hostname": False}
        tls: dict[str, Any] = {"ssl_cert_reqs": "required", "ssl_check_hostname": True}
        if authority:
            # Trusted besides the system's CAs, not in their place.
            tls["ssl_ca_data"] = authority
        return tls
