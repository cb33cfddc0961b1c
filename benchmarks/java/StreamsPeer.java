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
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/** Quotes to signals in Kafka Streams, exactly once: {@code StreamsPeer bootstrap quotes signals id folder threads}. */
public final class StreamsPeer {
    private static final String STORE = "moments";
    private static final long DECISION_NS = 10_000_000_000L, WARMUP_NS = 60_000_000_000L;

    private StreamsPeer() { }

    public static void main(String[] arguments) {
        final Topology topology = new Topology();
        topology.addSource(
            "quotes", new BytesDeserializer(), (Deserializer<Quote>) (topic, json) -> Quote.parse(json), arguments[1]);
        topology.addProcessor("decider", Decider::new, "quotes");
        topology.addStateStore(
            Stores.keyValueStoreBuilder(Stores.inMemoryKeyValueStore(STORE), Serdes.Bytes(), Moments.SERDE)
                .withCachingEnabled(),
            "decider");
        topology.addSink("signals", arguments[2], new BytesSerializer(), new ByteArraySerializer(), "decider");
        final KafkaStreams streams = new KafkaStreams(topology, settings(arguments));
        Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
        streams.start();
    }

    private static Properties settings(String[] arguments) {
        final Properties settings = new Properties();
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, arguments[0]);
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, arguments[3]);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, arguments[4]);
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, arguments[5]);
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 100);
        settings.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        settings.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 64 << 20);
        settings.put(StreamsConfig.BUFFERED_RECORDS_PER_PARTITION_CONFIG, 20_000);
        settings.put(StreamsConfig.ENABLE_METRICS_PUSH_CONFIG, false);
        settings.put(StreamsConfig.mainConsumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        settings.put(StreamsConfig.mainConsumerPrefix(ConsumerConfig.MAX_POLL_RECORDS_CONFIG), 10_000);
        settings.put(StreamsConfig.mainConsumerPrefix(ConsumerConfig.MAX_PARTITION_FETCH_BYTES_CONFIG), 4 << 20);
        settings.put(StreamsConfig.mainConsumerPrefix(ConsumerConfig.RECEIVE_BUFFER_CONFIG), 1 << 20);
        settings.put(StreamsConfig.mainConsumerPrefix(ConsumerConfig.CHECK_CRCS_CONFIG), false);
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.LINGER_MS_CONFIG), 5);
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
                moments = new Moments(quote, DECISION_NS);
                known.put(record.key(), moments);
            } else if (quote.ts < moments.ts) {
                return;
            } else {
                for (; quote.ts >= moments.nextDecision; moments.nextDecision += DECISION_NS) {
                    context.forward(record.withValue(signal(record.key(), moments)));
                }
                moments.add(quote);
            }
            store.put(record.key(), moments);
        }

        private static byte[] signal(Bytes symbol, Moments moments) {
            final double deviation = moments.deviation();
            final boolean warm = moments.ts > moments.first + WARMUP_NS;
            final String verdict = !warm ? "HOLD"
                : moments.ask < moments.mean - deviation ? "BUY"
                : moments.bid > moments.mean + deviation ? "SELL" : "HOLD";
            final String text = "{\"symbol\":\"" + new String(symbol.get(), StandardCharsets.UTF_8)
                + "\",\"ts\":" + moments.nextDecision + ",\"quote_ts\":" + moments.ts
                + ",\"bid\":" + moments.bid + ",\"ask\":" + moments.ask + ",\"ema\":" + moments.mean
                + ",\"sd\":" + (moments.single ? "null" : Double.toString(deviation))
                + ",\"verdict\":\"" + verdict + "\"}";
            return text.getBytes(StandardCharsets.UTF_8);
        }
    }
}
