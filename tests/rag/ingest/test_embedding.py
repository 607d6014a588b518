from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from stream2llm_rag.ingest import MiniLM


@pytest.fixture(scope="module")
def embed() -> Callable[[list[str]], NDArray[np.float32]]:
    return MiniLM()


def test_meaning_is_near(embed: MiniLM) -> None:
    query, near, far = embed(
        ["How do I install the package?", "Run pip install to set it up.", "Bananas are yellow."]
    )
    assert query @ near > query @ far + 0.2
    assert np.linalg.norm(query) == pytest.approx(1, abs=1e-5)


def test_a_vector_does_not_depend_on_its_batch(embed: MiniLM) -> None:
    texts = [f"text number {number} " + "and more " * (number % 7) for number in range(70)]
    together = embed(texts)
    for place in (0, 33, 69):
        assert embed([texts[place]])[0] == pytest.approx(together[place], abs=1e-5)


def test_threads_share_it_and_torch_keeps_its_own(embed: MiniLM) -> None:
    before = torch.get_num_threads()
    with ThreadPoolExecutor() as pool:
        rows = list(pool.map(lambda number: embed([f"text {number}"])[0], range(8)))
    assert torch.get_num_threads() == before
    assert rows[3] == pytest.approx(embed(["text 3"])[0], abs=1e-5)


def test_a_very_long_text_is_cut(embed: MiniLM) -> None:
    assert embed(["word " * 5000]).shape == (1, 384)
