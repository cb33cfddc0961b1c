"""Agents as processes: one of them, several kept running, and what ends with whom."""
