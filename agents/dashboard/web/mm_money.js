// Money at a glance: totals, equity and drawdown.
import { subscribe } from 'mm/live.js';
import * as format from 'mm/format.js';
import * as prefs from 'mm/prefs.js';
import { Equity } from 'mm/equity.js';

const tone = value => (value > 0.005 ? 'mm-up' : value < -0.005 ? 'mm-down' : '');

export default {
  template: `
    <section class="mm-money" aria-label="Money">
      <div class="mm-card mm-net"><span>Net</span><strong :class="tone(t.net)" data-total="net">{{ signed(t.net) }}</strong>
        <small>all of it, after fees</small></div>
      <div class="mm-card"><span>Realised</span><strong :class="tone(t.realised)" data-total="realised">{{ signed(t.realised) }}</strong>
        <small>closed by trades</small></div>
      <div class="mm-card"><span>Unrealised</span><strong :class="tone(t.unrealised)" data-total="unrealised">{{ signed(t.unrealised) }}</strong>
        <small title="Positions are marked to the mid of the latest tick">{{ t.marked_ts ? 'at tick ' + time(t.marked_ts) : 'no position' }}</small></div>
      <div class="mm-card"><span>Fees</span><strong data-total="fees">{{ dollars(t.fees) }}</strong><small>paid</small></div>
      <div class="mm-card"><span>Exposure</span><strong data-total="exposure">{{ dollars(t.exposure) }}</strong>
        <small>net · gross {{ whole(t.gross) }}</small></div>
      <div class="mm-card"><span>Trades</span><strong data-total="trades">{{ whole(t.trades) }}</strong>
        <small>{{ whole(t.symbols) }} open position{{ t.symbols === 1 ? '' : 's' }}</small></div>
      <div class="mm-card mm-equity"><span>Equity <em v-if="since">since {{ since }}</em><i></i>Max drawdown <b class="mm-down">{{ dollars(drawdown) }}</b></span>
        <div class="mm-canvas" ref="canvas" role="img" :aria-label="'Equity curve; deepest drawdown ' + dollars(drawdown) + ' dollars'"></div></div>
    </section>`,
  data: () => ({ t: {}, drawdown: 0, since: '' }),
  mounted() {
    this.equity = new Equity(this.$refs.canvas);
    const remake = () => this.equity.make();
    this.stops = [prefs.onTheme(remake), subscribe('totals', message => this.receive(message)), prefs.onChange(name => name === 'tz' && remake())];
  },
  unmounted() {
    for (const stop of this.stops) stop();
    this.equity.destroy();
  },
  methods: {
    tone, dollars: format.dollars, signed: format.signedDollars, whole: format.whole, time: format.time,
    receive(message) {
      this.t = message.totals;
      if (this.equity.receive(message)) {
        this.drawdown = this.equity.deepest;
        this.since = this.equity.since ? format.clock(this.equity.since * 1e3).slice(0, 5) : '';
      }
    },
  },
};
