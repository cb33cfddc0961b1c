import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.BytesDeserializer;
import org.apache.kafka.common.serialization.BytesSerializer;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/**
 * Quotes to signals in Kafka Streams, exactly once, and on to executions and trades where their topics are named:
 * {@code StreamsPeer bootstrap quotes signals id folder threads commit_ms linger_ms decision_s
 * warmup_s band_sd [executions trades]}.
 */
public final class StreamsPeer {
    private static final String STORE = "moments", POSITIONS = "positions";
    private static long decisionNs, warmupNs;
    private static double bandSd;

    private StreamsPeer() { }

    public static void main(String[] arguments) {
        decisionNs = Long.parseLong(arguments[8]) * 1_000_000_000L;
        warmupNs = Long.parseLong(arguments[9]) * 1_000_000_000L;
        bandSd = Double.parseDouble(arguments[10]);
        final Topology topology = new Topology();
        topology.addSource(
            "quotes", new BytesDeserializer(), (Deserializer<Quote>) (topic, json) -> Quote.parse(json), arguments[1]);
        topology.addProcessor("decider", Decider::new, "quotes");
        topology.addStateStore(
            Stores.keyValueStoreBuilder(Stores.inMemoryKeyValueStore(STORE), Serdes.Bytes(), Moments.SERDE)
                .withCachingEnabled(),
            "decider");
        topology.addSink("signals", arguments[2], new BytesSerializer(), new ByteArraySerializer(), "decider");
        if (arguments.length > 11) trade(topology, arguments[2], arguments[11], arguments[12]);
        final KafkaStreams streams = new KafkaStreams(topology, settings(arguments));
        Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
        streams.start();
    }

    private static void trade(Topology topology, String signals, String executions, String trades) {
        topology.addSource("decisions", new BytesDeserializer(), new StringDeserializer(), signals);
        topology.addProcessor("trader", Trader::new, "decisions");
        topology.addStateStore(
            Stores.keyValueStoreBuilder(Stores.inMemoryKeyValueStore(POSITIONS), Serdes.Bytes(), Serdes.Long())
                .withCachingEnabled(),
            "trader");
        topology.addSink("executions", executions, new BytesSerializer(), new StringSerializer(), "trader");
        topology.addSink("trades", trades, new BytesSerializer(), new StringSerializer(), "trader");
    }

    private static Properties settings(String[] arguments) {
        final Properties settings = new Properties();
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, arguments[0]);
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, arguments[3]);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, arguments[4]);
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, arguments[5]);
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, Long.parseLong(arguments[6]));
        settings.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        settings.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 64 << 20);
        settings.put(StreamsConfig.BUFFERED_RECORDS_PER_PARTITION_CONFIG, 20_000);
        settings.put(StreamsConfig.ENABLE_METRICS_PUSH_CONFIG, false);
        settings.put(StreamsConfig.mainConsumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        settings.put(StreamsConfig.mainConsumerPrefix(ConsumerConfig.MAX_POLL_RECORDS_CONFIG), 10_000);
        settings.put(StreamsConfig.mainConsumerPrefix(ConsumerConfig.MAX_PARTITION_FETCH_BYTES_CONFIG), 4 << 20);
        settings.put(StreamsConfig.mainConsumerPrefix(ConsumerConfig.RECEIVE_BUFFER_CONFIG), 1 << 20);
        settings.put(StreamsConfig.mainConsumerPrefix(ConsumerConfig.CHECK_CRCS_CONFIG), false);
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.LINGER_MS_CONFIG), arguments[7]);
        return settings;
    }

    /** A symbol's quotes move its moments; the first at or after a decision time publishes what held before it. */
    private static final class Decider implements Processor<Bytes, Quote, Bytes, byte[]> {
        private ProcessorContext<Bytes, byte[]> context;
        private KeyValueStore<Bytes, Moments> store;
        // Saves reading back, and decoding, what was written last; every change still goes to the store.
        private final Map<Bytes, Moments> known = new HashMap<>();

        @Override
        public void init(ProcessorContext<Bytes, byte[]> given) {
            context = given;
            store = given.getStateStore(STORE);
            known.clear();
            try (var rows = store.all()) {
                rows.forEachRemaining(row -> known.put(row.key, row.value));
            }
        }

        @Override
        public void process(Record<Bytes, Quote> record) {
            final Quote quote = record.value();
            if (quote == null || !quote.usable()) return;
            Moments moments = known.get(record.key());
            if (moments == null) {
                moments = new Moments(quote, decisionNs);
                known.put(record.key(), moments);
            } else if (quote.ts < moments.ts) {
                return;
            } else {
                for (; quote.ts >= moments.nextDecision; moments.nextDecision += decisionNs) {
                    context.forward(record.withValue(signal(record.key(), moments)));
                }
                moments.add(quote);
            }
            store.put(record.key(), moments);
        }

        private static byte[] signal(Bytes symbol, Moments moments) {
            final double deviation = moments.deviation();
            final boolean warm = moments.ts > moments.first + warmupNs;
            final String verdict = !warm ? "HOLD"
                : moments.ask < moments.mean - bandSd * deviation ? "BUY"
                : moments.bid > moments.mean + bandSd * deviation ? "SELL" : "HOLD";
            final String text = "{\"symbol\":\"" + new String(symbol.get(), StandardCharsets.UTF_8)
                + "\",\"ts\":" + moments.nextDecision + ",\"quote_ts\":" + moments.ts
                + ",\"bid\":" + moments.bid + ",\"ask\":" + moments.ask + ",\"ema\":" + moments.mean
                + ",\"sd\":" + (moments.single ? "null" : Double.toString(deviation))
                + ",\"verdict\":\"" + verdict + "\"}";
            return text.getBytes(StandardCharsets.UTF_8);
        }
    }
    /** Each signal becomes an execution; a lot is traded at the touch while the position's value is below the limit. */
    private static final class Trader implements Processor<Bytes, String, Bytes, String> {
        private static final long LOT = 100;
        private static final double LIMIT_DOLLARS = 10_000_000;

        private ProcessorContext<Bytes, String> context;
        private KeyValueStore<Bytes, Long> positions;

        @Override
        public void init(ProcessorContext<Bytes, String> given) {
            context = given;
            positions = given.getStateStore(POSITIONS);
        }

        @Override
        public void process(Record<Bytes, String> record) {
            final String signal = record.value();
            final boolean buy = signal.endsWith("\"BUY\"}"), sell = signal.endsWith("\"SELL\"}");
            final double price = field(signal, sell ? "bid" : "ask");
            final Long held = positions.get(record.key());
            final long before = held == null ? 0 : held, after = before + (buy ? LOT : sell ? -LOT : 0);
            final boolean traded = (buy || sell) && Math.abs(after) * price <= LIMIT_DOLLARS;
            // The signal begins with its symbol and decision time.
            final String which = signal.substring(0, signal.indexOf(",\"quote_ts\""));
            final String what = ",\"price\":" + price + ",\"position_after\":" + (traded ? after : before) + "}";
            if (traded) {
                positions.put(record.key(), after);
                final String side = ",\"side\":\"" + (buy ? "BUY" : "SELL") + "\",\"shares\":" + LOT;
                context.forward(record.withValue(which + side + what), "trades");
            }
            final String trade = ",\"trade_id\":" + (traded ? "\"" + record.timestamp() + "\"" : "null");
            context.forward(record.withValue(which + trade + what), "executions");
        }

        private static double field(String json, String name) {
            final int begin = json.indexOf("\"" + name + "\":") + name.length() + 3;
            return Double.parseDouble(json.substring(begin, json.indexOf(',', begin)));
        }
    }
}
