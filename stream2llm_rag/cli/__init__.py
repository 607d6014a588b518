"""The command line: :mod:`stream2llm_rag.cli.app` and what its commands share."""
