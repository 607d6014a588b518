"""Files to documents to vectors, for the command line and the demo."""

from stream2llm_rag.ingest._embedding import MiniLM
from stream2llm_rag.ingest._folder import Folder, read_folder

__all__ = ["Folder", "MiniLM", "read_folder"]
