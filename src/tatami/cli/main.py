"""The entry point of ``tatami``: finds the command and turns errors into one sentence on stderr."""

import difflib
import gc
import importlib
import os
import sys
import traceback
from collections.abc import Sequence

import click

from tatami.errors import TatamiError

# Exit codes: 0 success, 1 an error of the run or the data, 2 a command line that cannot be used,
# 128 + signal a run that was asked to stop.
ERROR_CODE = 1
INTERRUPTED_CODE = 130

# The summaries stand here so that `tatami --help` imports no command and answers at once.
COMMANDS = {
    "train": "Train a network and save it.",
    "evaluate": "Measure a trained model on test images.",
    "predict": "Say what a trained model sees in images.",
    "anomaly": "Find what a model of normal examples cannot reconstruct.",
    "data": "Look at data sets, at augmentation, and at what a network saw.",
    "summary": "Print layers, shapes, parameters and cost of a network.",
    "inspect": "Draw what a model has learned, and what it sees in an image.",
    "report": "Write everything about a run into one HTML page.",
    "gradcheck": "Check every gradient of a network by central differences.",
    "explain": "Show how one number of a network came about.",
    "lecture": "Walk through a lecture: formulas, live numbers, errata.",
    "doctor": "Print versions, processor, backends and threads.",
}

# Commands whose module has another name.
MODULES = {"report": "report_page"}


class CommandGroup(click.Group):
    """Commands that are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of use."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of a command and return it."""
        if cmd_name not in COMMANDS:
            return None
        collecting = gc.isenabled()
        gc.disable()  # modules stay: looking through them for what could go takes a tenth of the time
        try:
            command = importlib.import_module(f"tatami.cli.{MODULES.get(cmd_name, cmd_name)}").command
        finally:
            if collecting:
                gc.enable()
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or suggest the nearest."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            nearest = difflib.get_close_matches(name, COMMANDS, n=1, cutoff=0.4)
            suggestion = f"did you mean {nearest[0]!r}? " if nearest else ""
            raise click.UsageError(f"unknown command {name!r}: {suggestion}Known: {', '.join(COMMANDS)}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands with their summaries, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def print_version(ctx: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    """Print the version and end."""
    if wanted and not ctx.resilient_parsing:
        from importlib.metadata import PackageNotFoundError, version

        try:
            click.echo(f"tatami {version('tatami')}")
        except PackageNotFoundError:
            click.echo("tatami (not installed, run from its source)")
        ctx.exit()


@click.group(
    cls=CommandGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Begin with: tatami train digits",
)
@click.option("--debug", is_flag=True, help="Show the traceback of an error (also: TATAMI_DEBUG=1).")
@click.option(
    "--version",
    is_flag=True,
    callback=print_version,
    expose_value=False,
    is_eager=True,
    help="Print the version.",
)
@click.pass_context
def tatami(ctx: click.Context, debug: bool) -> None:
    """See-through, fast convolutional networks."""
    ctx.obj = {"debug": debug}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code; every error is a sentence on stderr."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    # Accepted before and after the command: people add it to the end of a line that failed.
    debug = "--debug" in words or os.environ.get("TATAMI_DEBUG", "") not in ("", "0")
    words = [word for word in words if word != "--debug"]
    try:
        result = tatami.main(words, prog_name="tatami", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except click.ClickException as error:
        show_usage_error(error)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt) as error:
        if debug:
            traceback.print_exc()
        # click turns a KeyboardInterrupt into its Abort, which says nothing.
        interruption = error.__cause__ or error
        click.secho(str(interruption) or "stopped", fg="yellow", err=True, color=colour_of_errors())
        code = getattr(interruption, "exit_code", INTERRUPTED_CODE)
        return int(code)
    except BrokenPipeError:
        # The reader of our output went away (a pager, head): nobody is left to complain to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ERROR_CODE
    except (TatamiError, OSError, MemoryError) as error:
        if debug:
            traceback.print_exc()
        print_error(sentence(error))
        return ERROR_CODE


def sentence(error: BaseException) -> str:
    """Return what an error says, in a sentence."""
    if isinstance(error, OSError) and not isinstance(error, TatamiError) and error.strerror:
        name = f"{error.filename}: " if error.filename else ""
        return f"{name}{error.strerror}"
    if isinstance(error, MemoryError):
        return (
            f"out of memory{': ' if str(error) else ''}{error}; a smaller --batch-size or --limit needs less"
        )
    return str(error) or type(error).__name__


def print_error(text: str) -> None:
    """Print an error on stderr."""
    click.echo(f"{click.style('error:', fg='red', bold=True)} {text}", err=True, color=colour_of_errors())


def show_usage_error(error: click.ClickException) -> None:
    """Print what was wrong with a command line, and where its help is."""
    message = error.format_message().replace(". Did you mean", ": did you mean").replace("?.", "?")
    context = getattr(error, "ctx", None)
    if context is not None:
        end = "" if message.endswith(("?", ".")) else "."
        message = f"{message}{end} See: {context.command_path} --help"
    print_error(message)


def colour_of_errors() -> bool | None:
    """Return False where errors are not to be coloured; None lets click decide."""
    return False if os.environ.get("NO_COLOR") or not sys.stderr.isatty() else None


def run() -> None:
    """Run the command line of this process and end it."""
    code = main()
    gc.freeze()  # memory goes back as a whole: Python need not look through it for cycles when it ends
    sys.exit(code)
