import java.time.Duration;
import java.util.List;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.serialization.StringDeserializer;

/** Prints trades as JSON lines: the history first, then every new one. Arguments: BOOTSTRAP [PREFIX]. */
public class ReadTrades {
    public static void main(String[] arguments) {
        if (arguments.length == 0) {
            System.err.println("usage: java ReadTrades BOOTSTRAP [PREFIX]");
            System.exit(2);
        }
        String prefix = arguments.length > 1 ? arguments[1] : "";
        Properties settings = new Properties();
        settings.put("bootstrap.servers", arguments[0]);
        settings.put("group.id", prefix + "my-java-trades");
        settings.put("auto.offset.reset", "earliest");
        // Java's default is read_uncommitted, which shows trades that may never have happened.
        settings.put("isolation.level", "read_committed");
        StringDeserializer text = new StringDeserializer();
        try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(settings, text, text)) {
            consumer.subscribe(List.of(prefix + "trades"));
            while (true) {
                for (ConsumerRecord<String, String> trade : consumer.poll(Duration.ofSeconds(1))) {
                    System.out.println(trade.value());
                }
            }
        }
    }
}
