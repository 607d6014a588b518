"""A result file as a report, with pictures, and as the performance section of the README."""
