"""The version in pyproject.toml, the sections of the CHANGELOG and the tags tell one story."""

import datetime
import re
import subprocess
import tomllib

from packaging.version import InvalidVersion, Version

from tests.baking import ROOT

NOT_YET = "not released yet"
VERSION: str = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
HEADINGS = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
SECTIONS = [re.fullmatch(r"(\S+) \((.+)\)", heading) for heading in HEADINGS]


def test_the_version_is_one_that_copier_takes_for_a_release() -> None:
    assert str(Version(VERSION)) == VERSION
    assert not Version(VERSION).is_prerelease


def test_the_changelog_begins_with_the_version_of_pyproject() -> None:
    assert SECTIONS[0] and SECTIONS[0][1] == VERSION, HEADINGS[0]


def test_the_changelog_has_each_version_once_the_newest_first_with_its_day() -> None:
    versions = []
    for number, section in enumerate(SECTIONS):
        assert section, HEADINGS[number]
        versions.append(Version(section[1]))
        if number > 0 or section[2] != NOT_YET:
            datetime.date.fromisoformat(section[2])
    assert versions == sorted(set(versions), reverse=True)


def test_what_is_tagged_has_its_section_and_day() -> None:
    tags = subprocess.run(
        ["git", "tag", "--list"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    released = {section[1] for section in SECTIONS if section and section[2] != NOT_YET}
    for tag in tags:
        try:
            version = Version(tag)
        except InvalidVersion:
            continue
        assert version.is_prerelease or tag in released
