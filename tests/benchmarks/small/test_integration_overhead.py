from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from stream2llm_bench.small.integration_overhead import OverheadSettings, measure

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = OverheadSettings(documents=8, repeats=2, max_model_len=1024)


@pytest.mark.engine
def test_every_integration_is_measured_on_the_real_engine(tiny_llama: Path) -> None:
    results = measure(tiny_llama, quick=True, on_progress=lambda _: None, settings=SETTINGS)

    assert [result.name for result in results] == [
        "langchain_event_overhead_s",
        "llamaindex_event_overhead_s",
        "rag_event_overhead_s",
    ]
    for result in results:
        assert result.unit == "s"
        assert result.parameters == {"documents": 8}
        assert len(result.samples) == 2
        assert all(abs(sample) < 1 for sample in result.samples)
