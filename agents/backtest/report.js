"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const at = (id) => document.getElementById(id);
const make = (tag, attributes = {}, ...children) => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
};
// What is drawn anew keeps the focus: its focusable parts have ids.
const keepingFocus = (work) => { const {id} = document.activeElement; work(); if (id && at(id)) at(id).focus(); };
const number = (value, digits = 0) =>
  value === null || value === undefined ? "–" : value.toLocaleString("en-US", {minimumFractionDigits: digits, maximumFractionDigits: digits}).replace("-", "−");
const dollars = (value) => {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  const text = size >= 1e9 ? number(size / 1e9, 2) + " bn" : size >= 1e7 ? number(size / 1e6, 1) + " M" : number(size, size < 1000 ? 2 : 0);
  return (value < 0 ? "−$" : "$") + text;
};
const percent = (value) => (value === null || value === undefined ? "–" : number(value * 100, 1) + " %");
const sign = (value) => (value > 0 ? "up" : value < 0 ? "down" : "");
const two = (value) => String(value).padStart(2, "0");
const clock = (seconds) => { const d = new Date(seconds * 1000); return two(d.getUTCHours()) + ":" + two(d.getUTCMinutes()); };

const swept = Object.keys(data.sweep);
const label = (n) => swept.length ? swept.map((name) => `${name}=${data.settings[n][name]}`).join(", ") : data.settings[n].hash;
const METRICS = {
  net_change: ["Net", dollars], net_bps_of_turnover: ["Net per turnover, bp", (v) => number(v, 3)], sharpe: ["Sharpe", (v) => number(v, 2)],
  max_drawdown: ["Largest fall", dollars], trades: ["Trades", number], turnover: ["Turnover", dollars], hit_rate: ["Hit rate", percent],
  time_in_market: ["Time in market", percent], mean_exposure: ["Mean exposure", dollars], fees_change: ["Fees", dollars],
};
let chosen = data.results.reduce((best, result, n) => (result.totals.net_change > data.results[best].totals.net_change ? n : best), 0);

function subtitle() {
  const dates = data.first === data.last ? data.first : `${data.first} to ${data.last}`;
  at("subtitle").textContent = `${dates}, ${number(data.days)} ${data.days === 1 ? "date" : "dates"}, ${number(data.symbols)} ` +
    `${data.symbols === 1 ? "symbol" : "symbols"}, ${number(data.quotes)} quotes; times in UTC` + (swept.length ? `; ${data.settings.length} settings` : "");
}

function tiles(totals) {
  const few = `needs ${data.least_days} days, there are ${data.days}`;
  const rows = [
    ["Net", dollars(totals.net_change), `fees ${dollars(totals.fees_change)}`, sign(totals.net_change)],
    ["Net per turnover", totals.net_bps_of_turnover === null ? "–" : number(totals.net_bps_of_turnover, 3) + " bp", `of ${dollars(totals.turnover)}`, sign(totals.net_bps_of_turnover)],
    ["Sharpe, daily × √252", totals.sharpe === null ? "–" : number(totals.sharpe, 2), totals.sharpe === null ? (data.days < data.least_days ? few : "no variation") : `${data.days} days`, ""],
    ["Largest fall", dollars(totals.max_drawdown), "from the peak, by the minute", ""],
    ["Best and worst date", dollars(totals.best_day), dollars(totals.worst_day), sign(totals.best_day)],
    ["Trades", number(totals.trades), `${number(totals.buys)} buys, ${number(totals.sells)} sells`, ""],
    ["Hit rate", percent(totals.hit_rate), `of ${number(totals.closing_trades)} that closed something`, ""],
    ["Time in market", percent(totals.time_in_market), "of a symbol's decision times", ""],
    ["Mean exposure", dollars(totals.mean_exposure), `largest of a symbol ${dollars(totals.max_exposure)}`, ""],
    ["Verdicts filled", percent(totals.filled_share), `${number(totals.clipped)} clipped, ${number(totals.refused)} refused` + (data.latency_ms ? `, ${number(totals.cancelled)} cancelled` : ""), ""],
  ];
  at("figures").replaceChildren(...rows.map(([name, value, note, kind]) =>
    make("div", {class: "tile"}, make("span", {}, name), make("b", {class: kind}, value), make("small", {}, note))));
}

