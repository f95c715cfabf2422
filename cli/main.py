"""The ``edgeproof`` command: finds the sub-command, turns errors into messages and exit statuses. Light."""

from __future__ import annotations

import gc
import os
import signal
import sys
from importlib import import_module
from types import FrameType
from typing import Any

import click

from .terminal import echo, show_error, show_usage_error, write_out_what_is_not_encodable

COMMANDS = (
    "run", "export", "evaluate", "inspect", "diagnose", "profile", "bundle", "compare", "history", "report", "devices",
    "doctor", "init", "docs", "completion",
)  # fmt: skip

# The likely command if a file is given in place of a command.
_FOR_FILES = {".toml": "run", ".tflite": "inspect", ".onnx": "inspect"}


class LazyGroup(click.Group):
    """A group whose commands are modules of `edgeproof.cli.commands`, imported on demand."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order of first use."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f".commands.{cmd_name}", __package__).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that is named first; for an unknown name, suggest the nearest command."""
        name = args[0]
        if name not in COMMANDS and name[:1].isalnum() and not ctx.resilient_parsing:
            from difflib import get_close_matches

            close = get_close_matches(name.lower(), COMMANDS, n=1)
            by_file = [command for suffix, command in _FOR_FILES.items() if name.endswith(suffix)]
            hint = f"{by_file[0]} {name}" if by_file else close[0] if close else ""
            ctx.fail(f"No such command {name!r}." + (f" Did you mean: {ctx.command_path} {hint}" if hint else ""))
        return super().resolve_command(ctx, args)


def _bash_completion() -> None:
    """Let bash complete values with a colon; only if the environment requests it, to keep other calls fast."""
    if any(name.endswith("EDGEPROOF_COMPLETE") for name in os.environ):
        from .completing import register

        register()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="edgeproof")
def edgeproof() -> None:
    """Fine-tune, export to TFLite and ONNX, and prove each file before it ships.

    Exit status: 0 done; 1 done, but a budget is not met (with --strict also: not shown to be met); 2 the input is
    wrong, nothing was started; 3 a stage failed, or nothing that was asked for could be made or measured.
    """


def main() -> None:
    """Run the command line and exit with its status."""
    # Modules make objects that stay; looking for garbage after every 700 takes a sixth of the time of a short command.
    gc.set_threshold(20_000)
    signal.signal(signal.SIGTERM, _terminate)
    write_out_what_is_not_encodable()
    _bash_completion()
    sys.exit(status())


def status(arguments: list[str] | None = None) -> int:
    """Run the command line on `arguments` (the process's own by default) and return its exit status."""
    try:
        result: Any = edgeproof.main(arguments, prog_name="edgeproof", standalone_mode=False)
    except click.exceptions.Abort:
        echo("interrupted; run the same command again to resume", err=True)
        return 130
    except click.ClickException as error:
        show_usage_error(error)
        return error.exit_code
    except BrokenPipeError:  # the reader of standard output has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        return explain(error)
    return result if isinstance(result, int) else 0


def explain(error: Exception) -> int:
    """Print the error on stderr, and return the exit status."""
    from ..core.errors import EdgeproofError, explain_os_error

    if isinstance(error, OSError):  # a full disk or missing permissions may occur anywhere
        error = explain_os_error(error)
    if isinstance(error, EdgeproofError):
        show_error(f"error: {error}")
        return error.exit_code
    if os.environ.get("EDGEPROOF_DEBUG"):
        raise error
    echo(f"error: {type(error).__name__}: {error}", err=True)
    echo("  → this is a bug in edgeproof; EDGEPROOF_DEBUG=1 shows where. Please report it.", err=True)
    return 3


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
