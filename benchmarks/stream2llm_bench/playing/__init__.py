"""Traces played to engines: what is played, to whom, and in which process."""
