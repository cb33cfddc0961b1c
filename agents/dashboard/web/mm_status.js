// Connection, event time, next decision, lag: one line in the header.
import { onState, subscribe } from 'mm/live.js';
import * as format from 'mm/format.js';
import * as prefs from 'mm/prefs.js';

const WORDS = { connecting: 'Connecting', live: 'Live', reconnecting: 'Reconnecting' };

export default {
  template: `
    <div class="mm-status">
      <span class="mm-pill" :data-state="health" id="status" role="status">{{ word }}</span>
      <span v-if="clock" class="mm-times"><span v-if="day">{{ day }} </span><b>{{ time(clock) }}</b> {{ zone }}
        <span class="mm-next">next decision <b id="next-decision">{{ time(next) }}</b></span></span>
      <span v-if="machine" class="mm-figures">lag <b>{{ whole(machine.lag) }}</b><span class="mm-dot">·</span>commit <b>{{ seconds(since(machine.last_commit)) }}</b> ago<template
        v-if="machine.decision_age != null"><span class="mm-age"><span class="mm-dot">·</span>decided in <b>{{ seconds(machine.decision_age) }}</b></span></template></span>
    </div>`,
  data: () => ({ state: 'connecting', machine: null, clock: null, next: null, zone: format.zoneName() }),
  computed: {
    word() {
      return this.state === 'live' && this.health === 'bad' ? 'Trouble' : WORDS[this.state];
    },
    health() {
      if (this.state !== 'live') return this.state;
      const levels = (this.machine?.banners ?? []).map(banner => banner.level);
      return levels.includes('bad') ? 'bad' : levels.includes('warn') ? 'warn' : 'live';
    },
    day() {
      return this.clock && format.day(this.clock / 1e6) !== format.day(Date.now()) ? format.day(this.clock / 1e6) : '';
    },
  },
  mounted() {
    this.stops = [
      onState(state => { this.state = state; }),
      subscribe('machine', machine => { this.machine = machine; }),
      subscribe('totals', ({ totals }) => {
        this.clock = totals.clock;
        this.next = totals.next;
        document.body.classList.toggle('mm-halted', totals.everyone != null);
      }),
      prefs.onChange(name => { if (name === 'tz') this.zone = format.zoneName(); }),
    ];
  },
  unmounted() {
    for (const stop of this.stops) stop();
  },
  methods: {
    time: format.time, whole: format.whole, seconds: format.seconds,
    since(at) {
      return at == null ? null : Math.max(0, this.machine.now - at);
    },
  },
};
