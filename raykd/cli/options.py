"""What the commands have in common: their options, how a configuration is read, how a result is shown."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel
from pydantic_core import to_json
from rich.console import Console

from raykd import config as configuration
from raykd.config import RunConfig

Overrides = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="dotted overrides")]
ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG", help="a YAML file, see workloads/")]
Output = Annotated[Path | None, typer.Option(help="the run's folder; default runs/NAME")]
Address = Annotated[str | None, typer.Option(help="a running Ray cluster; default a local Ray of our own")]
Json = Annotated[bool, typer.Option("--json", help="the result as one JSON object on the last line of stdout")]


def loaded_config(path: Path, overrides: list[str] | None, address: str | None, each_domain: bool = False) -> RunConfig:
    """The configuration of a file, with overrides and the address of a cluster."""
    given = [*(overrides or []), *([f"cluster.address={address}"] if address else [])]
    return configuration.load(path, given, each_domain)


def show(result: BaseModel | dict[str, Any], as_json: bool, table: Any) -> None:
    """One line of JSON (NaN and infinite floats as null) on stdout, or what `table` makes of the result."""
    if as_json:
        sys.stdout.write(to_json(result, inf_nan_mode="null", fallback=float).decode() + "\n")
    else:
        Console().print(table(result))
