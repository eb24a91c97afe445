"""Files that are wrong in many ways, written once for all tests of commands."""

from pathlib import Path

import pytest

from tests.support.specimens import write_specimens


@pytest.fixture(scope="session")
def files(tmp_path_factory) -> Path:
    return write_specimens(tmp_path_factory.mktemp("files"))
