"""The `arcspot` command. Data goes to stdout, progress to stderr; what fails says what to try next.

Imports of weight happen inside the commands: `arcspot --help` must answer at once.
"""

from __future__ import annotations

import sys
from typing import Any

import click

from arcspot.errors import ArcspotError
from arcspot_cli import terminal
from arcspot_cli.commands import example
from arcspot_cli.commands_demo import demo
from arcspot_cli.commands_evaluate import evaluate
from arcspot_cli.commands_local import local
from arcspot_cli.commands_operating import cancel, cost, pause, resume
from arcspot_cli.commands_prune import prune
from arcspot_cli.commands_rehearse import rehearse
from arcspot_cli.commands_results import results
from arcspot_cli.commands_retry import retry
from arcspot_cli.commands_schedule import schedule
from arcspot_cli.commands_stack import check, cleanup
from arcspot_cli.commands_status import status
from arcspot_cli.commands_submit import submit
from arcspot_cli.simulating import simulate


class Friendly(click.Group):
    """A group whose commands end in one clear sentence, never in a traceback."""

    def make_context(self, *args: Any, **more: Any) -> click.Context:
        try:
            return super().make_context(*args, **more)
        except click.ClickException as error:
            raise terminal.told(error) from error

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.ClickException as error:
            raise terminal.told(error) from error
        except ArcspotError as error:
            raise terminal.failed(error) from error
        except KeyboardInterrupt:
            terminal.err("", "stopped; what was done stays, and the same command may be run again")
            sys.exit(130)
        except Exception as error:
            raise _told(error) from error


def _told(error: Exception) -> Exception:
    """Errors of the AWS SDK as a sentence; anything else is a bug and keeps its traceback."""
    if type(error).__module__.startswith("botocore"):
        words = " ".join(str(error).split())
        return terminal.told(
            click.ClickException(f"AWS says: {words}; `arcspot --aws check` looks at stack and quota")
        )
    sys.excepthook = terminal.bug
    return error


@click.group(
    cls=Friendly,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=example(
        "arcspot demo", "arcspot submit tasks/ --wait", "arcspot status --watch", "arcspot results get out/"
    ),
)
@click.option("--stack", metavar="NAME", help="Name of the CloudFormation stack.")
@click.option("--local", "where", flag_value="local", help="The local stack of this folder.")
@click.option("--aws", "where", flag_value="aws", help="AWS, even while a local stack is up.")
@click.option("--endpoint-url", metavar="URL", help="Some other endpoint (as AWS_ENDPOINT_URL).")
@click.option("--region", metavar="REGION", help="AWS region.")
@click.option("--profile", metavar="NAME", help="AWS profile.")
@click.version_option(package_name="arcspot")
@click.pass_context
def main(ctx: click.Context, /, **said: str | None) -> None:
    """Test-time training for ARC tasks on spot GPUs, within a budget it cannot break.

    Commands talk to --endpoint-url or AWS_ENDPOINT_URL, else to the local stack of this folder
    if one is up. AWS is used only where somebody says so: --aws, --region, --profile, or
    ARCSPOT_TARGET=aws in the environment.
    """
    ctx.obj = said


COMMANDS = (
    *(demo, evaluate, local, simulate),
    *(submit, status, results, schedule),
    *(cost, pause, resume, cancel, retry),
    *(check, prune, cleanup, rehearse),
)
for _command in COMMANDS:
    main.add_command(_command)


if __name__ == "__main__":
    main()
