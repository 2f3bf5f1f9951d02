"""The command line: reads a configuration, calls the API, shows what came of it. No logic of its own."""

from __future__ import annotations

import errno
import json
import logging
import re
import sys
from importlib.resources import files
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.logging import RichHandler

from raykd import config as configuration
from raykd.cli.options import Address, ConfigFile, Json, Output, Overrides, loaded_config, show
from raykd.cli.serve import serve_app
from raykd.config import RunConfig
from raykd.errors import ConfigError, RaykdError, one_line

HELP = "Knowledge distillation on a Ray cluster: teachers serve soft targets, students learn from them."
app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=HELP)
app.add_typer(serve_app, name="serve")
PLACES = {
    errno.EACCES, errno.EEXIST, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EPERM,
    errno.EROFS,
}  # fmt: skip
"""What is wrong with a path that a person has given, not with the program."""
NO_ROOM = {errno.ENOSPC, errno.EDQUOT}


@app.command()
def quickstart(overrides: Overrides = None, output: Output = None, as_json: Json = False) -> None:
    """Everything small, offline, in minutes: a generated corpus, three teachers, a student, a report."""
    config = configuration.load(Path(str(files("raykd.workloads") / "quickstart.yaml")), overrides or [])
    _distilled(config, output, as_json)


@app.command()
def check(config: ConfigFile, overrides: Overrides = None, as_json: Json = False) -> None:
    """Validates a configuration and its data and prints the plan; runs nothing."""
    from raykd import api
    from raykd.display.tables import plan_table

    plan = api.check(configuration.load(config, overrides or []))
    show(plan, as_json, plan_table)


@app.command()
def teach(
    config: ConfigFile,
    overrides: Overrides = None,
    output: Output = None,
    address: Address = None,
    store: Annotated[bool, typer.Option("--store", help="compute and store their soft targets too")] = False,
    as_json: Json = False,
) -> None:
    """Prepares the teachers; skips those that the cache has. With --store their pass over the rows as well."""
    from raykd import api
    from raykd.display.tables import teachers_table

    show({"teachers": api.teach(loaded_config(config, overrides, address), output, store)}, as_json, teachers_table)


@app.command()
def distill(
    config: ConfigFile,
    overrides: Overrides = None,
    output: Output = None,
    address: Address = None,
    as_json: Json = False,
) -> None:
    """The main job: prepares teachers if needed, serves them, trains the student. Goes on where it stopped."""
    _distilled(loaded_config(config, overrides, address), output, as_json)


@app.command()
def domains(
    config: ConfigFile,
    overrides: Overrides = None,
    names: Annotated[
        str | None, typer.Option("--domains", metavar="A,B", help="these domains; default all of the data")
    ] = None,
    output: Output = None,
    address: Address = None,
    as_json: Json = False,
) -> None:
    """One student for each domain, side by side on shared teachers: a table by domain. Goes on where it stopped."""
    from raykd import api
    from raykd.display.domains_table import domains_table

    loaded = loaded_config(config, overrides, address, each_domain=True)
    chosen = None if names is None else [name.strip() for name in names.split(",")]
    result = api.domains(loaded, output, chosen)
    show(result, as_json, domains_table)
    Console(stderr=True).print(f"report: {(output or Path('runs') / loaded.name) / 'report.html'}")


@app.command()
def study(
    config: ConfigFile,
    overrides: Overrides = None,
    output: Output = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with an unfinished study")] = False,
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Searches over configurations on shared teachers: trials, the best over seeds, a report."""
    from raykd import api
    from raykd.display.study_table import study_table

    loaded = loaded_config(config, overrides, address)
    result = api.study(loaded, output, resume)
    show(result, as_json, study_table)
    Console(stderr=True).print(f"report: {(output or Path('runs') / loaded.name) / 'report.html'}")


@app.command()
def evaluate(
    checkpoint: Annotated[Path, typer.Argument(help="a student's or teacher's folder")],
    config: ConfigFile,
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Scores a checkpoint on the validation rows (and test rows) of a configuration."""
    from raykd import api
    from raykd.display.tables import scores_table

    show(api.evaluate(checkpoint, configuration.load(config, overrides or [])), as_json, scores_table)


@app.command()
def export(
    checkpoint: Annotated[Path, typer.Argument(help="a student's or teacher's folder")],
    kind: Annotated[str, typer.Option("--format", help="onnx")] = "onnx",
    output: Annotated[Path | None, typer.Option(help="default CHECKPOINT/onnx")] = None,
    push: Annotated[str | None, typer.Option("--push-to-hub", help="a repository OWNER/NAME to upload to")] = None,
    as_json: Json = False,
) -> None:
    """Writes a checkpoint in another format and checks that it answers alike."""
    from raykd import api

    exported = api.export(checkpoint, kind, output, push)
    show(exported, as_json, lambda result: f"{result['path']}: logits agree to {result['difference']:.1e}")


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="a folder that distill, domains or study wrote")],
    as_json: Json = False,
) -> None:
    """Draws the HTML page and pictures of a run, a study or several domains."""
    from raykd import api

    path = api.report(folder)
    show({"report": str(path)}, as_json, lambda result: f"report: {result['report']}")


