"""What servers have in common.

Those of this process end with their context; those in a process of their own can also be stopped,
frozen and brought back.
"""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Self

from tests.processes import Process


class ClosingServer(ABC):
    """A server in this process that is closed at the end of its context."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None:
        """Close the port and all connections."""


class OwnServer(ABC):
    """A server that a test may treat badly; it keeps its address."""

    _folder: Path
    _process: Process | None = None

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    @abstractmethod
    def start(self) -> None:
        """Start the server, again at the same address, and wait until it answers."""

    @property
    def running(self) -> bool:
        """Whether the server runs (perhaps frozen)."""
        return self._process is not None and self._process.running

    def kill(self) -> None:
        """Kill the server and its children without any notice."""
        self._running_process().close()

    def freeze(self) -> None:
        """Suspend the server: connections are accepted by the system, nothing is answered."""
        self._running_process().freeze()

    def thaw(self) -> None:
        """Let a frozen server continue."""
        self._running_process().thaw()

    def recover(self) -> None:
        """Bring the server back, whatever a test has done to it."""
        if self.running:
            self.thaw()
        else:
            self.start()

    def _running_process(self) -> Process:
        assert self._process is not None and self._process.running, (
            f"{type(self).__name__} does not run"
        )
        return self._process
