"""Compose files, read as Docker Compose reads them, as far as the template uses them."""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.platforms.components import Component

# In seconds; Docker's own when the file names none.
DEFAULT_GRACE = 10.0
UNITS = {"s": 1.0, "m": 60.0}


def interpolate(text: str, variables: Mapping[str, str]) -> str:
    """Replace `${NAME}`, `${NAME:?message}`, `${NAME:-default}` and `$$` in a value.

    Args:
        text: the value.
        variables: those of the file `.env`.

    Raises:
        KeyError: A required variable is not there; the message is the file's own.
    """

    def value(match: re.Match[str]) -> str:
        name, operator, argument = match["name"], match["operator"], match["argument"]
        if name is None:
            return "$"
        if variables.get(name):
            return variables[name]
        if operator == ":?":
            raise KeyError(f"required variable {name} is missing a value: {argument}")
        return argument or ""

    return re.sub(
        r"\$\$|\$\{(?P<name>\w+)(?:(?P<operator>:[?-])(?P<argument>[^}]*))?\}", value, text
    )


def services(file: Path, variables: Mapping[str, str]) -> dict[str, Any]:
    """Return the services of a file with all variables replaced.

    Args:
        file: the Compose file.
        variables: those of `.env`.
    """

    def replaced(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: replaced(value) for key, value in node.items()}
        if isinstance(node, list):
            return [replaced(value) for value in node]
        return interpolate(node, variables) if isinstance(node, str) else node

    document = yaml.safe_load(file.read_text("utf-8"))
    found: dict[str, Any] = replaced(document["services"])
    return found


def components(
    file: Path,
    variables: Mapping[str, str],
    env_files: Mapping[str, Mapping[str, str]],
    hosts: Mapping[str, str],
) -> list[Component]:
    """Return what a Compose file runs from the project's own image.

    Args:
        file: the Compose file.
        variables: those of `.env`, for interpolation.
        env_files: the variables of each `env_file`, by its name.
        hosts: where a test has the other services, `host:port` by `service:port`.
    """
    found = services(file, variables)
    own = {name: service for name, service in found.items() if "build" in service}
    result = []
    for name, service in own.items():
        environment = dict(env_files.get(service.get("env_file", ""), {}))
        for variable, value in service.get("environment", {}).items():
            for host, address in hosts.items():
                value = value.replace(f"@{host}/", f"@{address}/")
            environment[variable] = value
        ports = [str(port).rpartition(":")[2] for port in service.get("ports", [])]
        result.append(
            Component(
                name=name,
                command=tuple(shlex.split(service["command"])),
                environment=environment,
                check=_check(service),
                port=int(ports[0]) if ports else None,
                grace=_seconds(service.get("stop_grace_period")),
                once=service.get("restart") == "no",
                after=tuple(
                    other
                    for other, condition in service["depends_on"].items()
                    if condition["condition"] == "service_completed_successfully"
                ),
            )
        )
    return result


def _check(service: Mapping[str, Any]) -> tuple[str, ...] | None:
    if "healthcheck" not in service:
        return None
    kind, *command = service["healthcheck"]["test"]
    assert kind == "CMD", f"a check needs a shell: {command}"
    return tuple(command)


def _seconds(duration: str | None) -> float:
    if duration is None:
        return DEFAULT_GRACE
    match = re.fullmatch(r"(\d+)([sm])", duration)
    assert match, f"not a duration: {duration}"
    return int(match[1]) * UNITS[match[2]]
