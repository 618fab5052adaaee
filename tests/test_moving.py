"""A database of cookiecutter-django goes on here, by the page that tells how."""

import re
import sqlite3
from pathlib import Path

import pytest

from tests.baking import ROOT
from tests.conftest import Bake
from tests.processes import Stack, python_environment

pytestmark = pytest.mark.slow

PAGE = ROOT / "docs" / "from-cookiecutter-django.md"
PASSWORD = "a pass phrase"

# A project with the users of cookiecutter-django, as far as its database shows them.
OLD = {
    "config/__init__.py": "",
    "config/settings.py": """
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.admin",
    "django_celery_beat",
    "users",
]
AUTH_USER_MODEL = "users.User"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
SECRET_KEY = "old"
USE_TZ = True
SILENCED_SYSTEM_CHECKS = ["admin.E403", "admin.E408", "admin.E409", "admin.E410"]
""",
    "users/__init__.py": "",
    "users/migrations/__init__.py": "",
    "users/models.py": """
from django.contrib.auth.models import AbstractUser
from django.db.models import CharField


class User(AbstractUser):
    name = CharField("Name of User", blank=True, max_length=255)
    first_name = None
    last_name = None
""",
}
FILL = f"""
from django.contrib.auth.models import Group, Permission
from django_celery_beat.models import IntervalSchedule, PeriodicTask
from users.models import User
ann = User.objects.create_user("ann", "ann@example.org", {PASSWORD!r}, name="Ann", is_staff=True)
ann.groups.add(Group.objects.create(name="editors"))
ann.user_permissions.add(Permission.objects.get(codename="view_user"))
every, _ = IntervalSchedule.objects.get_or_create(every=1, period="hours")
PeriodicTask.objects.create(name="old", task="my_project.blog.tasks.send", interval=every)
"""
LOOK = f"""
from django.test import Client
from django_celery_beat.models import PeriodicTask
from apps.accounts.models import User
ann = User.objects.get(username="ann")
assert (ann.name, [group.name for group in ann.groups.all()]) == ("Ann", ["editors"])
assert ann.has_perm("accounts.view_user")
assert PeriodicTask.objects.get(name="old").enabled
client = Client(headers={{"host": "localhost"}})
assert client.login(username="ann", password={PASSWORD!r})
page = client.get(f"/admin/accounts/user/{{ann.pk}}/change/")
assert page.status_code == 200 and "Ann" in page.text
assert client.get("/admin/accounts/user/?q=Ann").status_code == 200
"""


def test_the_users_of_cookiecutter_django_stay(bake_copy: Bake, tmp_path: Path) -> None:
    project = bake_copy()
    environment = python_environment(project)
    old = tmp_path / "old"
    for name, text in OLD.items():
        (old / name).parent.mkdir(parents=True, exist_ok=True)
        (old / name).write_text(text, encoding="utf-8")
    with Stack(old, {"DJANGO_SETTINGS_MODULE": "config.settings"}, environment) as stack:
        for command in (
            ["django-admin", "makemigrations", "users"],
            ["django-admin", "migrate"],
            ["django-admin", "shell", "--command", FILL],
        ):
            result = stack.run(command, PYTHONPATH=str(old))
            assert result.returncode == 0, result.stdout + result.stderr

    page = PAGE.read_text("utf-8")
    for name, text in re.findall(r"```python\n# (apps/\S+)\n(.*?)```", page, re.DOTALL):
        (project / name).write_text(text, encoding="utf-8")
    [statements] = re.findall(r"```sql\n(.*?)```", page, re.DOTALL)
    (project / "apps/accounts/migrations/0001_initial.py").unlink()
    with Stack(project, {}, environment) as stack:
        result = stack.manage("makemigrations", "accounts")
        assert result.returncode == 0, result.stdout + result.stderr
        (old / "db.sqlite3").rename(project / "db.sqlite3")
        database = sqlite3.connect(project / "db.sqlite3")
        database.executescript(statements)
        database.close()
        for words in (
            ["python", "manage.py", "release"],
            ["python", "manage.py", "makemigrations", "--check"],
            ["python", "manage.py", "shell", "--command", LOOK],
            ["ruff", "check", "apps/accounts"],
            ["mypy", "--strict", "apps/accounts"],
        ):
            result = stack.run(words, timeout=200)
            assert result.returncode == 0, result.stdout + result.stderr
