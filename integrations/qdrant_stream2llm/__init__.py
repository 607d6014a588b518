"""Qdrant integration."""