const width = (id) => Math.max(280, at(id).clientWidth);
const axis = (more) => ({stroke: css("--soft"), grid: {stroke: css("--line"), width: 1}, ticks: {stroke: css("--line"), width: 1}, font: "12px system-ui", ...more});

// Points are equally spaced, whatever lies between them: nights and weekends take no room.
function byPoint(id, equity, name, values, height, fill) {
  const host = at(id), times = equity.t;
  host.replaceChildren();
  const xs = times.map((_, n) => n);
  const single = equity.starts.length < 2;
  const dateAt = (n) => data.dates[equity.starts.findLastIndex((start) => start <= n)];
  const ticks = single ? xs.filter((n) => n % Math.max(1, Math.floor(xs.length / 8)) === 0) : equity.starts;
  new uPlot({
    width: width(id), height, cursor: {sync: {key: "equity"}}, scales: {x: {time: false}},
    axes: [
      axis({
        splits: (u, i, lo, hi) => {
          const shown = ticks.filter((n) => n >= lo && n <= hi);
          const step = Math.max(1, Math.ceil(shown.length / Math.max(2, Math.floor(u.width / 95))));
          return shown.filter((_, k) => k % step === 0);
        },
        values: (u, splits) => splits.map((n) => (single ? clock(times[n]) : dateAt(n))),
      }),
      axis({size: 76, space: 28, values: (u, splits) => splits.map(round)}),
    ],
    series: [
      {label: "at", value: (u, n) => (n === null ? "–" : `${dateAt(n)} ${clock(times[n])}`)},
      {label: name, stroke: css(name === "net" ? "--blue" : "--down"), fill, width: 1.5, points: {show: false}, value: (u, v) => dollars(v)},
    ],
  }, [xs, values], host);
}

// Round numbers between two bounds, about as many as are wanted.
function steps(low, high, wanted) {
  const raw = (high - low) / wanted || 1, base = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((k) => k * base).find((size) => size >= raw);
  const found = [];
  for (let k = Math.ceil(low / step); k * step <= high; k++) found.push(k * step);
  return found;
}
const round = (v) => (v < 0 ? "−$" : "$") + Math.abs(v).toLocaleString("en-US", {maximumSignificantDigits: 6});

function bars(id, rows) {
  const host = at(id);
  const w = width(id), h = 260, left = 76, bottom = 22, top = 8;
  const values = rows.map((row) => row.net_change);
  const low = Math.min(0, ...values), high = Math.max(0, ...values), span = high - low || 1;
  const y = (v) => top + (high - v) / span * (h - top - bottom);
  const step = (w - left) / rows.length;
  const parts = steps(low, high, 5)
    .map((v) => `<line x1="${left}" x2="${w}" y1="${y(v)}" y2="${y(v)}" stroke="${css(v ? "--line" : "--soft")}"/><text x="${left - 6}" y="${y(v) + 4}" text-anchor="end">${round(v)}</text>`);
  const labels = Math.max(1, Math.ceil(rows.length / Math.max(1, Math.floor((w - left) / 84))));
  rows.forEach((row, n) => {
    const v = row.net_change;
    const x = left + n * step, bar = Math.min(46, Math.max(1, step * 0.74));
    parts.push(`<rect x="${x + (step - bar) / 2}" width="${bar}" y="${Math.min(y(v), y(0))}" height="${Math.max(1, Math.abs(y(v) - y(0)))}" rx="1.5" fill="${css(v >= 0 ? "--up" : "--down")}"><title>${row.date}: ${dollars(v)}, ${number(row.buys + row.sells)} trades, turnover ${dollars(row.turnover)}</title></rect>`);
    if (n % labels === 0) parts.push(`<text x="${x + step / 2}" y="${h - 6}" text-anchor="middle">${row.date}</text>`);
  });
  host.innerHTML = `<svg width="${w}" height="${h}" role="img" aria-label="Net by date">${parts.join("")}</svg>`;
}

