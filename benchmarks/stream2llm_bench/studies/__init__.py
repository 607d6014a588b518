"""What is measured, each as `python -m stream2llm_bench.studies.NAME`."""
