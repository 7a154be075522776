"""`tunery config`: every setting, its value and where the value comes from."""

from pathlib import Path
from typing import Any

from rich.text import Text

from tunery import settings
from tunery.cli.options import AsJson, local_base_url
from tunery.cli.output import err, print_json, print_table
from tunery.settings import Origin, Settings


def config(
    as_json: AsJson = False,
) -> None:
    """Show every setting, its value and where it comes from: a flag, the environment, a file, the default."""
    loaded, origins = settings.load()
    values = {name: shown(getattr(loaded, name)) for name in Settings.model_fields}
    if as_json:
        print_json(
            {
                name: {"value": value, "origin": origins[name], "description": Settings.model_fields[name].description}
                for name, value in values.items()
            }
        )
        return
    rows = [
        (name, "-" if value is None else str(value), _origin_text(name, origins[name]), _description(name))
        for name, value in values.items()
    ]
    print_table(("SETTING", "VALUE", "FROM", "MEANING"), rows, prose="MEANING")
    path = settings.config_path()
    err.say("")
    err.say(f"Configuration file: {path}" + ("" if path.exists() else " (there is none)"), style="dim")
    err.say(f"Commands call {local_base_url()} unless --base-url or TUNERY_BASE_URL names another.", style="dim")


def shown(value: Any) -> Any:
    """A setting's value as it may be seen: paths as text, the password of a URL hidden."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, str) and "://" in value:
        return _without_password(value)
    return value


def _without_password(url: str) -> str:
    scheme, _, rest = url.partition("://")
    login, at, address = rest.rpartition("@")
    if not at or ":" not in login:
        return url
    return f"{scheme}://{login.partition(':')[0]}:***@{address}"


def _origin_text(name: str, origin: Origin) -> Text:
    if origin == "default":
        return Text("default", style="dim")
    return Text(f"{settings.PREFIX}{name.upper()}" if origin == "environment" else origin, style="cyan")


def _description(name: str) -> Text:
    return Text(Settings.model_fields[name].description or "", style="dim")
