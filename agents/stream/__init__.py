"""Exactly-once streams on Kafka; knows nothing about trading."""
