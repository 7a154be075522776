"""Writes docs/reference.md: settings, endpoints and commands, read from the code that implements them."""

from pathlib import Path

from tunery.api.routes import ENDPOINTS, not_built
from tunery.cli import GROUPS
from tunery.settings import Settings

OUTPUT = Path(__file__).parents[1] / "docs" / "reference.md"


def settings_table() -> list[str]:
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = "" if field.default_factory is not None or field.default is None else f"`{field.default}`"
        rows.append(f"| `TUNERY_{name.upper()}` | {default} | {field.description} |")
    return rows


def endpoints_table() -> list[str]:
    rows = ["| endpoint | |", "|---|---|"]
    for method, path, endpoint in ENDPOINTS:
        state = "answers 501: not available yet" if endpoint is not_built else ""
        rows.append(f"| `{method} {path or '/'}` | {state} |")
    return rows


def commands_table() -> list[str]:
    return ["| command | |", "|---|---|", *(f"| `tunery {name}` | {group.help} |" for name, group in GROUPS.items())]


def main() -> None:
    lines = [
        "# Reference",
        "",
        "Written by `python scripts/reference.py` from the code.",
        "",
        "## Settings",
        "",
        "A flag beats a variable, which beats the TOML file (`TUNERY_CONFIG`, by default in the user's configuration",
        "folder), which beats the default. The file uses the names without `TUNERY_`, in lower case.",
        "",
        *settings_table(),
        "",
        "## Endpoints",
        "",
        "Under `/v1`, `/openai/v1`, `/openai` and the root. Probes: `GET /livez`, `/readyz`, `/healthz`, `/health`.",
        "",
        "Beyond OpenAI's contract:",
        "",
        "- `GET /fine_tuning/jobs/{job_id}/events` streams with `Accept: text/event-stream`, and resumes by",
        "  `Last-Event-ID`.",
        "- `POST /fine_tuning/jobs` honours `Idempotency-Key`, and recognises what an SDK sends again.",
        "- `POST /fine_tuning/jobs` takes an object under the key `tunery` (`extra_body` in the SDKs): `lora_rank`,",
        "  `lora_alpha`, `lora_targets`, `learning_rate`, `schedule`, `warmup_steps`, `weight_decay`, `max_length`.",
        "- `GET /fine_tuning/jobs` filters by `status`, `model`, `suffix`, `created_after` and `created_before`.",
        "- `POST /fine_tuning/jobs/{job_id}` replaces a job's metadata.",
        "- Answers of models name the weights that gave them in the header `x-tunery-weights-sha256`.",
        "",
        *endpoints_table(),
        "",
        "## Commands",
        "",
        "`tunery COMMAND --help` tells the rest.",
        "",
        *commands_table(),
        "",
    ]
    OUTPUT.write_text("\n".join(lines))


if __name__ == "__main__":
    main()
