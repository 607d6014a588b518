"""The ``stream2llm`` command.

Installed packages add commands of their own by an entry point in the group ``stream2llm.commands``.
"""

from importlib.metadata import entry_points

import typer

from stream2llm_rag.cli._ask import ask
from stream2llm_rag.cli._demo import demo
from stream2llm_rag.cli._profile import profile
from stream2llm_rag.cli._simulate import simulate

__all__ = ["app"]

app = typer.Typer(
    name="stream2llm",
    help="Stream retrieved context into vLLM while it is still arriving.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


app.command()(ask)
app.command()(demo)
app.command()(profile)
app.command()(simulate)
for _entry_point in sorted(entry_points(group="stream2llm.commands")):
    app.command(_entry_point.name)(_entry_point.load())
