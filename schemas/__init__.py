"""The records, the topics and how they are written."""
