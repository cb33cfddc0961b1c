#!/bin/sh
# Prints trades with Kafka's console consumer: read_trades.sh BOOTSTRAP [PREFIX] [MORE OPTIONS OF THE CONSUMER...]
set -eu
if [ $# -eq 0 ]; then
    echo "usage: read_trades.sh BOOTSTRAP [PREFIX] [MORE OPTIONS OF THE CONSUMER...]" >&2
    exit 2
fi
bootstrap=$1 prefix=${2-}
shift $(($# > 1 ? 2 : 1))
exec "$(dirname "$0")/kafka_tool.sh" org.apache.kafka.tools.consumer.ConsoleConsumer \
    --bootstrap-server "$bootstrap" --topic "${prefix}trades" --from-beginning --isolation-level read_committed "$@"
