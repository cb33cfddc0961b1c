#!/bin/sh
# Runs one of Kafka's own command-line tools from the embedded broker's jars, so that no Kafka need be installed:
#     kafka_tool.sh CLASS [ARGUMENT...]
# JAVA: the Java that runs it, else the one that the embedded broker would take.
set -eu
jars=${KAFKA_JARS:-${XDG_CACHE_HOME:-$HOME/.cache}/market-maker/kafka-4.2.2}
python=$(dirname "$0")/../../.venv/bin/python
if [ -z "${JAVA-}" ] && [ -x "$python" ]; then
    JAVA=$("$python" -c 'from deploy.java import find_java; print(find_java())')
fi
exec "${JAVA:-java}" -cp "$jars/*" "$@"
