"""mm topics repartition: a desk taken over into topics with another number of partitions, state and all."""
