"""One log line is one JSON object."""

import json
import logging
import logging.config
from collections.abc import Iterator

import pytest

from {{ cookiecutter.project_slug }}.logs import logging_config


@pytest.fixture(autouse=True)
def _restore_handlers() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_line_is_one_json_object_even_with_a_traceback(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logging.config.dictConfig(logging_config("INFO", "json"))
    logger = logging.getLogger("elsewhere")
    try:
        raise ValueError("first line\nsecond line")
    except ValueError:
        logger.exception("failed with %s", "a value", extra={"answer": 42})
    [line] = capsys.readouterr().out.splitlines()
    event = json.loads(line)
    assert event["event"] == "failed with a value"
    assert event["level"] == "error"
    assert event["logger"] == "elsewhere"
    assert event["answer"] == 42
    assert "second line" in event["exception"]


def test_celery_lines_name_the_task_and_no_argument(capsys: pytest.CaptureFixture[str]) -> None:
    logging.config.dictConfig(logging_config("INFO", "json"))
    data = {"id": "123", "name": "send", "args": "('private',)", "kwargs": "{}"}
    logging.getLogger("celery.worker.strategy").info("Task received", extra={"data": data})
    [line] = capsys.readouterr().out.splitlines()
    assert json.loads(line)["task"] == "send"
    assert json.loads(line)["task_id"] == "123"
    assert "private" not in line


def test_a_message_that_is_refused_is_logged_without_its_contents(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logging.config.dictConfig(logging_config("INFO", "json"))
    logging.getLogger("celery.worker.consumer.consumer").error(
        "Received unregistered task of type %s.\n\nmessage body was: %s", "send", "private"
    )
    [line] = capsys.readouterr().out.splitlines()
    assert json.loads(line)["event"] == "Received unregistered task of type  (not shown)"


def test_a_result_is_not_logged(capsys: pytest.CaptureFixture[str]) -> None:
    logging.config.dictConfig(logging_config("INFO", "json"))
    result = {"name": "send", "return_value": "private"}
    logging.getLogger("celery.app.trace").info("Task %(name)s: %(return_value)s", result)
    [line] = capsys.readouterr().out.splitlines()
    assert json.loads(line)["event"] == "Task send: (not shown)"


def test_a_request_is_not_logged_with_its_query(capsys: pytest.CaptureFixture[str]) -> None:
    logging.config.dictConfig(logging_config("INFO", "json"))
    logging.getLogger("django.request").warning("Not Found", extra={"request": "/?token=private"})
    assert "private" not in capsys.readouterr().out


def test_lines_for_people_are_no_json(capsys: pytest.CaptureFixture[str]) -> None:
    logging.config.dictConfig(logging_config("INFO", "console"))
    logging.getLogger("elsewhere").info("hello")
    assert "hello" in capsys.readouterr().out


def test_forged_host_headers_are_not_logged(capsys: pytest.CaptureFixture[str]) -> None:
    logging.config.dictConfig(logging_config("INFO", "json"))
    logging.getLogger("django.security.DisallowedHost").error("Invalid HTTP_HOST header")
    assert capsys.readouterr().out == ""
