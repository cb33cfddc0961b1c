// The plots with their buttons; one symbol at a time.
import { refresh, requestSession, subscribe } from 'mm/live.js';
import { Plots } from 'mm/plots.js';
import * as prefs from 'mm/prefs.js';
import { zoneName } from 'mm/format.js';

export default {
  template: `
    <div class="mm-plots">
      <div class="mm-plot-tools" role="toolbar" aria-label="Plots">
        <button type="button" :aria-pressed="!whole" @click="range(false)">15 min</button>
        <button type="button" :aria-pressed="whole" @click="range(true)">Session</button>
        <span class="mm-gap"></span>
        <button type="button" v-show="!following && !paused" class="mm-strong" @click="plots.follow()">Latest</button>
        <button type="button" aria-label="Zoom in" @click="plots.zoom(0.7)">+</button>
        <button type="button" aria-label="Zoom out" @click="plots.zoom(1 / 0.7)">−</button>
        <button type="button" class="mm-pause" :aria-pressed="paused" @click="plots.pause(!paused)">{{ paused ? 'Resume' : 'Pause' }}</button>
        <span class="mm-note">{{ trouble || zone + ' · drag, wheel, pinch or keys' }}</span>
      </div>
      <section class="mm-panel"><h2>Predictions <b>{{ symbol }}</b></h2><div class="mm-canvas" ref="predictions"></div></section>
      <section class="mm-panel"><h2>Executions <b>{{ symbol }}</b></h2>
        <div class="mm-canvas mm-upper" ref="executions"></div><div class="mm-canvas mm-lower" ref="position"></div></section>
    </div>`,
  props: { symbol: String },
  data: () => ({ following: true, paused: false, whole: false, zone: zoneName(), trouble: '' }),
  mounted() {
    this.plots = new Plots([this.$refs.predictions, this.$refs.executions, this.$refs.position], view => Object.assign(this, view));
    window.mm = { ...window.mm, plots: this.plots };
    this.watchSymbol();
    const remake = () => { this.zone = zoneName(); this.plots.make(); };
    this.shown = () => document.hidden || this.plots.draw();
    document.addEventListener('visibilitychange', this.shown);
    this.stops = [prefs.onTheme(remake), prefs.onChange(name => name === 'tz' && remake()), subscribe('trouble', text => { this.trouble = text; })];
  },
  unmounted() {
    document.removeEventListener('visibilitychange', this.shown);
    for (const stop of this.stops) stop();
    this.stop?.();
    this.plots.destroy();
  },
  watch: {
    symbol() {
      this.trouble = '';
      this.plots.clear();
      this.plots.showWhole(false);
      this.watchSymbol();
    },
  },
  methods: {
    watchSymbol() {
      this.stop?.();
      const channel = `plot:${this.symbol}`;
      const ask = { snapshot: () => refresh(channel), session: () => requestSession(this.symbol) };
      this.stop = this.symbol ? subscribe(channel, message => this.receive(message, ask)) : null;
    },
    receive(message, ask) {
      if (message.session) this.trouble = '';
      ask[this.plots.receive(message)]?.();
    },
    range(whole) {
      this.trouble = '';
      this.plots.showWhole(whole);
      if (whole) requestSession(this.symbol);
      else refresh(`plot:${this.symbol}`);
    },
  },
};
