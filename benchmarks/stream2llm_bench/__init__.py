"""Measures the real engine against what people would use instead: ``stream2llm bench``.

:mod:`stream2llm_bench.studies` holds further measurements, each a program of its own.
"""
