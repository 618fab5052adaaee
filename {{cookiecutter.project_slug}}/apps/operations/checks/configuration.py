"""Looks at what this process was given: its settings and the files of its image."""

import os
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.staticfiles.storage import ManifestFilesMixin, staticfiles_storage
from django.core import checks as django_checks
from django.utils.http import is_same_domain

# Those that no visitor meets.
LOCAL_ENVIRONMENTS = ("development", "testing")


def settings_module() -> str:
    """Return the dotted name of the settings that this process uses."""
    return os.environ["DJANGO_SETTINGS_MODULE"]


def is_local() -> bool:
    """Return whether the settings are those of a developer's machine."""
    return settings_module().rpartition(".")[2] in LOCAL_ENVIRONMENTS


def check_configuration() -> list[str]:
    """Run Django's own checks, with those for a deployment unless this is development."""
    local = is_local()
    problems = []
    environment = os.environ.get("DJANGO_ENVIRONMENT", "").strip()
    if local and environment not in ("", *LOCAL_ENVIRONMENTS):
        problems.append(
            f"DJANGO_SETTINGS_MODULE chooses {settings_module()} although DJANGO_ENVIRONMENT is "
            f"{environment}: unset DJANGO_SETTINGS_MODULE."
        )
    problems += settings.VARIABLES.misspelt()
    messages = django_checks.run_checks(include_deployment_checks=not local)
    return problems + [
        f"{message.id}: {message.msg}{f' {message.hint}' if message.hint else ''}"
        for message in messages
        if message.level >= django_checks.WARNING and not message.is_silenced()
    ]


def check_hosts() -> list[str]:
    """Hold the host names that are answered against the site's domain and its origins."""
    if is_local():
        return []
    hosts = [host.lower() for host in settings.ALLOWED_HOSTS]
    if "*" in hosts:
        return ["ALLOWED_HOSTS holds *, which accepts forged Host headers: name the hosts."]
    problems = [
        f"ALLOWED_HOSTS ({', '.join(hosts)}) has no host of {domain}, so that visitors of the site "
        "get status 400: correct it, or SITE_DOMAIN if the site has another domain."
        for domain in settings.SITE_DOMAINS
        if not any(_is_of(domain.lower(), host) for host in hosts)
    ]
    for origin in settings.CSRF_TRUSTED_ORIGINS:
        parts = urlsplit(origin.lower())
        if parts.scheme != "https":
            problems.append(
                f"CSRF_TRUSTED_ORIGINS holds {origin}, whose forms can be forged by whoever is on "
                "the visitor's way: write https://."
            )
        elif not any(is_same_domain(parts.hostname or "", host) for host in hosts):
            problems.append(
                f"CSRF_TRUSTED_ORIGINS holds {origin}, which ALLOWED_HOSTS does not answer: remove "
                "it, or allow the host."
            )
    return problems


def _is_of(domain: str, host: str) -> bool:
    """Return whether a host of ``ALLOWED_HOSTS`` answers for the domain, or is one below it."""
    return is_same_domain(domain, host) or host.endswith(f".{domain}")


def check_static_files() -> list[str]:
    """Compare the list of static files with the files."""
    storage = staticfiles_storage
    if settings.DEBUG or not isinstance(storage, ManifestFilesMixin):
        return []  # served from where they were written
    files, _ = storage.load_manifest()
    if not files:
        return [
            f"{storage.manifest_name} is missing or empty in {settings.STATIC_ROOT}, so that pages "
            "fail: run python manage.py collectstatic, or build the image again."
        ]
    missing = [name for name in files.values() if not storage.exists(name)]
    if not missing:
        return []
    return [
        f"{len(missing)} of {len(files)} are missing in {settings.STATIC_ROOT}, as {missing[0]}: "
        "run python manage.py collectstatic, or build the image again."
    ]