function markouts(rows) {
  const host = at("markouts");
  if (!data.markouts) { host.textContent = "Not computed (--no-markouts)."; return; }
  if (!rows.some((row) => row.count)) { host.textContent = "No trade was followed by quotes for long enough."; return; }
  const w = width("markouts"), h = 190, left = 56, bottom = 24;
  const ends = rows.flatMap((row) => row.bps === null ? [] : [row.bps - 2 * (row.error || 0), row.bps + 2 * (row.error || 0)]);
  const low = Math.min(0, ...ends), high = Math.max(0, ...ends), span = (high - low || 1) * 1.1;
  const y = (v) => 8 + (high + span * 0.045 - v) / span * (h - bottom - 8);
  const step = (w - left) / rows.length;
  const parts = steps(low, high, 4)
    .map((v) => `<line x1="${left}" x2="${w}" y1="${y(v)}" y2="${y(v)}" stroke="${css(v ? "--line" : "--soft")}"/><text x="${left - 6}" y="${y(v) + 4}" text-anchor="end">${v.toLocaleString("en-US", {maximumSignificantDigits: 4}).replace("-", "−")}</text>`);
  rows.forEach((row, n) => {
    const x = left + (n + 0.5) * step;
    parts.push(`<text x="${x}" y="${h - 6}" text-anchor="middle">after ${data.horizons[n]} s</text>`);
    if (row.bps === null) return;
    const e = 2 * (row.error || 0);
    parts.push(`<line x1="${x}" x2="${x}" y1="${y(row.bps - e)}" y2="${y(row.bps + e)}" stroke="${css("--blue")}" stroke-width="2"/><circle cx="${x}" cy="${y(row.bps)}" r="5" fill="${css("--blue")}"/><text x="${x + 10}" y="${y(row.bps) + 4}" style="fill:${css("--ink")}">${number(row.bps, 3)}</text>`);
  });
  const table = grid(["", "mean, bp", "± error", "trades", "dollars"], rows.map((row, n) =>
    [`${data.horizons[n]} s`, number(row.bps, 3), number(row.error, 3), number(row.count), dollars(row.dollars)]));
  host.innerHTML = `<svg width="${w}" height="${h}" role="img" aria-label="Markouts">${parts.join("")}</svg>`;
  host.append(make("div", {class: "scroll"}, table));
}

function grid(head, rows) {
  return make("table", {}, make("thead", {}, make("tr", {}, ...head.map((text) => make("th", {}, text)))),
    make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map((cell) => make("td", {}, cell))))));
}

// A table that sorts by its heads. columns: [title, value of a row, text of a value].
function sortable(host, columns, rows, decorate = () => {}) {
  let by = null, down = true;
  const draw = () => {
    const shown = by === null ? rows : [...rows].sort((a, b) => {
      const x = columns[by][1](a), y = columns[by][1](b);
      return (x === null ? 1 : y === null ? -1 : x < y ? -1 : x > y ? 1 : 0) * (down ? -1 : 1);
    });
    const head = columns.map(([title], n) => {
      if (!title) return make("th");
      const button = make("button", {type: "button", id: `${host.id}-by-${n}`}, title + (n === by ? (down ? " ↓" : " ↑") : ""));
      button.onclick = () => { down = by === n ? !down : true; by = n; keepingFocus(draw); };
      return make("th", n === by ? {"aria-sort": down ? "descending" : "ascending"} : {}, button);
    });
    const body = shown.map((row) => {
      const line = make("tr", {}, ...columns.map(([, value, text]) => {
        const shownText = text(value(row), row);
        return shownText instanceof Node ? make("td", {}, shownText) : make("td", {}, shownText);
      }));
      decorate(line, row);
      return line;
    });
    host.replaceChildren(make("table", {}, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...body)));
  };
  draw();
}

