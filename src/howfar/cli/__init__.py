"""The command `howfar`: parse, call one function, print. torch is imported inside commands only.

Exit codes: 0 done, 1 finished with failed runs, 2 usage, 3 input data, 4 environment, 5 store,
130 after Ctrl-C, 143 after SIGTERM.
"""

import sys
from collections.abc import Sequence

import click

from howfar.cli.audit import audit_command
from howfar.cli.compare import compare_command
from howfar.cli.data import data_command
from howfar.cli.demand import demand_command
from howfar.cli.demo import demo_command
from howfar.cli.errors import explain
from howfar.cli.evaluate import evaluate_command
from howfar.cli.export import export_command
from howfar.cli.generate import generate_command
from howfar.cli.models import models_command
from howfar.cli.predict import predict_command
from howfar.cli.reach import reach_command
from howfar.cli.signals import stoppable
from howfar.cli.task import task_command
from howfar.cli.train import train_command
from howfar.cli.verify import verify_command
from howfar.cli.write import settle


class Commands(click.Group):
    """A group that knows near misses of its commands."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does; an unknown command is answered with the nearest known one."""
        from howfar.core.errors import UsageError, closest, shown

        if args and not args[0].startswith("-") and args[0] not in self.commands:
            near = closest(args[0], self.commands)
            known = ", ".join(self.commands)
            message = f"No command is called {shown(args[0])}. {near}Known: {known}."
            raise UsageError("E-COMMAND", message, "`howfar --help`")
        return super().resolve_command(ctx, args)


@click.group(
    cls=Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="howfar")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """How far back does a sequence model really look, and what does that cost?

    Start with `howfar demo`, or `howfar compare FILE` on your own text.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


cli.add_command(audit_command)
cli.add_command(compare_command)
cli.add_command(data_command)
cli.add_command(demand_command)
cli.add_command(demo_command)
cli.add_command(evaluate_command)
cli.add_command(export_command)
cli.add_command(generate_command)
cli.add_command(models_command)
cli.add_command(predict_command)
cli.add_command(reach_command)
cli.add_command(task_command)
cli.add_command(train_command)
cli.add_command(verify_command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code; errors become one line on stderr."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        # A character that the terminal cannot show is spelled out, not an error.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    with stoppable(given) as terminated:
        try:
            code = cli.main(given, standalone_mode=False)
        except (Exception, KeyboardInterrupt) as error:
            code = explain(error, given)
        settle()
    if code == 130 and terminated:
        code = 143
    sys.exit(code if isinstance(code, int) else 0)
