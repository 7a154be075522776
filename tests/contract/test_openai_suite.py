"""OpenAI's own Python test-suite, unmodified, against a live server in strict-conformance mode."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.base import make_base
from tests.servers import Server

SUITE = Path(__file__).parents[2] / ".venv" / "openai-suite"
API = "tests/api_resources"
SELECTED = [
    f"{API}/fine_tuning",
    f"{API}/test_files.py",
    f"{API}/test_models.py",
    f"{API}/test_uploads.py",
    f"{API}/uploads",
]
GRADERS = f"{API}/fine_tuning/alpha"
PASSED_MIN = 500


@pytest.mark.skipif(not SUITE.exists(), reason="the suite was not fetched, see scripts/setup.sh")
def test_official_suite_passes(tmp_path: Path) -> None:
    make_base(tmp_path / "bases" / "tiny")
    settings = {"conformance": "true", "default_model": "tiny", "host_module": "tests.fakes.host"}
    server = Server(tmp_path, settings).start()
    try:
        command = [sys.executable, "-m", "pytest", "-o", "addopts=--tb=short", "-q", "-p", "no:cacheprovider"]
        run = subprocess.run(
            [*command, *SELECTED, "--ignore", GRADERS],
            cwd=SUITE,
            env=os.environ | {"TEST_API_BASE_URL": server.url},
            capture_output=True,
            text=True,
            timeout=300,
        )
    finally:
        server.stop()
    assert run.returncode == 0, run.stdout[-5000:]
    passed = re.search(r"(\d+) passed", run.stdout)
    assert passed is not None
    assert int(passed[1]) >= PASSED_MIN