function symbols(result) {
  const most = Math.max(1e-9, ...result.by_symbol.map((row) => Math.abs(row.net_change)));
  sortable(at("symbols"), [
    ["Symbol", (r) => r.symbol, String],
    ["Net", (r) => r.net_change, (v) => make("span", {class: sign(v)}, dollars(v))],
    ["", (r) => r.net_change, (v) => make("span", {class: "bar", style: `width:${Math.round(Math.abs(v) / most * 120)}px;background:var(--${v >= 0 ? "up" : "down"})`})],
    ["Realised", (r) => r.realised_change, dollars], ["Fees", (r) => r.fees_change, dollars],
    ["Trades", (r) => r.buys + r.sells, (v) => number(v)], ["Turnover", (r) => r.turnover, dollars],
    ["Net/turnover, bp", (r) => (r.turnover ? r.net_change / r.turnover * 1e4 : null), (v) => number(v, 2)],
    ["Hit rate", (r) => (r.closing_trades ? r.winning_trades / r.closing_trades : null), percent],
    ["In market", (r) => (r.signals ? r.in_market / r.signals : null), percent],
    ["Largest exposure", (r) => r.max_exposure, dollars],
  ], result.by_symbol);
  if (result.symbols_left_out) at("symbols").append(make("p", {class: "note"}, `${number(result.symbols_left_out)} symbols with smaller results are left out.`));
}

function colour(value, low, high) {
  if (value === null || value === undefined) return ["var(--line)", "var(--ink)"];
  const reach = low < 0 && high > 0 ? Math.max(-low, high) : high - low || 1;
  const share = low < 0 && high > 0 ? value / reach : (value - low) / reach;
  const rgb = low < 0 && high > 0 && share < 0 ? "214, 96, 40" : "31, 111, 235";
  const depth = 0.08 + 0.82 * Math.min(1, Math.abs(share));
  return [`rgba(${rgb}, ${depth})`, depth > 0.5 ? "#fff" : "var(--ink)"];
}

function heat() {
  const metric = at("metric").value, [, text] = METRICS[metric];
  const value = (n) => data.results[n].totals[metric];
  const known = data.results.map((_, n) => value(n)).filter((v) => v !== null);
  const low = Math.min(...known), high = Math.max(...known);
  const [across, down] = swept.length > 1 ? [swept[1], swept[0]] : [swept[0], null];
  const others = swept.filter((name) => name !== across && name !== down);
  const groups = new Map();
  data.settings.forEach((settings, n) => {
    const key = others.map((name) => `${name}=${settings[name]}`).join(", ");
    groups.set(key, [...(groups.get(key) || []), n]);
  });
  at("heat").replaceChildren(...[...groups].map(([title, members]) => {
    const xs = data.sweep[across], ys = down ? data.sweep[down] : [null];
    const box = make("div", {class: "heat", style: `grid-template-columns: repeat(${xs.length + 1}, auto)`});
    box.append(make("div", {class: "name"}, title || (down ? `${down} ↓  ${across} →` : `${across} →`)), ...xs.map((x) => make("div", {class: "name"}, String(x))));
    for (const y of ys) {
      box.append(make("div", {class: "name"}, y === null ? METRICS[metric][0] : String(y)));
      for (const x of xs) {
        const n = members.find((m) => data.settings[m][across] === x && (down === null || data.settings[m][down] === y));
        const [back, ink] = colour(value(n), low, high);
        const cell = make("button", {
          type: "button", id: `cell-${n}`, class: "cell" + (n === chosen ? " chosen" : ""), style: `background:${back};color:${ink}`,
          title: label(n), "aria-label": `${label(n)}: ${text(value(n))}`, "aria-pressed": n === chosen,
        }, text(value(n)));
        cell.onclick = () => choose(n);
        box.append(cell);
      }
    }
    return box;
  }));
  sortable(at("settings-table"), [
    ["Setting", (n) => label(n), (name, n) => make("button", {type: "button", id: `pick-${n}`, "aria-pressed": n === chosen}, name)],
    ...Object.entries(METRICS).map(([name, [title, show]]) => [title, (n) => data.results[n].totals[name], (v) => show(v)]),
  ], data.settings.map((_, n) => n), (line, n) => {
    line.classList.add("pick");
    if (n === chosen) line.classList.add("chosen");
    line.onclick = () => choose(n);
  });
}

