// What a person should know before anything else. A screen reader says it once: what changes each second is not announced.
import { onState, subscribe } from 'mm/live.js';

export default {
  template: `
    <div class="mm-banners" role="alert" aria-atomic="false">
      <p v-for="banner in shown" :key="banner.text" :data-level="banner.level">{{ banner.text + ' ' }}<span v-if="banner.detail" aria-live="off">{{ banner.detail }}</span></p>
    </div>`,
  data: () => ({ banners: [], state: 'connecting' }),
  computed: {
    shown() {
      if (this.state !== 'reconnecting') return this.banners;
      return [{ level: 'bad', text: 'The dashboard’s server is away. What is shown is what was last known; the page tries again by itself.' }];
    },
  },
  mounted() {
    this.stops = [onState(state => { this.state = state; }), subscribe('machine', machine => { this.banners = machine.banners; })];
  },
  unmounted() {
    for (const stop of this.stops) stop();
  },
};
