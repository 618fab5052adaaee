"""Reading what processes and servers have used."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import psutil
import redis

from tests.processes import Process

MEGABYTE = 1_000_000


def family(process: Process) -> list[psutil.Process]:
    """Return a process and all that it has started."""
    main = psutil.Process(process.pid)
    return [main, *main.children(recursive=True)]


def cpu_seconds(process: Process) -> float:
    """Return the processor time of a process and its children, also of those that have ended."""
    total = 0.0
    for member in family(process):
        with suppress(psutil.NoSuchProcess):
            times = member.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def memory(process: Process) -> list[float]:
    """Return the PSS of a process and of each of its children, in megabytes.

    PSS counts memory that processes share to each of them by its part.
    """
    return [member.memory_full_info().pss / MEGABYTE for member in family(process)]


@dataclass(frozen=True)
class Load:
    """What a load generator saw.

    Attributes:
        requests: how many were answered.
        rate: requests per second.
    """

    requests: int
    rate: float


def wrk_is_missing() -> str:
    """Return what to do about a missing load generator, or nothing if it is there."""
    if shutil.which("wrk"):
        return ""
    return "wrk is not installed: apt-get install wrk (Debian, Ubuntu) or brew install wrk (macOS)"


def wrk(url: str, seconds: float, headers: Mapping[str, str], connections: int = 8) -> Load:
    """Send as many requests as are answered, over connections that stay open.

    Args:
        url: the page.
        seconds: for how long.
        headers: of each request.
        connections: how many.

    Raises:
        AssertionError: an answer was none of 2xx or 3xx, or a connection failed.
    """
    options = [f"--header={name}: {value}" for name, value in headers.items()]
    command = ["wrk", "--threads=1", f"--connections={connections}", *options]
    # wrk takes whole seconds.
    command += [f"--duration={max(1, round(seconds))}s", url]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert not re.search("Non-2xx|Socket errors", output), f"{url}\n{output}"
    requests = re.search(r"(\d+) requests in", output)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    assert requests, output
    assert rate, output
    return Load(int(requests[1]), float(rate[1]))


def commands(client: redis.Redis) -> dict[str, int]:
    """Return how often a server was given each command, without our own questions."""
    found: dict[str, dict[str, int]] = client.info("commandstats")
    counts = {name.removeprefix("cmdstat_"): stats["calls"] for name, stats in found.items()}
    return {name: count for name, count in counts.items() if name.partition("|")[0] != "info"}


def program_json(output: str) -> dict[str, float]:
    """Return the numbers that a program printed as JSON in its last line."""
    numbers: dict[str, float] = json.loads(output.splitlines()[-1])
    return numbers
