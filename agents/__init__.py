"""The agents of the market maker."""

__version__ = "0.1.0"
