"""The entry points of the processes."""

import importlib
import runpy
import sys

import pytest
from django.conf import settings
from django.core import management


@pytest.mark.parametrize("name", ["wsgi", "asgi"])
def test_the_application_can_be_served(name: str) -> None:
    module = importlib.import_module(f"{{ cookiecutter.project_slug }}.{name}")
    assert callable(module.application)


def test_manage_runs_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr(sys, "argv", ["manage.py", "check"])
    monkeypatch.setattr(management, "execute_from_command_line", commands.append)
    runpy.run_path(str(settings.BASE_DIR / "manage.py"), run_name="__main__")
    assert commands == [["manage.py", "check"]]
