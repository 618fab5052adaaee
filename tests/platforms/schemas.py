"""The platforms' own JSON Schemas, which are not part of this repository."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.baking import ROOT

FOLDER = Path(os.environ.get("PLATFORM_SCHEMAS") or ROOT.parent / "shared" / "schemas")


def schema(name: str) -> Any:
    """Return a schema, or skip the test.

    Args:
        name: the file's name.
    """
    file = FOLDER / name
    if not file.exists():
        pytest.skip(f"{file} is not there; PLATFORM_SCHEMAS may name the folder")
    return json.loads(file.read_text("utf-8"))
