"""Restante: mail that the post office keeps until its agent calls for it."""

__version__ = "0.1.0"
