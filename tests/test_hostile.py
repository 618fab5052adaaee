"""Each night, 2,000 sets of answers to every question, and the whole project from both engines."""

import tempfile
import tomllib
from pathlib import Path

import pytest
from cookiecutter.exceptions import FailedHookException  # type: ignore[import-untyped]
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.baking import Answers, bake_with_cookiecutter, bake_with_copier, choices, tree
from tests.hostile import any_answers
from tests.test_bake import parse, text_files

EXAMPLES = 2000
HOSTINGS = choices()["hosting"]


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.timeout(4 * 60 * 60)
@pytest.mark.parametrize("hosting", HOSTINGS)
@settings(max_examples=EXAMPLES // len(HOSTINGS), suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_both_engines_refuse_or_make_the_same_project(
    template: Path, hosting: str, data: st.DataObject
) -> None:
    answers: Answers = data.draw(any_answers(hosting=hosting))

    with tempfile.TemporaryDirectory() as name:
        by_cookiecutter, by_copier = Path(name, "cookiecutter"), Path(name, "copier")
        by_cookiecutter.mkdir()
        try:
            project = bake_with_cookiecutter(template, by_cookiecutter, answers)
        except FailedHookException:
            assert not list(by_cookiecutter.iterdir())
            with pytest.raises(ValueError, match=r"Validation error for question"):
                bake_with_copier(template, by_copier, answers)
            assert not by_copier.exists()
            return
        bake_with_copier(template, by_copier, answers)
        files, same = tree(project), tree(by_copier)
        assert same.pop(".copier-answers.yml")
        assert files.keys() == same.keys()
        assert [path for path in files if files[path] != same[path]] == []
        texts = text_files(project)

    for path, text in texts.items():
        parse(path, text)
    about = tomllib.loads(texts["pyproject.toml"])["project"]
    assert about["description"] == answers["description"]
    assert about["authors"] == [{"name": answers["author_name"], "email": answers["author_email"]}]
