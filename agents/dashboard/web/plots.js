// The two plots of a symbol, three canvases on one time axis: predictions; executions over bid and ask; position.
import * as format from './format.js';
import { marks, nearestMark } from './marks.js';
import { Hands } from './hands.js';

const css = name => getComputedStyle(document.body).getPropertyValue(name).trim();
const PREDICTION_COLUMNS = 6; // time, bid, ask, ema, buy_below, sell_above
const EXECUTION_COLUMNS = 4; // time, position after, shares filled, price
const FOLLOW_SECONDS = 900;
const AXIS = 64;
const ROOM = 0.08; // above and below the values, as a share of their range

class Rows {
  constructor(width) {
    this.columns = Array.from({ length: width }, () => []);
    this.next = 0;
  }
  all({ columns, next }) {
    this.columns = columns;
    this.next = next;
  }
  // Whether nothing lies between the rows here and a snapshot's.
  reach({ columns: [times] }) {
    const last = this.columns[0].at(-1);
    return last === undefined ? !times.length : times[0] <= last;
  }
  // Takes a snapshot and keeps what is older.
  join({ columns, next }) {
    this.cut(columns[0][0]);
    this.columns = this.columns.map((column, i) => column.concat(columns[i]));
    this.next = next;
  }
  cut(time) {
    const times = this.columns[0];
    if (!(times.at(-1) >= time)) return;
    let n = times.length;
    while (n && times[n - 1] >= time) n--;
    for (const column of this.columns) column.length = n;
  }
  // Rows are numbered: what is here already is left out. False when some are missing.
  put({ first, next, columns }) {
    if (first > this.next) return false;
    const skip = this.next - first;
    // A session that was read while the server still read what has been is ahead of the server's rows.
    this.cut(columns[0][skip]);
    columns.forEach((column, i) => {
      for (let k = skip; k < column.length; k++) this.columns[i].push(column[k]);
    });
    this.next = Math.max(this.next, next);
    return true;
  }
  trim(oldest, slack) {
    const times = this.columns[0];
    if (times.length < slack || times[slack] >= oldest) return;
    let n = 0;
    while (times[n] < oldest) n++;
    for (const column of this.columns) column.splice(0, n);
  }
}

export class Plots {
  /** places: the elements of the three canvases; onView: told of {following, paused, whole} when it changes. */
  constructor(places, onView) {
    this.places = places;
    this.onView = onView;
    this.view = null; // {min, max} when zoomed or moved
    this.whole = false;
    this.complete = false; // the whole session is here
    this.paused = false;
    this.resizes = new ResizeObserver(() => this.fit());
    for (const place of places) this.resizes.observe(place);
    this.clear();
  }

  clear() {
    this.predictions = new Rows(PREDICTION_COLUMNS);
    this.executions = new Rows(EXECUTION_COLUMNS);
    this.make();
  }

  /** Takes a message of the symbol's channel; what is to be asked for: 'snapshot' when rows are missing, 'session' when
   *  the whole session is to be shown and is not here. */
  receive({ all, session, put }) {
    let missing;
    if (session && this.whole) {
      this.each((rows, name) => rows.all(session[name]));
      this.complete = true;
    } else if (all) {
      this.complete &&= this.predictions.reach(all.predictions) && this.executions.reach(all.executions);
      this.each((rows, name) => (this.complete ? rows.join(all[name]) : rows.all(all[name])));
      if (this.whole && !this.complete) missing = 'session';
    } else if (put) {
      if (!this.predictions.put(put.predictions) || !this.executions.put(put.executions)) return 'snapshot';
      if (!this.whole && !this.view && !this.paused) this.trim();
    }
    if (!this.paused) this.draw();
    return missing;
  }

  each(take) {
    for (const name of ['predictions', 'executions']) take(this[name], name);
  }

  trim() {
    const oldest = this.last() - 2 * FOLLOW_SECONDS;
    this.predictions.trim(oldest, 256);
    this.executions.trim(oldest, 64);
  }

  last() {
    return Math.max(this.predictions.columns[0].at(-1) ?? 0, this.executions.columns[0].at(-1) ?? 0);
  }

