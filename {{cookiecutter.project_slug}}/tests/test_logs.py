"""One log line is one JSON object."""

import json
import logging
import logging.config
from collections.abc import Iterator
from typing import Any

import pytest
from structlog.contextvars import bind_contextvars

from {{ cookiecutter.project_slug }}.logs import FORMATS, logging_config

RESET_PATH = "/accounts/reset/MQ/cx7a1b-private/"


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


def test_a_message_that_can_not_be_put_back_is_logged_without_its_contents(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logging.config.dictConfig(logging_config("INFO", "json"))
    payload = {"body": "private"}
    logging.getLogger("kombu.transport.redis").critical("Could not restore message: %r", payload)
    assert "private" not in capsys.readouterr().out


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


@pytest.mark.parametrize(
    ("logger", "text", "arguments"),
    [
        ("gunicorn.access", '"%(m)s %(U)s" %(s)s', {"m": "GET", "U": RESET_PATH, "s": "302"}),
        ("django.server", '"%s" %s %s', (f"GET {RESET_PATH} HTTP/1.1", "302", "0")),
        ("django.request", "%s: %s", ("Internal Server Error", RESET_PATH)),
    ],
)
def test_the_token_of_a_password_reset_is_not_logged(
    capsys: pytest.CaptureFixture[str], logger: str, text: str, arguments: Any
) -> None:
    logging.config.dictConfig(logging_config("INFO", "json"))
    arguments = arguments if isinstance(arguments, tuple) else (arguments,)
    logging.getLogger(logger).error(text, *arguments)
    [line] = capsys.readouterr().out.splitlines()
    assert "/accounts/reset/MQ/(not-shown)/" in json.loads(line)["event"]
    assert "private" not in line


@pytest.mark.parametrize("log_format", FORMATS)
def test_a_secret_is_masked_wherever_it_stands_in_a_line(
    capsys: pytest.CaptureFixture[str], log_format: str
) -> None:
    logging.config.dictConfig(logging_config("INFO", log_format, ["very-private"]))
    logger = logging.getLogger("elsewhere")
    extra = {"values": {"deep": ["very-private"]}, "password": "also-private"}
    try:
        raise ValueError("redis://:more-private@host:6379/0 and very-private")
    except ValueError:
        logger.exception("failed with %s", "very-private", extra=extra)
    line = capsys.readouterr().out
    assert "ValueError: redis://:(not shown)@host:6379/0 and (not shown)" in line
    assert "failed with (not shown)" in line
    assert "private" not in line


def test_a_line_is_marked_with_what_is_bound(capsys: pytest.CaptureFixture[str]) -> None:
    logging.config.dictConfig(logging_config("INFO", "json"))
    bind_contextvars(request_id="of-the-request")
    logging.getLogger("elsewhere").info("hello")
    assert json.loads(capsys.readouterr().out)["request_id"] == "of-the-request"


def test_lines_for_people_are_no_json(capsys: pytest.CaptureFixture[str]) -> None:
    logging.config.dictConfig(logging_config("INFO", "console"))
    logging.getLogger("elsewhere").info("hello")
    assert "hello" in capsys.readouterr().out


def test_forged_host_headers_are_not_logged(capsys: pytest.CaptureFixture[str]) -> None:
    logging.config.dictConfig(logging_config("INFO", "json"))
    logging.getLogger("django.security.DisallowedHost").error("Invalid HTTP_HOST header")
    assert capsys.readouterr().out == ""
