"""What README.md shows does what it says."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

README = os.environ.get("ONCELOG_PYTHON_README")
pytestmark = pytest.mark.skipif(README is None, reason="ONCELOG_PYTHON_README does not say where it is")


def blocks():
    return re.findall(r"^```python\n(.*?)^```", pathlib.Path(README).read_text(), re.M | re.S)


def run(folder, *ids):
    script = folder / "order_service.py"
    script.write_text(blocks()[0])
    answer = subprocess.run([sys.executable, script, *ids], cwd=folder, stdout=subprocess.PIPE, text=True, check=True)
    return answer.stdout.splitlines()


def test_the_order_service_processes_each_order_once(tmp_path):
    assert run(tmp_path, "o-1", "o-2", "o-1") == [
        "process o-1",
        "acknowledge o-1",
        "process o-2",
        "acknowledge o-2",
        "acknowledge o-1",
    ]
    assert run(tmp_path, "o-2") == ["acknowledge o-2"]


@pytest.mark.parametrize("number", range(1, 6))
def test_each_other_block_runs(number, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = blocks()[number]
    prelude = "import oncelog\nstore = oncelog.Store('seen', scope='order-service')\n"
    exec(compile(prelude + code, f"README.md, block {number}", "exec"), {"__name__": "readme"})


def test_there_are_six_blocks():
    assert len(blocks()) == 6
