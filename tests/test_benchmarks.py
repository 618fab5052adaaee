"""The benchmarks: what they make of numbers, that they run, and that the page tells all of it."""

import importlib
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from types import ModuleType

import pytest

from benchmarks import __main__ as program
from benchmarks import limits, report
from benchmarks.harness import Figure, Measured, Reading, Skipped, Spread, in_turn
from benchmarks.projects import counterpart
from benchmarks.queues import FILL
from tests.baking import ROOT
from tests.conftest import Bake
from tests.processes import Stack, http_get, python_environment
from tests.production import build, production_environment
from tests.servers.postgres import PostgresServer
from tests.servers.redis import RedisServer

DOCS = ROOT / "docs"
SECTIONS = [importlib.import_module(f"benchmarks.{name}") for name in program.SECTIONS]
FIGURES = {figure.key: figure for section in SECTIONS for figure in section.FIGURES}

SLOW = Figure("sample.slow", "Slow <thing>", "s", "another")
FAST = Figure("sample.fast", "Fast", "requests/s", "another")
ALONE = Figure("sample.alone", "Alone", "MB")
GONE = Figure("sample.gone", "Gone", "MB")


def sample(found: list[Measured | Skipped]) -> ModuleType:
    """Return a section that has measured something."""
    module = ModuleType("sample")
    vars(module).update(
        TITLE="Sample", FIGURES=(SLOW, FAST, ALONE, GONE), measure=lambda lab: found
    )
    return module


@pytest.fixture
def sections(monkeypatch: pytest.MonkeyPatch) -> list[Measured | Skipped]:
    """Let the only section be one that has measured what is put into this list."""
    found: list[Measured | Skipped] = []
    monkeypatch.setattr(program, "SECTIONS", ("sample",))
    monkeypatch.setattr(program, "section", lambda _: sample(found))
    monkeypatch.setitem(limits.LIMITS, SLOW.key, limits.Limit(most=1.5))
    monkeypatch.setitem(limits.LIMITS, FAST.key, limits.Limit(least=0.5))
    monkeypatch.setitem(limits.LIMITS, ALONE.key, limits.Limit(most=100))
    return found


def test_sides_are_measured_in_turn_and_each_is_the_first_as_often() -> None:
    order: list[str] = []

    def measure(name: str) -> Reading:
        order.append(name)
        return {"place": float(len(order))}

    found = in_turn({"a": lambda: measure("a"), "b": lambda: measure("b")}, 4, "sample")
    assert "".join(order) == "abbaabba"
    assert [reading["place"] for reading in found["a"]] == [1, 4, 5, 8]


def test_a_ratio_is_that_of_each_pair() -> None:
    # The machine was twice as slow in the second round, which changes no ratio.
    measured = Measured(SLOW, (3.0, 6.0, 3.0), (2.0, 4.0, 3.0))
    assert measured.ratio == Spread(1.25, 1.5, 1.5)
    assert measured.value == Spread(3.0, 3.0, 4.5)
    assert Measured(ALONE, (3.0,)).ratio is None


