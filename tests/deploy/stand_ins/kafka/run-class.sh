#!/bin/bash
# run-class.sh CLASS ARGUMENTS: one of the jars' programs.
# shellcheck disable=SC2086 # the options are lists of words
exec /opt/java/bin/java ${KAFKA_HEAP_OPTS:--Xmx256m} -XX:+UseSerialGC \
    ${KAFKA_LOG4J_OPTS:--Dlog4j2.configurationFile=/etc/kafka/docker/tools-log4j2.yaml} \
    -Dkafka.logs.dir=/opt/kafka/logs -cp '/opt/kafka/libs/*' "$@"
