"""Framework-free core: documents, context events, prompt assembly, sources and the streaming pipeline."""
