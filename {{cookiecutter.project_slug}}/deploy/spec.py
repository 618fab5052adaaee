"""Applies .do/app.yaml to DigitalOcean App Platform, by doctl.

The platform never reads the file by itself. A variable of type SECRET has no value there: `create`
takes all of them from the environment of this program, and `update` only those that are named by
`--set`; the others stay as the app has them. No value is printed, or written to a file.
"""

import argparse
import copy
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

SPEC_FILE = Path(__file__).resolve().parent.parent / ".do" / "app.yaml"
PLACEHOLDER = "OWNER/REPOSITORY"
COMPONENTS = ("services", "workers", "jobs", "static_sites", "functions")
# What the items of a list are called, by the first of these that they have.
NAMES = ("name", "key", "domain", "rule")
# What the platform chooses where the file leaves it the choice: build tools, a cluster's version.
CHOSEN = ("features", "version")
# What it may write in for what the file leaves away; any other value was set by somebody.
# https://docs.digitalocean.com/products/app-platform/reference/app-spec/
DEFAULTS = {
    "http_port": 8080,
    "instance_count": 1,
    "scope": "RUN_AND_BUILD_TIME",
    "source_dir": "/",
    "type": "GENERAL",
}
ONLY_IN_APP = "only in the app"

Spec = dict[str, Any]


class SpecError(Exception):
    """What is wrong, in one sentence for the person at the terminal."""


def load() -> Spec:
    """Read .do/app.yaml.

    Raises:
        SpecError: If its repository was never filled in.
    """
    text = SPEC_FILE.read_text("utf-8")
    if PLACEHOLDER in text:
        raise SpecError(
            f".do/app.yaml still says {PLACEHOLDER}; write the owner and the name of this "
            "project's repository there."
        )
    spec: Spec = yaml.safe_load(text)
    return spec


def secrets(spec: Spec) -> dict[str, Spec]:
    """Return the variables of type SECRET.

    Args:
        spec: An app spec.

    Returns:
        The variables by their place, as in ``SECRET_KEY`` or ``web.SECRET_KEY``.
    """
    owners = [component for kind in COMPONENTS for component in spec.get(kind, [])]
    places = {"": spec} | {f"{component['name']}.": component for component in owners}
    return {
        place + variable["key"]: variable
        for place, owner in places.items()
        for variable in owner.get("envs", [])
        if variable.get("type") == "SECRET"
    }


def render(spec: Spec, environment: Mapping[str, str], live: Spec | None = None) -> Spec:
    """Give every SECRET its value; a blank one would reach the processes as a blank variable.

    Args:
        spec: What .do/app.yaml says.
        environment: New values by variable; a blank one counts as none, and others are ignored.
        live: The spec of the app, whose encrypted values are kept; none for a new app.

    Returns:
        A spec that can be applied.

    Raises:
        SpecError: If a SECRET has a value in the file, or has none anywhere.
    """
    rendered = copy.deepcopy(spec)
    kept = secrets(live or {})
    missing = []
    for place, variable in secrets(rendered).items():
        if variable.get("value"):
            raise SpecError(f"{place} has a value in .do/app.yaml, where anyone can read it.")
        value = environment.get(variable["key"], "").strip()
        variable["value"] = value or kept.get(place, {}).get("value", "")
        if not variable["value"]:
            missing.append(variable["key"])
    if missing:
        names = ", ".join(dict.fromkeys(missing))
        raise SpecError(
            f"The environment has no value for {names}."
            if live is None
            else f"The app has no value for {names}, and --set does not name it."
        )
    return rendered


def named(spec: Spec, names: Iterable[str], environment: Mapping[str, str]) -> dict[str, str]:
    """Pick the new values of secrets; what else the environment holds is none of the app's.

    Args:
        spec: What .do/app.yaml says.
        names: The variables.
        environment: Their values, and others.

    Returns:
        The values by variable.

    Raises:
        SpecError: If a name is that of no SECRET, or has no value.
    """
    known = {variable["key"] for variable in secrets(spec).values()}
    for name in names:
        if name not in known:
            raise SpecError(f".do/app.yaml has no SECRET of the name {name}.")
        if not environment.get(name, "").strip():
            raise SpecError(f"{name} has no value in the environment.")
    return {name: environment[name] for name in names}


def comparable(node: Any) -> Any:
    """Return a part of a spec with lists as mappings by name, so that their order is none.

    Items of the same name, such as two alerts of one rule, are numbered.

    Args:
        node: A mapping, a list or a value.
    """
    if isinstance(node, dict):
        return {name: comparable(value) for name, value in node.items()}
    if not isinstance(node, list):
        return node
    items: Spec = {}
    seen: Counter[str] = Counter()
    for position, item in enumerate(node):
        name = _name(item, position)
        seen[name] += 1
        items[f"{name} {seen[name]}" if seen[name] > 1 else name] = comparable(item)
    return items


def _name(item: Any, position: int) -> str:
    named = item if isinstance(item, dict) else {}
    return next((str(named[name]) for name in NAMES if name in named), str(position))


