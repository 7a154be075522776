"""The house keeps its floors: checked here, so that every run of the tests enforces them."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "transformers", "peft", "trl")
IMPORT_AND_TELL = "import sys; import {module}; print(sorted(set(sys.modules) & {heavy!r}))"


def test_floors_hold() -> None:
    """import-linter's contracts in pyproject.toml."""
    linted = subprocess.run(
        [Path(sys.executable).parent / "lint-imports"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert linted.returncode == 0, linted.stdout


@pytest.mark.parametrize(
    "module",
    ["tunery.api.__main__", "tunery.runner.__main__", "tunery.cli", "tunery.cli.serve", "tunery.training.spec"],
)
def test_process_starts_without_torch(module: str) -> None:
    code = IMPORT_AND_TELL.format(module=module, heavy=set(HEAVY))
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert told.stdout.strip() == "[]"


def test_readme_is_short_and_runs_by_line_20() -> None:
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= 120
    assert any("make demo" in line for line in lines[:20])


def test_every_setting_endpoint_and_command_is_documented() -> None:
    from tunery.api.routes import ENDPOINTS
    from tunery.cli import GROUPS
    from tunery.settings import Settings

    reference = (ROOT / "docs" / "reference.md").read_text()
    for name in Settings.model_fields:
        assert f"`TUNERY_{name.upper()}`" in reference
    for method, path, _ in ENDPOINTS:
        if path:
            assert f"`{method} {path}`" in reference
    for name in GROUPS:
        assert f"`tunery {name}`" in reference
