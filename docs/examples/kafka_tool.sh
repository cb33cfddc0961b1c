#!/bin/sh
# Runs one of Kafka's own command-line tools from the embedded broker's jars, so that no Kafka need be installed:
#     kafka_tool.sh CLASS [ARGUMENT...]
# JAVA: the Java that runs it; the one of the virtual environment where the machine has none:
#     JAVA=$(.venv/bin/python -c 'from deploy.java import find_java; print(find_java())')
set -eu
jars=${KAFKA_JARS:-${XDG_CACHE_HOME:-$HOME/.cache}/market-maker/kafka-4.2.2}
exec "${JAVA:-java}" -cp "$jars/*" "$@"