def test_all_that_holds_is_exit_code_0_and_each_limit_missed_is_named(
    sections: list[Measured | Skipped], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fast = Measured(FAST, (1.0,), (2.0,))
    alone = Measured(ALONE, (100.0,))
    sections[:] = [Measured(SLOW, (1.5,), (1.0,)), fast, Skipped(GONE, "no"), alone]
    assert program.main(["--output", str(tmp_path)]) == 0
    assert "missed" not in capsys.readouterr().err
    sections[:] = [Measured(SLOW, (1.6,), (1.0,)), fast, Measured(ALONE, (200.0,))]
    assert program.main(["--output", str(tmp_path), "sample"]) == 1
    text = capsys.readouterr().err
    assert "missed: sample.slow: 1.6 is not ≤ 1.5" in text
    assert "missed: sample.alone: 200 is not ≤ 100" in text
    assert "sample.fast" not in text


def test_results_are_kept_and_table_and_picture_made_of_them(
    sections: list[Measured | Skipped], tmp_path: Path
) -> None:
    page = tmp_path / report.PAGE
    page.write_text(f"# Before\n{report.BEGIN}stale\n{report.END}After\n", encoding="utf-8")
    sections[:] = [
        Measured(SLOW, (1.0, 2.0, 3.0), (1.0, 1.0, 1.0)),
        Measured(ALONE, (12_345.678,)),
        Skipped(GONE, "there is no docker command"),
    ]
    program.main(["--output", str(tmp_path)])
    kept = json.loads((tmp_path / report.RESULTS).read_text("utf-8"))["sample"]
    assert kept[SLOW.key] == {"ours": [1, 2, 3], "theirs": [1, 1, 1]}
    text = page.read_text("utf-8")
    assert text.startswith("# Before\n") and text.endswith("After\n") and "stale" not in text
    slow, fast, alone, gone = text.split("|---|---|---|---|---|---|\n")[1].splitlines()[:4]
    assert "**2 (1.5–2.5)**" in slow and "≤ 1.5" in slow and "1, another" in slow  # noqa: RUF001
    assert "not measured yet" in fast
    assert "12,350 MB" in alone
    assert "skipped: there is no docker command" in gone
    picture = ET.parse(tmp_path / report.PICTURE).getroot()
    words = [element.text for element in picture.iter() if element.tag.endswith("text")]
    assert "Slow <thing>, against another" in words and "2" in words


def test_an_unknown_section_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        program.main(["webb"])
    assert "no such section: webb" in capsys.readouterr().err


def test_no_figure_has_the_key_of_another_and_each_limit_is_that_of_one() -> None:
    assert len(FIGURES) == sum(len(section.FIGURES) for section in SECTIONS)
    assert limits.LIMITS.keys() <= FIGURES.keys()


def test_the_page_names_every_figure_and_nothing_else() -> None:
    text = (DOCS / report.PAGE).read_text("utf-8")
    table = text.partition(report.BEGIN)[2].partition(report.END)[0]
    rows = [line.split(" | ")[:2] for line in table.strip().splitlines()[2:]]
    assert rows == [
        [f"| {section.TITLE}", figure.what] for section in SECTIONS for figure in section.FIGURES
    ]
    ET.parse(DOCS / report.PICTURE)


def test_a_queue_is_filled_with_messages_that_differ_in_their_ids(
    redis_server: RedisServer, redis_url: str
) -> None:
    redis = pytest.importorskip("redis")
    with redis.Redis.from_url(redis_url) as client:
        client.eval(FILL, 1, "default", "9", "11", '{"id": "', '", "tag": "', '"}')
        messages = [json.loads(text) for text in client.lrange("default", 0, -1)]
    assert [message["id"][-2:] for message in messages] == ["0b", "0a", "09"]
    assert all(message["id"] == message["tag"] for message in messages)


@pytest.mark.slow
def test_a_bare_application_runs_under_the_settings_of_a_project(
    bake_copy: Bake, postgres: PostgresServer
) -> None:
    project = build(bake_copy())
    environment = production_environment(postgres.create_database(), "redis://127.0.0.1:1/0")
    with (
        Stack(project, environment, python_environment(project)) as stack,
        counterpart(stack, "bare_wsgi") as (process, url),
    ):
        process.wait_for_line("Listening at", 30)
        assert http_get(url).status == 200
        assert process.json_lines()


@pytest.mark.nightly
def test_a_section_runs_from_end_to_end(tmp_path: Path) -> None:
    assert program.main(["baking", "--quick", "--output", str(tmp_path)]) in (0, 1)
    kept = json.loads((tmp_path / report.RESULTS).read_text("utf-8"))["baking"]
    assert kept.keys() == {figure.key for figure in SECTIONS[0].FIGURES}
    for result in kept.values():
        assert len(result["ours"]) == len(result["theirs"]) == 1
    assert re.search(
        r"<text .*>Cookiecutter, default answers", (tmp_path / report.PICTURE).read_text()
    )
