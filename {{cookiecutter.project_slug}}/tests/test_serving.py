"""Which threads of gunicorn answer what."""

import threading
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.workers.gthread import ThreadWorker  # type: ignore[import-untyped]

from apps.operations.serving import ProbedWorker


@pytest.mark.parametrize(
    ("path", "thread"), [("/health/", "MainThread"), ("/ready/", "MainThread"), ("/", "request_0")]
)
def test_probes_need_no_thread_of_the_requests(
    monkeypatch: pytest.MonkeyPatch, path: str, thread: str
) -> None:
    names: list[str] = []

    def handle(*_: Any) -> bool:
        names.append(threading.current_thread().name)
        return True

    monkeypatch.setattr(ThreadWorker, "handle_request", handle)
    worker: Any = ProbedWorker.__new__(ProbedWorker)
    worker.cfg = SimpleNamespace(threads=1)
    with worker.get_thread_pool() as readers, worker._runners:
        assert worker.handle_request(SimpleNamespace(path=path), None)
        assert readers._max_workers > worker._runners._max_workers == 1
    assert names == [thread]
