"""`ingestd`: the table of commands, and what every command does about errors.

Each command is one thin file. Nothing but typer is imported here or at the top of those files: what a command needs
it imports when it runs, so that `ingestd --help` answers at once and `validate` needs no cloud SDK.

Exit codes: 0 ok, 1 the check failed, 2 usage, 69 a dependency was not there, 78 bad configuration.
"""

from __future__ import annotations

import os
import sys

import typer

from ingestd.cli import (
    alerts,
    backfill,
    compliance,
    config_schema,
    debug,
    detections,
    doctor,
    healthcheck,
    infer_schema,
    init,
    output,
    packs,
    parse,
    print_config,
    public,
    query,
    rejects,
    run,
    schema_diff,
    test,
    validate,
    version,
)
from ingestd.errors import ConfigError, IngestdError, Retryable

EXIT_FAILED = 1
EXIT_UNAVAILABLE = 69
EXIT_CONFIG = 78

EPILOG = """Results go to stdout, everything else to stderr. Exit codes: 0 ok, 1 the check failed, 2 usage, 69 a
dependency was not there, 78 bad configuration."""

app = typer.Typer(
    name="ingestd",
    help="Security log ingestion on your own machines: subscribe, normalise, detect, alert, keep.",
    epilog=EPILOG,
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help needs no rich, which takes longer to import than all the rest
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run")(run.command)
app.command("validate")(validate.command)
app.command("doctor")(doctor.command)
app.command("test", cls=public.Command)(test.command)
app.command("debug")(debug.command)
app.add_typer(packs.app, name="packs")
app.add_typer(detections.app, name="detections")
app.command("parse")(parse.command)
app.command("infer-schema")(infer_schema.command)
app.command("backfill")(backfill.command)
app.command("schema-diff")(schema_diff.command)
app.command("query")(query.command)
app.command("alerts")(alerts.command)
app.command("compliance")(compliance.command)
app.command("rejects")(rejects.command)
app.command("print-config")(print_config.command)
app.command("config-schema")(config_schema.command)
app.command("init")(init.command)
app.command("healthcheck")(healthcheck.command)
app.command("version")(version.command)


def main() -> None:
    """Entry point of the program. No traceback for a user's error; `INGESTD_DEBUG=1` shows it."""
    try:
        app()
    except ConfigError as error:
        for problem in error.problems:
            print(output.plain(problem), file=sys.stderr)
        _leave(EXIT_CONFIG)
    except Retryable as error:
        print(f"ingestd: {error}", file=sys.stderr)
        _leave(EXIT_UNAVAILABLE)
    except IngestdError as error:
        print(f"ingestd: {error}", file=sys.stderr)
        _leave(EXIT_FAILED)
    except BrokenPipeError:
        # The reader of stdout has gone (`ingestd query … | head`); Python would complain once more while it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_FAILED)
    except Exception as error:  # noqa: BLE001 - the last resort: a mistake of ours, told in one line
        from ingestd import redact

        print(f"ingestd: unexpected {type(error).__name__}: {redact.text(str(error))}", file=sys.stderr)
        print("This is a mistake in ingestd; INGESTD_DEBUG=1 shows where.", file=sys.stderr)
        _leave(EXIT_FAILED)


def _leave(code: int) -> None:
    """Exit, or raise what is being handled when the user wants to see it."""
    if os.environ.get("INGESTD_DEBUG"):
        raise  # noqa: PLE0704 - called from the except clauses of main only
    sys.exit(code)


if __name__ == "__main__":
    main()
