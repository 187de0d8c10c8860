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


#: A lease, in seconds, that await_renewal() sees renewed.
BRIEF = 0.6


def await_renewal(store: oncelog.Store) -> None:
    """Of the newest claim. The deadline is an estimate; a renewal, after a third of the lease, moves it by as much."""
    before = store.claims()[-1].deadline_us
    while store.claims()[-1].deadline_us < before + BRIEF / 6 * 1_000_000:
        pass
