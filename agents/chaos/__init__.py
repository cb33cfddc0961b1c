"""Faults on purpose, in a seeded order, over a pipeline of real processes; and an auditor of what came of it."""
