"""The strategy over files of quotes, without Kafka: the same kernels, many dates, many workers."""
