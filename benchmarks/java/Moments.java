import java.nio.ByteBuffer;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.Serializer;

/** What is known of one symbol: its moving mean and variance, its last quote, its next decision time. */
final class Moments {
    static final Serde<Moments> SERDE = Serdes.serdeFrom(
        (Serializer<Moments>) (topic, moments) -> moments == null ? null : moments.bytes(),
        (Deserializer<Moments>) (topic, bytes) -> bytes == null ? null : new Moments(ByteBuffer.wrap(bytes)));

    private static final double TAU_NS = 60e9;

    final long first;
    long ts, nextDecision;
    double mean, variance, bid, ask;
    boolean single;

    Moments(Quote quote, long step) {
        first = ts = quote.ts;
        nextDecision = (ts / step + 1) * step;
        bid = quote.bid;
        ask = quote.ask;
        mean = (bid + ask) / 2;
        single = true;
    }

    private Moments(ByteBuffer stored) {
        first = stored.getLong();
        ts = stored.getLong();
        nextDecision = stored.getLong();
        mean = stored.getDouble();
        variance = stored.getDouble();
        bid = stored.getDouble();
        ask = stored.getDouble();
        single = stored.get() == 1;
    }

    void add(Quote quote) {
        final long passed = quote.ts - ts;
        if (passed > 0) {
            final double weight = Math.exp(-passed / TAU_NS);
            final double away = (quote.bid + quote.ask) / 2 - mean;
            variance = weight * (variance + (1 - weight) * away * away);
            mean += (1 - weight) * away;
        }
        ts = quote.ts;
        bid = quote.bid;
        ask = quote.ask;
        single = false;
    }

    double deviation() {
        return single ? Double.NaN : Math.sqrt(variance);
    }

    private byte[] bytes() {
        return ByteBuffer.allocate(57).putLong(first).putLong(ts).putLong(nextDecision).putDouble(mean)
            .putDouble(variance).putDouble(bid).putDouble(ask).put((byte) (single ? 1 : 0)).array();
    }
}