  first() {
    return Math.min(this.predictions.columns[0][0] ?? Infinity, this.executions.columns[0][0] ?? Infinity);
  }

  range() {
    if (this.view) return [this.view.min, this.view.max];
    const last = this.last();
    if (!last) return [Date.now() / 1000 - FOLLOW_SECONDS, Date.now() / 1000];
    const first = this.whole ? this.first() : Math.max(this.first(), last - FOLLOW_SECONDS);
    return [Math.min(first, last - 60), last + (last - first) * 0.01];
  }

  // -- what hands and buttons do ---------------------------------------------------------------------------------

  zoom(factor, at) {
    const [min, max] = this.range();
    const middle = at ?? (min + max) / 2;
    this.look(middle - (middle - min) * factor, middle + (max - middle) * factor);
  }
  shift(seconds) {
    const [min, max] = this.range();
    this.look(min + seconds, max + seconds);
  }
  look(min, max) {
    if (max - min < 2 || max - min > 40 * 86400) return;
    this.view = { min, max };
    this.changed();
  }
  follow() {
    this.view = null;
    this.paused = false;
    this.changed();
  }
  pause(paused) {
    if (paused && !this.view) this.view = (([min, max]) => ({ min, max }))(this.range());
    if (!paused) this.view = null;
    this.paused = paused;
    this.changed();
  }
  showWhole(whole) {
    this.whole = whole;
    this.complete = false;
    this.follow();
  }
  changed() {
    this.onView({ following: !this.view, paused: this.paused, whole: this.whole });
    this.draw();
  }

  // -- drawing ---------------------------------------------------------------------------------------------------

  data() {
    // Copies: the charts must not grow by what comes while they are paused.
    const [time, bid, ask, ema, low, high] = this.predictions.columns.map(column => column.slice());
    const mid = bid.map((value, i) => (value + ask[i]) * 0.5);
    const [at, position] = this.executions.columns.map(column => column.slice());
    return { predictions: [time, bid, ask, mid, ema, low, high], executions: [time, bid, ask], position: [at, position] };
  }

  draw() {
    if (document.hidden) return;
    const data = this.data();
    this.charts[0].setData(data.predictions);
    this.charts[1].setData(data.executions);
    this.charts[2].setData(data.position);
    this.charts.forEach(legend);
  }

  fit() {
    this.charts.forEach((chart, i) => {
      const { clientWidth: width, clientHeight: height } = this.places[i];
      if (width && height) chart.setSize({ width, height: height - chart.root.querySelector('.u-legend').offsetHeight });
    });
  }

  make() {
    for (const chart of this.charts ?? []) {
      this.resizes.unobserve(chart.root.querySelector('.u-legend'));
      chart.destroy();
    }
    const color = Object.fromEntries(
      ['mid', 'bid', 'ask', 'ema', 'limit', 'band', 'position', 'position-fill', 'grid', 'muted'].map(n => [n, css(`--plot-${n}`)]),
    );
    const data = this.data();
    this.charts = [
      this.chart(0, color, data.predictions, {
        series: [
          {}, line('bid', color.bid, 1), line('ask', color.ask, 1), line('mid', color.mid, 1.5), line('ema', color.ema, 2),
          line('buy below', color.limit, 1, [5, 4]), line('sell above', color.limit, 1, [5, 4]),
        ],
        bands: [{ series: [6, 5], fill: color.band }],
      }),
      this.chart(1, color, data.executions, {
        series: [{}, line('bid', color.bid, 1), line('ask', color.ask, 1)],
        hooks: {
          draw: [chart => marks(chart, this.executions.columns, { buy: css('--up'), sell: css('--down'), edge: css('--surface') })],
          setCursor: [chart => this.hover(chart)],
        },
        hideTimes: true,
      }),
      this.chart(2, color, data.position, {
        series: [{}, {
          ...line('position', color.position, 1.6), value: (_, v) => format.shares(v),
          paths: uPlot.paths.stepped({ align: 1 }), fill: color['position-fill'], fillTo: 0,
        }],
        axisValues: (_, values) => values.map(format.shares),
        splits: (_, __, min, max) => extremes(min, max),
        include: 0,
      }),
    ];
    for (const chart of this.charts) this.resizes.observe(chart.root.querySelector('.u-legend'));
    this.fit();
  }

