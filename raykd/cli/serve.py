"""`raykd serve`: ensembles that outlive the command, by name."""

from __future__ import annotations

import contextlib
import time
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.live import Live

from raykd.cli.options import Address, ConfigFile, Json, Output, Overrides, loaded_config, show
from raykd.errors import ConfigError

HELP = "A long-lived ensemble of teachers on a cluster, shared by runs and other training loops."
serve_app = typer.Typer(no_args_is_help=True, help=HELP)
Ensemble = Annotated[str, typer.Argument(metavar="NAME", help="the ensemble's name, `name` of its configuration")]
WATCH_S = 1.0


@serve_app.command()
def up(
    config: ConfigFile,
    overrides: Overrides = None,
    output: Output = None,
    address: Address = None,
    idle_timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", min=1, help="end so long after the last user; default never")
    ] = None,
    as_json: Json = False,
) -> None:
    """Prepares the teachers of a configuration, starts them on the cluster and leaves them there."""
    from raykd import api
    from raykd.display.serve_table import ensemble_table

    state = api.serve_up(loaded_config(config, overrides, address), output, idle_timeout)
    show(state, as_json, ensemble_table)


@serve_app.command()
def status(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="default: all that are up")] = None,
    address: Address = None,
    watch: Annotated[bool, typer.Option("--watch", help="go on until Ctrl-C")] = False,
    as_json: Json = False,
) -> None:
    """Replicas, rows per second, queue, users and stores of an ensemble, or the names of all."""
    from raykd import runtime
    from raykd.display.serve_table import ensemble_table, names_table
    from raykd.serve import ensembles

    with runtime.joined(address, "raykd serve"):
        if name is None:
            show({"ensembles": ensembles.names()}, as_json, names_table)
            return
        if watch and not as_json:
            _watch(name, ensembles.status, ensemble_table)
        show(ensembles.status(name), as_json, ensemble_table)


@serve_app.command()
def scale(
    name: Ensemble,
    replicas: Annotated[list[str], typer.Option(metavar="TEACHER=NUMBER", help="may be repeated")],
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Adds replicas of a teacher, or lets some finish their calls and go; students go on."""
    from raykd import runtime
    from raykd.display.serve_table import ensemble_table
    from raykd.serve import ensembles

    wanted = dict(map(_number, replicas))
    with runtime.joined(address, "raykd serve"):
        show(ensembles.scale(name, wanted), as_json, ensemble_table)


@serve_app.command()
def down(
    name: Ensemble,
    address: Address = None,
    force: Annotated[bool, typer.Option("--force", help="end what runs still use, too")] = False,
    as_json: Json = False,
) -> None:
    """Ends an ensemble; a teacher that runs still use ends with the last of them."""
    from raykd import runtime
    from raykd.display.serve_table import down_text
    from raykd.serve import ensembles

    with runtime.joined(address, "raykd serve"):
        using = ensembles.down(name, force)
    show({"ensemble": name, "force": force, "in_use": using}, as_json, down_text)


@serve_app.command()
def http(
    name: Ensemble,
    address: Address = None,
    host: Annotated[str, typer.Option(help="where to listen; default this machine alone")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: a free one")] = 8080,
    token_variable: Annotated[
        str, typer.Option(metavar="NAME", help="environment variable with the token that requests must have")
    ] = "RAYKD_HTTP_TOKEN",
) -> None:
    """Answers texts over HTTP until Ctrl-C, for jobs without Ray; each teacher as an endpoint in raykd's form."""
    import raykd
    from raykd.serve.http_front import HttpFront, token_of

    token = token_of(token_variable)
    with raykd.connect(name, address) as ensemble, HttpFront(ensemble, (host, port), token) as front:
        Console(stderr=True).print(f"ensemble {name} at {front.url}, teachers: /{', /'.join(ensemble.teachers)}")
        with contextlib.suppress(KeyboardInterrupt):
            front.serve_forever()


def _watch(name: str, read: Any, table: Any) -> None:
    with Live(console=Console(), auto_refresh=False) as live:
        while True:
            live.update(table(read(name)), refresh=True)
            time.sleep(WATCH_S)


def _number(text: str) -> tuple[str, int]:
    teacher, equals, number = text.rpartition("=")
    if not equals or not teacher or not number.isdigit():
        raise ConfigError(f"--replicas {text}", "is not TEACHER=NUMBER", "for example --replicas minilm=4")
    return teacher, int(number)
