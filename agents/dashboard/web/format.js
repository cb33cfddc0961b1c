// Numbers and times as text. Times come in ns since the epoch, are shown on a 24-hour clock in the chosen zone.
import * as prefs from './prefs.js';

export const ZONES = { UTC: 'UTC', exchange: 'America/New_York' };
export const zone = () => ZONES[prefs.get('tz', 'UTC')] ?? 'UTC';
export const zoneName = () => (zone() === 'UTC' ? 'UTC' : 'New York time');

const formats = new Map();
function dateFormat(parts) {
  const key = zone() + JSON.stringify(parts);
  if (!formats.has(key)) formats.set(key, new Intl.DateTimeFormat('en-GB', { timeZone: zone(), hourCycle: 'h23', ...parts }));
  return formats.get(key);
}
const CLOCK = { hour: '2-digit', minute: '2-digit', second: '2-digit' };
const DAY = { year: 'numeric', month: '2-digit', day: '2-digit' };

export const clock = ms => dateFormat(CLOCK).format(ms);
export function day(ms) {
  const parts = Object.fromEntries(dateFormat(DAY).formatToParts(ms).map(part => [part.type, part.value]));
  return `${parts.year}-${parts.month}-${parts.day}`;
}
export const moment = ms => `${day(ms)} ${clock(ms)}`;
export const time = ns => (ns == null ? '' : clock(ns / 1e6));
export const fullTime = ns => (ns == null ? '' : `${moment(ns / 1e6)} ${zoneName()}`);

const numbers = new Map();
function number(value, least, most) {
  const key = least * 100 + most;
  if (!numbers.has(key)) {
    numbers.set(key, new Intl.NumberFormat('en-US', { minimumFractionDigits: least, maximumFractionDigits: most }));
  }
  return numbers.get(key).format(value);
}
const known = value => value != null && !Number.isNaN(value);

export const dollars = value => (known(value) ? number(Object.is(Math.round(value * 100), -0) ? 0 : value, 2, 2) : '–');
export const signedDollars = value => (known(value) ? `${value >= 0.005 ? '+' : ''}${dollars(value)}` : '–');
export const shares = value => (known(value) ? number(value, 0, 8) : '–');
export const whole = value => (known(value) ? number(value, 0, 0) : '–');
export function price(value) {
  if (!known(value)) return '–';
  const size = Math.abs(value);
  return size >= 1 ? number(value, 2, 4) : number(value, 2, 8);
}
export const plain = value => (known(value) ? number(value, 0, 6) : '–');
export function seconds(value) {
  if (!known(value)) return '–';
  if (value < 1) return `${Math.max(0, value * 1000).toFixed(0)} ms`;
  if (value < 100) return `${value.toFixed(1)} s`;
  if (value < 7200) return `${(value / 60).toFixed(0)} min`;
  return value < 172800 ? `${(value / 3600).toFixed(0)} h` : `${(value / 86400).toFixed(0)} d`;
}
