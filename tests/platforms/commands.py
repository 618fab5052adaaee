"""The commands that a deployment file may give its processes."""

import re
from collections.abc import Mapping

# By process: the plain command, the project's package as its group, and django-prodserver's.
FORMS = {
    "web": (r"gunicorn --config gunicorn\.conf\.py (\w+)\.wsgi:application", "server web"),
    "worker": (r"celery -A (\w+) worker --without-gossip --without-mingle", "worker worker"),
    "beat": (r"celery -A (\w+) beat", "worker beat"),
    "flower": (r"celery -A (\w+) flower --conf=flower\.conf\.py --logging=none", "server flower"),
}
RELEASE = "python manage.py release"
# What sends an entry of the schedule, and the entry's name.
ENQUEUE = r"python manage\.py enqueue ([a-z0-9]+(?:-[a-z0-9]+)*)"


def require_known(commands: Mapping[str, str]) -> None:
    """Accept plain commands of one package, or those of django-prodserver, and no mixture.

    Args:
        commands: by process, those of the schedule left away.

    Raises:
        ValueError: a process has another command.
    """
    manners = set()
    for process, command in commands.items():
        if process == "release":
            if command != RELEASE:
                raise ValueError(f"release is {command!r} instead of {RELEASE!r}")
            continue
        if process not in FORMS:
            raise ValueError(f"{process} is no process of the template")
        plain, prodserver = FORMS[process]
        if command == f"python manage.py {prodserver}":
            manners.add("django-prodserver")
        elif match := re.fullmatch(plain, command):
            manners.add(match[1])
        else:
            raise ValueError(f"{process} has an unknown command: {command}")
    if len(manners) != 1:
        raise ValueError(f"the processes are started in several manners: {sorted(manners)}")
