"""The ``stream2llm`` command."""

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
