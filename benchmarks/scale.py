"""More of something: worker processes, workers, waiting tasks, entries of the schedule."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

import redis

from benchmarks.harness import FULL, Figure, Measured, Reading, in_turn, say, values
from benchmarks.meters import cpu_seconds, memory
from benchmarks.projects import Lab
from benchmarks.queues import Queue
from benchmarks.worker import Side, project_side, run
from tests.processes import Process, Stack

TITLE = "Scale"
# In seconds: a task that waits for something else, as most do.
WAIT = 0.05
STYLES = ("database", "code", "redbeat")
ADD_ENTRIES = """
from django_celery_beat.models import CrontabSchedule, PeriodicTask
schedule = CrontabSchedule.objects.create(
    minute="0", hour="0", day_of_month="1", month_of_year="1"
)
PeriodicTask.objects.bulk_create(
    PeriodicTask(name=f"entry-{{number}}", task="apps.bench.tasks.nothing", crontab=schedule)
    for number in range({count})
)
"""


def curve(key: str, what: str, counts: Sequence[int], against: str) -> dict[int, Figure]:
    """Return a figure for each count, which stands beside that of the first.

    Args:
        key: beginning of the keys.
        what: what is counted, with a place for the count.
        counts: how many there are.
        against: the first, in words.
    """
    return {
        count: Figure(
            f"{key}-{count}",
            what.format(count),
            "tasks/s",
            "" if count == counts[0] else against,
        )
        for count in counts
    }


WAITS = f"Tasks that wait {WAIT * 1000:g} ms"
NOTHING = curve(
    "scale.processes-nothing",
    "Tasks that do nothing; child processes of one worker: {}",
    FULL.workers,
    "one process",
)
WAITING = curve(
    "scale.processes-wait",
    f"{WAITS}; child processes of one worker: {{}}",
    FULL.workers,
    "one process",
)
WORKERS = curve(
    "scale.workers",
    f"{WAITS}; workers with two child processes: {{}}",
    FULL.workers,
    "one worker",
)
QUEUE = curve(
    "scale.queue",
    "Tasks that do nothing; waiting at the beginning: {:,}",
    FULL.waiting,
    f"{FULL.waiting[0]} waiting",
)
# What the picture shows as lines.
CURVES = {
    "child processes, tasks that do nothing": NOTHING,
    f"child processes, tasks of {WAIT * 1000:g} ms": WAITING,
    f"workers, tasks of {WAIT * 1000:g} ms": WORKERS,
}
BYTES = Figure("scale.bytes", "Memory of the broker per waiting task", "bytes")
BEAT_CPU = {
    (style, count): Figure(
        f"scale.beat-cpu-{style}-{count}",
        f"CPU of beat, `{style}`, {count:,} entries",
        "% of a processor",
    )
    for style in STYLES
    for count in FULL.entries
}
BEAT_MEMORY = {
    (style, count): Figure(
        f"scale.beat-memory-{style}-{count}",
        f"Memory of beat, `{style}`, {count:,} entries",
        "MB",
    )
    for style in STYLES
    for count in FULL.entries
}
FIGURES = (
    *NOTHING.values(),
    *WAITING.values(),
    *WORKERS.values(),
    *QUEUE.values(),
    BYTES,
    *BEAT_CPU.values(),
    *BEAT_MEMORY.values(),
)


def measure(lab: Lab) -> list[Measured]:
    """Measure everything of this section."""
    with lab.released(lab.project) as stack:
        results = [
            *processes(stack, lab),
            *workers(stack, lab),
            *queues(stack, lab),
        ]
    for style in STYLES:
        results += schedules(lab, style)
    return results


def side(stack: Stack, url: str, processes: int) -> Side:
    """Return the project's worker with its own database of the broker.

    Args:
        stack: the project.
        url: of the broker.
        processes: how many child processes.
    """
    environment = {
        **stack.environment,
        "REDIS_URL": url,
        "CELERY_WORKER_CONCURRENCY": str(processes),
    }
    return replace(
        project_side(stack),
        environment=environment,
        queue=Queue(redis.Redis.from_url(url)),
    )


def against_first(figures: Sequence[Figure], found: dict[str, list[Reading]]) -> list[Measured]:
    """Return figures whose other side is the first of them, which stands alone."""
    return [beside(figure, [found[one.key] for one in (figure, figures[0])]) for figure in figures]


def beside(figure: Figure, found: Sequence[list[Reading]]) -> Measured:
    """Return a figure with its other side, if it stands beside one."""
    ours, theirs = (values(readings, "rate") for readings in found)
    return Measured(figure, ours, theirs if figure.against else ())


def processes(stack: Stack, lab: Lab) -> list[Measured]:
    """Measure one worker with more and more child processes."""
    counts = lab.effort.workers
    with ExitStack() as running:
        sides = {n: side(stack, lab.redis.url(n), n) for n in counts}
        nothing = sides[counts[0]].message("nothing.delay()")
        wait = sides[counts[0]].message(f"wait.delay({WAIT})")
        started = {n: running.enter_context(one.start()) for n, one in sides.items()}
        few = max(40, lab.effort.tasks // 20)

        loads: dict[str, Callable[[], Reading]] = {}
        for n, one in sides.items():
            load = partial(run, one, started[n])
            loads[NOTHING[n].key] = partial(load, nothing, lab.effort.tasks // 2)
            loads[WAITING[n].key] = partial(load, wait, few * min(n, 4))
        found = in_turn(loads, lab.effort.rounds, "processes")
    return [
        *against_first([NOTHING[n] for n in counts], found),
        *against_first([WAITING[n] for n in counts], found),
    ]


def workers(stack: Stack, lab: Lab) -> list[Measured]:
    """Measure more and more workers over one broker."""
    counts = lab.effort.workers
    with ExitStack() as running:
        sides = {
            n: side(stack, lab.redis.url(8 + position), 2) for position, n in enumerate(counts)
        }
        message = sides[counts[0]].message(f"wait.delay({WAIT})")
        started: dict[int, list[Process]] = {}
        for count, one in sides.items():
            say(f"  workers: starting {count}")
            hosts = [f"--hostname=w{number}@%h" for number in range(count)]
            started[count] = [running.enter_context(one.start(host)) for host in hosts]
        few = max(40, lab.effort.tasks // 20)

        loads = {
            WORKERS[n].key: partial(run, one, started[n][0], message, few * n)
            for n, one in sides.items()
        }
        found = in_turn(loads, lab.effort.rounds, "workers")
    return against_first([WORKERS[n] for n in counts], found)


def queues(stack: Stack, lab: Lab) -> list[Measured]:
    """Measure tasks per second while more and more wait, and the memory of the broker."""
    rates: dict[int, list[Reading]] = {count: [] for count in lab.effort.waiting}
    sizes: list[float] = []
    one = side(stack, lab.redis.url(15), 2)
    client = one.queue.client
    message = one.message("nothing.delay()")
    with one.start() as process:
        run(one, process, message, 50)
        for number in range(lab.effort.few):
            for count in lab.effort.waiting:
                say(f"  waiting tasks: round {number + 1} of {lab.effort.few}, {count:,}")
                empty = int(client.info("memory")["used_memory"])
                # Frozen, so that all of them wait before the first is taken.
                process.freeze()
                one.queue.fill(message, count)
                full = int(client.info("memory")["used_memory"])
                process.thaw()
                tasks = min(lab.effort.tasks // 2, count)
                started = time.perf_counter()
                one.queue.wait(left=count - tasks)
                rates[count].append({"rate": tasks / (time.perf_counter() - started)})
                client.delete(one.queue.name)
                one.queue.wait()
                if count == lab.effort.waiting[-1]:
                    sizes.append((full - empty) / count)
    first = rates[lab.effort.waiting[0]]
    return [
        *(beside(QUEUE[n], [found, first]) for n, found in rates.items() if n in QUEUE),
        Measured(BYTES, tuple(sizes)),
    ]


def schedules(lab: Lab, style: str) -> list[Measured]:
    """Measure beat with more and more entries, none of which is due.

    Args:
        lab: where.
        style: answer to the question `scheduler`.
    """
    project = lab.project if style == "database" else lab.bake(style, scheduler=style)
    found: dict[int, list[Reading]] = {count: [] for count in lab.effort.entries}
    with ExitStack() as running:
        beats = {}
        for position, count in enumerate(found):
            say(f"  schedule: {style}, {count:,} entries")
            url = lab.redis.url(position)
            redis.Redis.from_url(url).flushdb()
            stack = running.enter_context(lab.released(project, REDIS_URL=url))
            if style == "database":
                # As administrators and apps make them: the release is for the few of the code.
                result = stack.manage("shell", "--command", ADD_ENTRIES.format(count=count))
                assert result.returncode == 0, result.stderr
                beats[count] = stack.beat(timeout=240)
            else:
                beats[count] = stack.beat(timeout=240, ENTRIES=str(count))
        # RedBeat writes its entries first.
        time.sleep(lab.effort.idle / 2)
        for _ in range(lab.effort.few):
            before = {count: cpu_seconds(beat) for count, beat in beats.items()}
            started = time.perf_counter()
            # Longer than the longest sleep of beat, so that each time has a tick.
            time.sleep(max(1.0, lab.effort.idle / 10))
            seconds = time.perf_counter() - started
            for count, beat in beats.items():
                used = (cpu_seconds(beat) - before[count]) / seconds * 100
                found[count].append({"cpu": used, "memory": sum(memory(beat))})
    return [
        Measured(figures[style, count], values(found[count], name))
        for figures, name in ((BEAT_CPU, "cpu"), (BEAT_MEMORY, "memory"))
        for count in found
        if (style, count) in figures
    ]
