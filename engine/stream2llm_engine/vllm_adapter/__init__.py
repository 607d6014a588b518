"""Everything that touches vLLM. No other package of the project imports it."""