@app.command()
def compare(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="folders of finished runs")],
    reference: Annotated[str | None, typer.Option(help="an arm, or a folder of its runs; default the first")] = None,
    arms: Annotated[
        bool | None,
        typer.Option("--arms/--no-arms", help="baselines and teachers too; default where all runs are of one arm"),
    ] = None,
    drawn: Annotated[
        list[str] | None, typer.Option(metavar="KEY", help="draws of an arm differ in this key too; may be repeated")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="a folder for compare.html and compare.json")] = None,
    as_json: Json = False,
) -> None:
    """Compares runs, or the arms of one, by the rows that they answered: which differences are more than chance."""
    from raykd import api
    from raykd.display.compare_table import compare_table

    show(api.compare(folders, reference, arms, output, drawn=drawn or ()), as_json, compare_table)
    if output is not None:
        Console(stderr=True).print(f"comparison: {output / 'compare.html'}")


@app.command("config")
def config_reference(
    key: Annotated[str, typer.Argument(metavar="[KEY]", help="a section or key, for example weighting.lr")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="the JSON schema")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="as docs/configuration.md")] = False,
) -> None:
    """Prints the reference of every configuration key, or of one section or key."""
    from raykd.config import reference

    if as_json:
        sys.stdout.write(json.dumps(reference.schema(key)) + "\n")
        return
    tables = reference.reference(key)
    sys.stdout.write(reference.as_markdown(tables) if markdown else reference.as_text(tables))


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def bench(context: typer.Context, name: str, as_json: Json = False) -> None:
    """Runs a measuring program of workloads/bench: serving, serving --cold, colocated, feedback, selector,
    study, features, scale, recovery, bulk."""
    from importlib import import_module

    if not (files("raykd.workloads") / "bench" / f"{name}.py").is_file():
        known = sorted(p.name[:-3] for p in (files("raykd.workloads") / "bench").iterdir() if _is_bench(p.name))
        raise ConfigError(f"bench {name}", "no such bench", f"there are {', '.join(known)}")
    result = import_module(f"raykd.workloads.bench.{name}").main(context.args)
    show(result, as_json, lambda measured: json.dumps(measured, indent=1))


def _is_bench(file: str) -> bool:
    return file.endswith(".py") and not file.startswith("_")


def _distilled(config: RunConfig, output: Path | None, as_json: bool) -> None:
    from raykd import api
    from raykd.display.tables import final_table

    result = api.distill(config, output)
    show(result, as_json, final_table)
    Console(stderr=True).print(f"report: {(output or Path('runs') / config.name) / 'report.html'}")


def _end(line: str, status: int) -> NoReturn:
    sys.stderr.write(f"raykd: {one_line(line)}\n")
    sys.exit(status)


def main() -> None:
    """Entry point: an error of ours, or a path that cannot be used, is one line on stderr and its exit status."""
    logging.basicConfig(
        level=logging.INFO, format="%(message)s", handlers=[RichHandler(console=Console(stderr=True), show_path=False)]
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # its retries; what it gives up on is an error of ours
    try:
        app()
    except RaykdError as error:
        _end(str(error), error.status)
    except KeyboardInterrupt:
        sys.stderr.write("raykd: stopped at once; the last checkpoint stands\n")
        sys.exit(130)
    except Exception as error:
        ending = _of_a_path(error)
        if ending is None:
            raise
        logging.getLogger(__name__).debug("", exc_info=True)
        _end(*ending)


def _of_a_path(error: Exception) -> tuple[str, int] | None:
    """The line and the status for a path that cannot be used; None for any other error."""
    if isinstance(error, OSError):
        number, what = error.errno, f"{error.filename or 'a file'}: {error.strerror}"
    else:  # safetensors raises no OSError, its text has the number
        found = re.search(r"\(os error (\d+)\)", str(error))
        number, what = int(found[1]) if found else None, str(error)
    if number in NO_ROOM:
        return f"{what} (make room and give the same command again: what is finished is kept)", RaykdError.status
    if isinstance(error, OSError) and number in PLACES and error.filename is not None:
        return f"{what} (give a path that can be used)", ConfigError.status
    return None