function marker(u, points, colours) {
  const context = u.ctx, size = 5 * devicePixelRatio;
  context.save();
  for (const {t, price, side, reason} of points) {
    const x = u.valToPos(t, "x", true), y = u.valToPos(price, "y", true);
    if (x < u.bbox.left || x > u.bbox.left + u.bbox.width) continue;
    const turn = side === "BUY" ? 1 : -1;
    context.beginPath();
    context.moveTo(x, y - turn * size);
    context.lineTo(x - size, y + turn * size);
    context.lineTo(x + size, y + turn * size);
    context.closePath();
    context.fillStyle = colours[side];
    context.fill();
    if (reason !== "SIGNAL") { context.lineWidth = 1.5 * devicePixelRatio; context.strokeStyle = colours.ink; context.stroke(); }
  }
  context.restore();
}

// The position at each time, not known after the last trade that is shown if there are more; trades are in order.
function held(times, trades, count) {
  let next = 0;
  let position = trades.length ? trades[0].position - trades[0].shares * (trades[0].side === "BUY" ? 1 : -1) : null;
  return times.map((t) => {
    while (next < trades.length && trades[next].t <= t) position = trades[next++].position;
    return next === trades.length && trades.length < count ? null : position;
  });
}

function charts() {
  const host = at("charts");
  host.replaceChildren();
  data.charts.forEach((one, k) => {
    const trades = one.trades.filter((trade) => trade.setting === chosen);
    const bands = one.bands[chosen], count = one.counts[chosen];
    const id = `chart-${k}`, below = `position-${k}`;
    const card = make("div", {class: "card pair"}, make("h2", {}, `${one.symbol} on ${one.date}`),
      make("p", {class: "legend"}), make("div", {id, class: "chart"}), make("h3", {}, "Position, shares"), make("div", {id: below, class: "chart"}));
    card.querySelector("p").innerHTML = `<i>${number(count)} trades${trades.length < count ? `, the first ${number(trades.length)} are shown` : ""}</i><i><span class="up">▲ buy</span></i><i><span class="down">▼ sell</span></i><i>outlined: closing or end of session</i><i style="color:var(--blue)">— mid</i><i>– – average and thresholds</i><i>drag to zoom, double click to go back</i>`;
    host.append(card);
    const colours = {BUY: css("--up"), SELL: css("--down"), ink: css("--ink")};
    const line = (name, stroke, more = {}) => ({label: name, stroke, width: 1, points: {show: false}, value: (u, v) => (v === null ? "–" : v.toPrecision(7)), ...more});
    // The thresholds of wide quotes before the opening would flatten everything else.
    const sorted = one.mid.filter((v) => v !== null).sort((a, b) => a - b);
    const low = sorted[Math.floor(sorted.length * 0.005)], high = sorted[Math.ceil(sorted.length * 0.995) - 1];
    const prices = trades.map((trade) => trade.price);
    const least = Math.min(low, ...prices), most = Math.max(high, ...prices), room = (most - least || 1) * 0.06;
    new uPlot({
      width: width(id), height: 340, cursor: {sync: {key: id}}, tzDate: (ts) => uPlot.tzDate(new Date(ts * 1e3), "Etc/UTC"),
      scales: {y: {range: (u, lo, hi) => u.scales.x.min > one.t[0] || u.scales.x.max < one.t[one.t.length - 1] ? [lo, hi] : [least - room, most + room]}},
      axes: [axis({values: (u, splits) => splits.map(clock)}), axis({size: 70})],
      series: [{label: "at", value: (u, t) => (t === null ? "–" : new Date(t * 1000).toISOString().slice(11, 19))}, line("mid", css("--blue"), {width: 1.3}), line("average", css("--band"), {dash: [6, 4]}), line("buy below", css("--up"), {dash: [2, 3]}), line("sell above", css("--down"), {dash: [2, 3]})],
      hooks: {draw: [(u) => marker(u, trades, colours)]},
    }, [one.t, one.mid, bands.ema, bands.buy_below, bands.sell_above], at(id));
    new uPlot({
      width: width(below), height: 150, cursor: {sync: {key: id}}, tzDate: (ts) => uPlot.tzDate(new Date(ts * 1e3), "Etc/UTC"),
      axes: [axis({values: (u, splits) => splits.map(clock)}), axis({size: 70, space: 18})],
      series: [{label: "at", value: (u, t) => (t === null ? "–" : new Date(t * 1000).toISOString().slice(11, 19))},
        {label: "position", stroke: css("--blue"), fill: css("--fill"), width: 1.2, points: {show: false}, paths: uPlot.paths.stepped({align: 1}), value: (u, v) => (v === null ? "–" : v.toLocaleString("en-US"))}],
    }, [one.t, held(one.t, trades, count)], at(below));
  });
}

