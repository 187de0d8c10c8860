import pathlib
from typing import Iterator

import oncelog
import pytest


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "seen"


@pytest.fixture
def store(path: pathlib.Path) -> Iterator[oncelog.Store]:
    with oncelog.Store(path, scope="orders", retention=3600) as opened:
        yield opened
