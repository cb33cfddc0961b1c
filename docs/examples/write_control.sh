#!/bin/sh
# Writes one control with Kafka's console producer: write_control.sh BOOTSTRAP SYMBOL JSON [PREFIX]
#     write_control.sh 127.0.0.1:9092 AAPL '{"max_position_dollars": 20000, "state": "REDUCING"}'
# JSON is the whole record, on as many lines as you like; the word null takes the symbol out of the universe.
set -eu
if [ $# -lt 3 ]; then
    echo "usage: write_control.sh BOOTSTRAP SYMBOL JSON [PREFIX]" >&2
    exit 2
fi
bootstrap=$1 symbol=$2 json=$3 prefix=${4-}
line=$(printf '%s' "$json" | tr '\n' ' ') # a line is a record to the console producer
# Without --sync the console producer ends with status 0, too, when nothing was written.
printf '%s\t%s\n' "$symbol" "$line" |
    "$(dirname "$0")/kafka_tool.sh" org.apache.kafka.tools.ConsoleProducer \
        --bootstrap-server "$bootstrap" --topic "${prefix}controls" --sync --max-block-ms 10000 \
        --reader-property parse.key=true --reader-property null.marker=null || {
    echo "not written to $bootstrap" >&2
    exit 1
}