def differences(ours: Any, live: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Compare a spec with that of the app.

    The platform leaves zeros and blanks out, and writes in what the file leaves to it: the values
    of secrets, CHOSEN and DEFAULTS. These are no differences. Whatever else is only in the app was
    added by somebody.

    Args:
        ours: The file's, comparable.
        live: The app's, comparable.
        path: Where in the spec both are.

    Yields:
        The path of each difference, and what it is.
    """
    if not (isinstance(ours, dict) and isinstance(live, dict)):
        if ours != live:
            yield path, "not the same"
        return
    # A SECRET's value is never in the file.
    hidden = {"value"} if ours.get("type") == "SECRET" else set()
    for name in sorted((ours.keys() | live.keys()) - hidden):
        place = f"{path}.{name}" if path else name
        if name in ours and name in live:
            yield from differences(ours[name], live[name], place)
        elif ours.get(name):
            yield place, "only in the file"
        elif _is_added(name, live.get(name)):
            yield place, ONLY_IN_APP


def _is_added(name: str, value: Any) -> bool:
    if name in CHOSEN:
        return False
    if isinstance(value, dict):
        return any(_is_added(inner, value[inner]) for inner in value)
    return bool(value) and value != DEFAULTS.get(name)


def doctl(*arguments: str, spec: Spec | None = None) -> str:
    """Run doctl.

    Args:
        arguments: Its arguments.
        spec: What it reads as ``--spec -``.

    Returns:
        What it printed.

    Raises:
        SpecError: If it is missing or fails.
    """
    program = shutil.which("doctl")
    if program is None:
        raise SpecError(
            "doctl is missing; https://docs.digitalocean.com/reference/doctl/how-to/install/ "
            "tells how to install it."
        )
    result = subprocess.run(  # noqa: S603 (doctl, with arguments of this file)
        [program, *arguments],
        input=json.dumps(spec),
        capture_output=True,
        text=True,
        check=False,
    )
    output = result.stdout.strip()
    if result.returncode != 0:
        reason = " ".join(result.stderr.rpartition("Error: ")[2].split())
        for variable in secrets(spec or {}).values():
            reason = reason.replace(variable["value"], "(hidden)")
        app = f" The app is {output}." if output else ""
        raise SpecError(f"doctl {' '.join(arguments[:2])} failed: {reason}{app}")
    return output


def fetch(app_id: str) -> Spec:
    """Return the spec of an app.

    Args:
        app_id: The app's id.

    Raises:
        SpecError: If there is no such app, or doctl can't ask.
    """
    spec: Spec = json.loads(doctl("apps", "spec", "get", app_id, "--format", "json"))
    return spec


def create() -> None:
    """Make the app, wait for its first deployment and print its id."""
    spec = render(load(), os.environ)
    print("The first deployment takes some minutes.", file=sys.stderr)
    arguments = ("--spec", "-", "--wait", "--format", "ID", "--no-header")
    print(doctl("apps", "create", *arguments, spec=spec))


def update(app_id: str, names: Iterable[str], *, remove: bool) -> None:
    """Apply the file to the app, deploy the newest commit of its branch and wait.

    Args:
        app_id: The app's id.
        names: The secrets that get new values, from the environment.
        remove: Whether what is only in the app may go; the file replaces all that the app has.

    Raises:
        SpecError: If a SECRET has no value, or if the app has what the file does not name, and it
            may not go.
    """
    spec, live = load(), fetch(app_id)
    rendered = render(spec, named(spec, names, os.environ), live)
    found = differences(comparable(spec), comparable(live))
    surplus = ", ".join(path for path, what in found if what == ONLY_IN_APP)
    if surplus and not remove:
        raise SpecError(
            f"The app has what .do/app.yaml does not name, and would lose it: {surplus}. Write it "
            "into the file, or add --remove."
        )
    print("The deployment takes some minutes.", file=sys.stderr)
    arguments = ("--spec", "-", "--update-sources", "--wait", "--format", "ID", "--no-header")
    doctl("apps", "update", app_id, *arguments, spec=rendered)


def diff(app_id: str) -> bool:
    """Print what differs between the file and the app.

    Args:
        app_id: The app's id.

    Returns:
        Whether anything does.
    """
    spec, live = load(), fetch(app_id)
    found = [f"{path}: {what}" for path, what in differences(comparable(spec), comparable(live))]
    found += [
        f"{place}: blank in the app"
        for place, variable in secrets(live).items()
        if not variable.get("value")
    ]
    print("\n".join(found) or "The app is what .do/app.yaml says.")
    return bool(found)


def main() -> None:
    """Run one command; an error is one sentence."""
    parser = argparse.ArgumentParser(description=__doc__, prog="deploy/spec.py")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("create", help="make the app and print its id")
    updating = commands.add_parser("update", help="apply the file and deploy the newest commit")
    updating.add_argument("app_id", metavar="APP_ID")
    updating.add_argument(
        "--set",
        action="append",
        default=[],
        dest="names",
        metavar="NAME",
        help="give the secret NAME a new value, the environment's; may be repeated",
    )
    updating.add_argument("--remove", action="store_true", help="lose what is only in the app")
    comparing = commands.add_parser("diff", help="name what differs; exit code 1 if anything does")
    comparing.add_argument("app_id", metavar="APP_ID")
    arguments = parser.parse_args()
    try:
        if arguments.command == "create":
            create()
        elif arguments.command == "update":
            update(arguments.app_id, arguments.names, remove=arguments.remove)
        else:
            sys.exit(diff(arguments.app_id))
    except SpecError as error:
        sys.exit(f"{parser.prog}: {error}")


if __name__ == "__main__":
    main()
