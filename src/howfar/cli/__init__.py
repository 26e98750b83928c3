"""The command `howfar`: parse, call one function, print. torch is imported inside commands only.

Exit codes: 0 done, 1 finished with failed runs, 2 usage, 3 input data, 4 environment, 5 store,
130 after Ctrl-C.
"""

import sys
from collections.abc import Sequence

import click

from howfar.cli.compare import compare_command
from howfar.cli.demo import demo_command
from howfar.cli.errors import Failure, explain
from howfar.cli.models import models_command


class Commands(click.Group):
    """A group that knows near misses of its commands."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does; an unknown command is answered with the nearest known one."""
        from howfar.core.errors import UsageError, closest, shown

        if args and not args[0].startswith("-") and args[0] not in self.commands:
            message = f"No command is called {shown(args[0])}. Known: {', '.join(self.commands)}."
            raise UsageError("E-COMMAND", message, closest(args[0], self.commands) or "--help")
        return super().resolve_command(ctx, args)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="howfar")
def cli() -> None:
    """How far back does a sequence model really look, and what does that cost?

    Start with `howfar demo`, or `howfar compare FILE` on your own text.
    """


cli.add_command(compare_command)
cli.add_command(demo_command)
cli.add_command(models_command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code; errors become one line on stderr."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = cli.main(given, standalone_mode=False)
    except Failure as failure:
        sys.exit(failure.code)
    except (Exception, KeyboardInterrupt) as error:
        sys.exit(explain(error, given))
    sys.exit(code if isinstance(code, int) else 0)
