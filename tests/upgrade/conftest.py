"""Pipelines and the market for the tests of this folder."""

from tests.integration.conftest import pipeline

__all__ = ["pipeline"]