  chart(index, color, data, { series, bands, hooks = {}, hideTimes, axisValues, splits, include }) {
    const place = this.places[index];
    const axis = { stroke: color.muted, grid: { stroke: color.grid, width: 1 }, ticks: { show: false }, font: '11px system-ui, sans-serif' };
    const times = { ...axis, space: 84, size: hideTimes ? 6 : 28, values: (_, splits, __, ___, step) => splits.map(s => (hideTimes ? '' : timeLabel(s, step))) };
    const options = {
      width: place.clientWidth || 400,
      height: place.clientHeight || 200,
      tzDate: seconds => uPlot.tzDate(new Date(seconds * 1e3), format.zone()),
      scales: {
        x: { range: () => this.range() },
        y: { range: (_, min, max) => padded(min, max, include) },
      },
      axes: [times, { ...axis, size: AXIS, space: 30, splits, values: axisValues ?? ((_, values) => values.map(v => trimmed(v, values))) }],
      series: [{ value: (_, v) => (v == null ? '–' : format.clock(v * 1e3)), label: 'time' }, ...series.slice(1)],
      bands,
      cursor: { sync: { key: 'mm', setSeries: false }, drag: { x: false, y: false, setScale: false }, points: { size: 6 } },
      legend: { live: true },
      padding: [10, 8, hideTimes ? 6 : 0, 0],
      hooks: { ...hooks, ready: [chart => { new Hands(chart, this); chart.over.addEventListener('mouseleave', () => setTimeout(() => this.charts.forEach(legend))); legend(chart); }] },
    };
    return new uPlot(options, data, place);
  }

  hover(chart) {
    const tip = this.places[1].querySelector('.mm-tip') ?? this.places[1].appendChild(Object.assign(document.createElement('div'), { className: 'mm-tip' }));
    const mark = nearestMark(chart, this.executions.columns);
    tip.hidden = !mark;
    if (!mark) return;
    tip.textContent = `${mark.shares > 0 ? 'buy' : 'sell'} ${format.shares(Math.abs(mark.shares))} at ${format.price(mark.price)} · ${format.clock(mark.time * 1e3)}`;
    tip.style.left = `${Math.min(mark.x + chart.over.offsetLeft + 10, this.places[1].clientWidth - 210)}px`;
    tip.style.top = `${mark.y + chart.over.offsetTop - 34}px`;
  }

  destroy() {
    this.resizes.disconnect();
    this.charts.forEach(chart => chart.destroy());
  }
}

// With no pointer on the plot the legend names the latest values.
function legend(chart) {
  const rows = chart.data[0].length;
  if (rows && (chart.cursor.left ?? -1) < 0) chart.setLegend({ idx: rows - 1 });
}
function line(label, stroke, width = 1.1, dash) {
  return { label, stroke, width, dash, points: { show: false }, spanGaps: false, value: (_, v) => format.price(v) };
}
function timeLabel(seconds, step) {
  if (step >= 86400) return format.day(seconds * 1e3);
  const text = format.clock(seconds * 1e3);
  return step >= 60 ? text.slice(0, 5) : text;
}
// Of a scale made by `padded`: the least and the largest value and 0, without what would be written over 0.
function extremes(min, max) {
  const room = ((max - min) * ROOM) / (1 + 2 * ROOM);
  return [min + room, 0, max - room].filter(v => v === 0 || Math.abs(v) > (max - min) * 0.2);
}
function padded(min, max, include) {
  if (min == null) return [0, 1];
  const low = include == null ? min : Math.min(min, include), high = include == null ? max : Math.max(max, include);
  const room = (high - low || Math.abs(high) * 0.001 || 1) * ROOM;
  return [low - room, high + room];
}
function trimmed(value, values) {
  const step = Math.abs((values[1] ?? value) - (values[0] ?? value)) || 1;
  const digits = Math.min(8, Math.max(0, Math.ceil(-Math.log10(step) - 1e-9)));
  return value.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits });
}
