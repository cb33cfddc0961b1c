#!/bin/bash
# Writes the configuration from the KAFKA_ variables, formats the storage the first time, runs the broker.
set -eu
export CLUSTER_ID=${CLUSTER_ID:-c3RhbmQtaW4tZm9yLWthZg}
prepared=$(KAFKA_HEAP_OPTS=-Xmx256m /opt/kafka/bin/run-class.sh kafka.docker.KafkaDockerWrapper setup \
    --default-configs-dir /etc/kafka/docker --mounted-configs-dir /mnt/shared/config \
    --final-configs-dir /opt/kafka/config 2>&1) || case $prepared in
*"already formatted"*) ;;
*)
    echo "$prepared" >&2
    exit 1
    ;;
esac
export KAFKA_LOG4J_OPTS=-Dlog4j2.configurationFile=/opt/kafka/config/log4j2.yaml
exec /opt/kafka/bin/run-class.sh kafka.Kafka /opt/kafka/config/server.properties
