"""The rules of trading, pure: no Kafka, no clock, no files."""