function conditions() {
  const settings = data.settings[chosen];
  const block = (title, rows) => make("div", {}, make("h3", {}, title), make("table", {}, make("tbody", {}, ...rows.map(([a, b]) => make("tr", {}, make("td", {}, a), make("td", {}, b))))));
  const plain = (v) => (v === null ? "none" : String(v));
  const control = (c) => (c === null ? "removed" : Object.entries(c).filter(([, v]) => v !== null).map(([name, v]) => `${name} ${name === "effective_from" ? new Date(v / 1e6).toISOString() : v}`).join(", "));
  at("conditions").replaceChildren(
    block("Settings", Object.entries(settings).map(([name, v]) => [name, plain(v)])),
    block("Fills", [
      ["price", data.latency_ms ? `at the touch in force ${data.latency_ms} ms after the decision, cancelled if it is no longer beyond the threshold` : "at the touch in force at the decision"],
      ["size", settings.cap_by_size ? "capped by the displayed size" : "the lot, whatever size is displayed"],
      ["between dates", data.carry ? "position and average are carried from date to date" : "each date begins flat and cold"],
    ]),
    block("Quotes", [["read", number(data.quotes)], ...Object.entries(data.counters).filter(([, n]) => n).map(([name, n]) => [name, number(n)])]),
    block("Controls", data.controls.map((line) => [line.key, control(line.control)])),
    block("Definitions", [
      ["Net", "realised + unrealised − fees; positions at the mid of the symbol's latest decision"],
      ["Hit rate", "of the trades against a position, the share that realised a gain before fees"],
      ["Verdicts filled", "share of the verdicts to buy or sell that were filled, whole or clipped; what a control or the session's end closes is not among them"],
      ["Time in market", "share of a symbol's decision times after which it held a position"],
      ["Mean exposure", "mean of |position| × mid over a symbol's decision times, summed over the symbols"],
      ["Sharpe", `mean ÷ standard deviation of the net of the dates, × √252; not given below ${data.least_days} dates`],
    ]),
  );
}

function draw() {
  const result = data.results[chosen];
  tiles(result.totals);
  byPoint("equity", result.equity, "net", result.equity.net, 280, css("--fill"));
  byPoint("drawdown", result.equity, "fall", result.equity.fall, 140);
  bars("dates", result.dates);
  markouts(result.markouts);
  symbols(result);
  charts();
  conditions();
  if (swept.length) heat();
}

function choose(n) {
  chosen = n;
  at("setting").value = String(n);
  keepingFocus(draw);
}

subtitle();
if (data.settings.length > 1) {
  at("chooser").hidden = false;
  at("sweep").hidden = false;
  at("setting").append(...data.settings.map((_, n) => make("option", {value: n}, label(n))));
  at("setting").value = String(chosen);
  at("setting").onchange = (event) => choose(Number(event.target.value));
  at("metric").append(...Object.entries(METRICS).map(([name, [title]]) => make("option", {value: name}, title)));
  at("metric").onchange = heat;
}
draw();
let resizing = null;
addEventListener("resize", () => { clearTimeout(resizing); resizing = setTimeout(draw, 150); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
