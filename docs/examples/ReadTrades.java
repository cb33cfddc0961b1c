import java.time.Duration;
import java.util.List;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.errors.WakeupException;
import org.apache.kafka.common.serialization.StringDeserializer;

/** Prints trades as JSON lines: the history first, then every new one until Ctrl-C. Arguments: BOOTSTRAP [PREFIX]. */
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
        KafkaConsumer<String, String> consumer = new KafkaConsumer<>(settings, text, text);
        Thread reader = Thread.currentThread();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> leave(consumer, reader)));
        try (consumer) {
            consumer.subscribe(List.of(prefix + "trades"));
            // Until nobody reads what is printed: println itself never fails.
            while (!System.out.checkError()) {
                for (ConsumerRecord<String, String> trade : consumer.poll(Duration.ofSeconds(1))) {
                    System.out.println(trade.value());
                }
            }
        } catch (WakeupException stopped) {
            // Closing has committed what was printed and left the group.
        }
    }

    /** Without it the next run would print the last seconds again, after waiting 45 s for this member's session. */
    private static void leave(KafkaConsumer<String, String> consumer, Thread reader) {
        consumer.wakeup();
        try {
            reader.join();
        } catch (InterruptedException interrupted) {
            Thread.currentThread().interrupt();
        }
    }
}
