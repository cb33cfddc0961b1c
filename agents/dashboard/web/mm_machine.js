// State of the machine: a card for each agent, with its instances and counters, and what the health pages say.
import { subscribe } from 'mm/live.js';
import * as format from 'mm/format.js';

export default {
  template: `
    <div class="mm-machine" v-if="machine">
      <article v-for="agent in machine.agents" :key="agent.role" :data-down="agent.down" :data-role="agent.role">
        <h3>{{ agent.role }} <span class="mm-chip" :class="agent.down ? 'mm-tone-down' : agent.last_commit == null ? 'mm-tone-calm' : 'mm-tone-up'">
          {{ agent.down ? 'down' : agent.last_commit == null ? 'not seen' : 'running' }}</span></h3>
        <dl><dt>lag on {{ agent.source }}</dt><dd>{{ whole(agent.lag) }} records</dd>
          <dt>last commit</dt><dd>{{ agent.last_commit == null ? 'never' : seconds(machine.now - agent.last_commit) + ' ago' }}</dd></dl>
        <table v-if="agent.instances.length"><caption>instances</caption>
          <tr><th scope="col">name</th><th scope="col">partitions</th><th scope="col">last commit</th></tr>
          <tr v-for="one in agent.instances" :key="one.name"><td>{{ one.name }}</td><td>{{ one.partitions.join(', ') }}</td>
            <td>{{ seconds(machine.now - one.last_commit) }} ago</td></tr></table>
        <table v-if="counted(agent).length"><caption>rows by what became of them</caption>
          <tr v-for="[name, count] in counted(agent)" :key="name"><td>{{ name }}</td><td class="mm-number">{{ whole(count) }}</td></tr></table>
      </article>
      <article v-if="machine.health.length"><h3>health pages</h3>
        <table><tr><th scope="col">agent</th><th scope="col">ready</th><th scope="col">lag</th><th scope="col" title="decision age">age</th></tr>
          <tr v-for="page in machine.health" :key="page.url" :title="page.url"><td>{{ page.agent || page.url }}</td>
            <td><span class="mm-chip" :class="page.ready ? 'mm-tone-up' : 'mm-tone-down'">{{ page.ready ? 'ready' : page.text }}</span></td>
            <td>{{ whole(page.figures.lag) }}</td><td>{{ seconds(page.figures.decision_age) }}</td></tr></table></article>
      <article v-for="page in watchers" :key="'watching ' + page.url" data-role="surveillance">
        <h3>{{ page.agent }} <span class="mm-chip" :class="raised(page) ? 'mm-tone-down' : 'mm-tone-up'">
          {{ raised(page) ? whole(raised(page)) + ' raised' : 'no alert' }}</span></h3>
        <table v-if="page.watching.open.length"><caption>alerts that are raised</caption>
          <tr v-for="one in page.watching.open" :key="one.rule + one.severity"><td>{{ one.rule }} <small>{{ one.severity }}</small></td>
            <td class="mm-number">{{ whole(one.count) }}</td></tr></table>
        <table v-if="page.watching.window.trades != null"><caption>newest five minutes</caption>
          <tr v-for="[name, text] in windowOf(page)" :key="name"><td>{{ name }}</td><td class="mm-number">{{ text }}</td></tr></table>
        <p class="mm-note" v-else>Its tables are being recovered.</p>
      </article>
      <article><h3>decisions</h3>
        <dl><dt>decided within, median</dt><dd>{{ seconds(machine.decision_age) }}</dd>
          <dt>slowest 1 % from</dt><dd>{{ seconds(machine.decision_age_p99) }}</dd>
          <dt>last quote</dt><dd>{{ machine.quoted == null ? 'none yet' : seconds(machine.now - machine.quoted) + ' ago' }}</dd></dl>
        <p class="mm-note" v-if="machine.decision_age == null">Decision ages are known when event time is the present.</p></article>
    </div>`,
  data: () => ({ machine: null }),
  mounted() {
    this.stop = subscribe('machine', machine => { this.machine = machine; });
  },
  unmounted() {
    this.stop();
  },
  computed: {
    watchers() {
      return this.machine.health.filter(page => page.watching);
    },
  },
  methods: {
    whole: format.whole,
    raised: page => page.watching.open.reduce((sum, one) => sum + one.count, 0),
    windowOf({ watching: { window, refused } }) {
      return [
        ['decisions', format.whole(window.decisions)],
        ['trades', format.whole(window.trades)],
        ['turnover', format.dollars(window.turnover)],
        ['realised', format.signedDollars(window.realised)],
        ...Object.entries(refused).map(([reason, count]) => [`refused, ${reason}`, format.whole(count)]),
      ];
    },
    seconds: value => (value == null ? '–' : format.seconds(Math.max(0, value))),
    counted: agent => Object.entries(agent.counters).filter(([, count]) => count),
  },
};
