// The equity curve from changes of net at decision times, and its drawdown below.
import * as format from './format.js';

const css = name => getComputedStyle(document.body).getPropertyValue(name).trim();

export class Equity {
  constructor(place) {
    this.place = place;
    this.changes = new Map(); // seconds -> change of net
    this.before = 0;
    this.deepest = 0;
    this.data = [[], [], []];
    this.resizes = new ResizeObserver(() => this.fit());
    this.resizes.observe(place);
    this.make();
  }

  /** Takes a message of the channel; whether the curve has changed. */
  receive({ all, put, totals }) {
    if (all) this.changes = new Map(all);
    for (const [at, change] of put ?? []) this.changes.set(at, change);
    // Points that have become part of what was before must not count twice.
    for (const at of this.changes.keys()) if (at <= totals.forgotten) this.changes.delete(at);
    if (!all && !put?.length && Math.abs(totals.before - this.before) < 1e-6) return false;
    this.before = totals.before;
    let net = this.before, peak = -Infinity;
    const times = [...this.changes.keys()].sort((a, b) => a - b), equity = [], drawdown = [];
    this.deepest = 0;
    for (const at of times) {
      net += this.changes.get(at);
      peak = Math.max(peak, net);
      equity.push(net);
      drawdown.push(net - peak);
      this.deepest = Math.min(this.deepest, net - peak);
    }
    this.since = times[0];
    this.data = [times, equity, drawdown];
    this.chart.setData(this.data);
    return true;
  }

  fit() {
    const { clientWidth: width, clientHeight: height } = this.place;
    if (width && height) this.chart.setSize({ width, height });
  }

  make() {
    this.chart?.destroy();
    const value = (_, v) => format.dollars(v);
    this.chart = new uPlot({
      width: this.place.clientWidth || 240,
      height: this.place.clientHeight || 60,
      padding: [4, 0, 2, 0],
      // The curve has the upper two thirds, the drawdown hangs from the line between.
      scales: { x: {}, y: { range: (_, min, max) => [min - ((max - min) / 2 || 1), max + ((max - min) / 12 || 1)] }, under: { range: (_, min) => [Math.min(min ?? 0, -0.01), Math.max(0.02, -(min ?? 0) * 2)] } },
      axes: [{ show: false }, { show: false }],
      series: [
        { value: (_, v) => (v == null ? '–' : format.clock(v * 1e3)) },
        { label: 'equity', stroke: css('--accent'), width: 1.6, fill: css('--accent-fill'), points: { show: false }, value },
        { label: 'drawdown', scale: 'under', stroke: css('--down'), width: 1, fill: css('--down-fill'), fillTo: 0, points: { show: false }, value },
      ],
      legend: { show: false },
      cursor: { drag: { x: false, y: false } },
      hooks: { setCursor: [chart => this.hover(chart)] },
    }, this.data, this.place);
  }

  hover({ cursor: { idx } }) {
    const [times, equity, drawdown] = this.data;
    this.place.title = idx == null ? '' : `${format.clock(times[idx] * 1e3)}: equity ${format.dollars(equity[idx])}, drawdown ${format.dollars(drawdown[idx])}`;
  }

  destroy() {
    this.resizes.disconnect();
    this.chart.destroy();
  }
}
