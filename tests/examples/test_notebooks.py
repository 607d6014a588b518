"""The notebooks run as they stand, on the shipped reader, and are stored without outputs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
from nbclient import NotebookClient

from stream2llm_rag.reader import World
from tests.examples.programs import EXAMPLES

if TYPE_CHECKING:
    from pathlib import Path

PATHS = sorted(EXAMPLES.glob("*.ipynb"))
NOTEBOOK = pytest.mark.parametrize("path", PATHS, ids=[path.stem for path in PATHS])

NOT_RUN = "skip-execution"
ANSWER = re.compile(r"^ ?(The .+ of .+ is .+\.)\nfirst token \d+\.\d+ s after", re.MULTILINE)
FIGURES = re.compile(r"^(\d+) of (\d+) prompt tokens were computed before", re.MULTILINE)


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]


def code_of(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@NOTEBOOK
def test_a_notebook_is_stored_without_outputs(path: Path) -> None:
    notebook = read(path)
    nbformat.validate(notebook)
    assert notebook.nbformat == 4
    code = code_of(notebook)
    assert code
    for cell in code:
        assert (cell.outputs, cell.execution_count) == ([], None)


@pytest.mark.engine
@NOTEBOOK
async def test_a_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    notebook = read(path)
    code = code_of(notebook)
    assert [NOT_RUN in cell.metadata.get("tags", ()) for cell in code] == [
        cell.source.startswith("%pip install ") for cell in code
    ]
    resources = {"metadata": {"path": str(tmp_path)}}
    client = NotebookClient(notebook, timeout=240, resources=resources, skip_cells_with_tag=NOT_RUN)
    await client.async_execute()
    output = "".join(
        output.text for cell in code for output in cell.outputs if output.name == "stdout"
    )
    before, after = ANSWER.findall(output)
    assert before == after == World(seed=1, entities=32).facts[40].statement
    early, total = map(int, FIGURES.findall(output)[-1])
    assert total / 2 < early < total
