import java.nio.charset.StandardCharsets;

/** A quote as the peers need it. */
final class Quote {
    long ts;
    double bid, bidSize, ask, askSize;

    /** Whether it may be used: every number there, finite and above 0. */
    boolean usable() {
        return positive(bid) && positive(bidSize) && positive(ask) && positive(askSize);
    }

    private static boolean positive(double value) {
        return value > 0 && value < Double.POSITIVE_INFINITY;
    }

    /** The quote of a flat JSON object; null for a clock record, which has no bid. */
    static Quote parse(byte[] json) {
        final Reader reader = new Reader(json);
        return reader.quote();
    }

    /** Reads one flat object by hand: a library's tokens cost several times as much. */
    private static final class Reader {
        private static final double[] POWERS = {
            1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
        };
        private static final int EXACT_DIGITS = 15;

        private final byte[] json;
        private int at;

        Reader(byte[] json) {
            this.json = json;
        }

        Quote quote() {
            final Quote quote = new Quote();
            boolean found = false;
            expect('{');
            do {
                final int name = string();
                final int length = at - 1 - name;
                expect(':');
                // The lengths of the five names tell all but two of them apart.
                if (length == 2) {
                    quote.ts = integer();
                } else if (length == 3 && json[name] == 'b') {
                    quote.bid = number();
                    found = true;
                } else if (length == 3 && json[name] == 'a') {
                    quote.ask = number();
                } else if (length == 8 && json[name] == 'b') {
                    quote.bidSize = number();
                } else if (length == 8 && json[name] == 'a') {
                    quote.askSize = number();
                } else {
                    skip();
                }
                blanks();
            } while (json[at++] == ',');
            return found ? quote : null;
        }

        private void blanks() {
            while (json[at] <= ' ') at++;
        }

        private void expect(int letter) {
            blanks();
            if (json[at++] != letter) throw new IllegalArgumentException(new String(json, StandardCharsets.UTF_8));
        }

        /** Passes over a string; returns where its text begins. */
        private int string() {
            expect('"');
            final int begin = at;
            while (json[at] != '"') at += json[at] == '\\' ? 2 : 1;
            at++;
            return begin;
        }

        private void skip() {
            blanks();
            if (json[at] == '"') {
                string();
            } else {
                while (json[at] != ',' && json[at] != '}') at++;
            }
        }

        private long integer() {
            blanks();
            long value = 0;
            while (json[at] >= '0' && json[at] <= '9') value = 10 * value + json[at++] - '0';
            return value;
        }

        /** Up to 15 digits over a power of ten, which one division rounds correctly; all else goes to the library. */
        private double number() {
            blanks();
            final int begin = at;
            final boolean negative = json[at] == '-';
            if (negative) at++;
            final int first = at;
            long digits = integer();
            int count = at - first, fraction = 0;
            if (json[at] == '.') {
                final int point = at++;
                while (json[at] >= '0' && json[at] <= '9') digits = 10 * digits + json[at++] - '0';
                fraction = at - point - 1;
                count += fraction;
            }
            if (count == 0 || count > EXACT_DIGITS || json[at] == 'e' || json[at] == 'E') {
                while (json[at] != ',' && json[at] != '}' && json[at] > ' ') at++;
                final String text = new String(json, begin, at - begin, StandardCharsets.ISO_8859_1);
                return text.equals("null") ? Double.NaN : Double.parseDouble(text);
            }
            final double value = digits / POWERS[fraction];
            return negative ? -value : value;
        }
    }
}
