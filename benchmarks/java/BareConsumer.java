import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Map;
import java.util.stream.IntStream;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/** Bare consumption by Java's client, until it is ended: {@code BareConsumer bootstrap topic partitions progress}. */
public final class BareConsumer {
    private BareConsumer() { }

    public static void main(String[] arguments) throws Exception {
        final Map<String, Object> settings = Map.of(
            "bootstrap.servers", arguments[0], "enable.auto.commit", false, "isolation.level", "read_committed",
            "max.poll.records", 10_000, "max.partition.fetch.bytes", 10 << 20, "receive.buffer.bytes", 1 << 20,
            "check.crcs", false);
        final Path progress = Path.of(arguments[3]), written = Path.of(arguments[3] + ".new");
        final var bytes = new ByteArrayDeserializer();
        try (var consumer = new KafkaConsumer<>(settings, bytes, bytes)) {
            final var partitions = IntStream.range(0, Integer.parseInt(arguments[2]))
                .mapToObj(partition -> new TopicPartition(arguments[1], partition)).toList();
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            long taken = 0, told = System.nanoTime();
            while (true) {
                taken += consumer.poll(Duration.ofMillis(10)).count();
                if (System.nanoTime() - told > 20_000_000) {
                    Files.writeString(written, Long.toString(taken));
                    written.toFile().renameTo(progress.toFile());
                    told = System.nanoTime();
                }
            }
        }
    }
}
