"""What a simulation is run on: seeded workloads with published statistics, and trace files."""

from stream2llm_rag.workloads._anns import AnnsWorkload
from stream2llm_rag.workloads._arrivals import arrival_times
from stream2llm_rag.workloads._base import Workload
from stream2llm_rag.workloads._crawler import CrawlerWorkload
from stream2llm_rag.workloads._trace_file import load_trace_file

__all__ = [
    "AnnsWorkload",
    "CrawlerWorkload",
    "Workload",
    "arrival_times",
    "load_trace_file",
]
