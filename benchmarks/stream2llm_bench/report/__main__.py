"""``python -m stream2llm_bench.report``."""

import typer

from stream2llm_bench.report.command import main

typer.run(main)
