// Columns of the tables by their kind: how values are shown, compared and edited.
import * as format from './format.js';

const right = { filter: 'agNumberColumnFilter', cellClass: ['mm-number', 'ag-right-aligned-cell'], headerClass: ['ag-right-aligned-header'] };
const signed = { 'mm-up': cell => cell.value > 0, 'mm-down': cell => cell.value < 0 };
const TONES = {
  BUY: 'up', SELL: 'down', FILLED: 'up', CLIPPED: 'warn', REFUSED: 'down', ACTIVE: 'up', REDUCING: 'warn', CLOSING: 'warn',
  HALTED: 'down', CRITICAL: 'down', WARNING: 'warn', INFO: 'calm', RAISED: 'warn', CLEARED: 'up', HOLD: 'calm', NONE: 'calm',
};

function chip(cell) {
  if (cell.value == null) return '';
  const span = document.createElement('span');
  span.className = `mm-chip mm-tone-${TONES[cell.value] ?? 'calm'}`;
  span.textContent = cell.value;
  return span;
}

// How it stands with a control: due from a decision time, or in force since one.
const EFFECTS = {
  due: ts => [ts ? `due ${format.time(ts)}` : 'waiting', `Sent. It holds from ${ts ? `the decision of ${format.fullTime(ts)}` : 'the next decision'}, once an execution names its version.`],
  since: ts => [`since ${format.time(ts)}`, `In force since the decision of ${format.fullTime(ts)}: executions name its version.`],
  before: () => ['in force', 'In force: executions name its version.'],
};
function effect(cell) {
  if (!cell.value) return '';
  const [state, ts] = cell.value;
  const span = document.createElement('span');
  span.className = `mm-chip mm-tone-${state === 'due' ? 'warn' : 'up'}`;
  [span.textContent, span.title] = EFFECTS[state](ts);
  return span;
}

// The system's own select: keys and touch work as everywhere. A choice by pointer is taken at once, one by keys at Enter.
class Choice {
  init(params) {
    this.select = document.createElement('select');
    this.select.className = 'mm-choice';
    this.select.setAttribute('aria-label', params.colDef.headerName);
    for (const value of params.values) this.select.add(new Option(value, value, false, value === params.value));
    let keyed = false;
    this.select.addEventListener('keydown', () => { keyed = true; });
    this.select.addEventListener('change', () => keyed || params.stopEditing());
  }
  getGui() {
    return this.select;
  }
  afterGuiAttached() {
    this.select.focus();
  }
  getValue() {
    return this.select.value;
  }
}

const shown = text => ({ ...right, valueFormatter: cell => text(cell.value) });
const KINDS = {
  symbol: { filter: 'agTextColumnFilter', cellClass: ['mm-symbol'], minWidth: 84, width: 96, flex: 0, pinned: 'left' },
  time: { ...shown(format.time), minWidth: 94, tooltipValueGetter: cell => format.fullTime(cell.value) },
  price: shown(format.price),
  dollars: shown(format.dollars),
  shares: shown(format.shares),
  whole: shown(format.whole),
  number: shown(format.plain),
  flag: { cellDataType: 'boolean' },
  word: { filter: 'agTextColumnFilter', cellRenderer: chip, minWidth: 108 },
  effect: { cellRenderer: effect, cellDataType: false, minWidth: 142, filter: false, comparator: (a, b) => (a?.[1] ?? 0) - (b?.[1] ?? 0) },
  text: { filter: 'agTextColumnFilter', minWidth: 110, tooltipValueGetter: cell => cell.value },
};
// What people read is wide, what only machines compare is not in its way.
const WIDE = { text: 340, reason: 150, value: 200, rule: 128, agent: 120 };
const SIGNED = new Set(['net', 'realised', 'unrealised', 'exposure', 'shares', 'position', 'position_after', 'position_before']);
const NUMBERS = new Set(['price', 'dollars', 'shares', 'whole', 'number']);

// Commas may only stand between thousands: where they are decimal points, 1,5 must not become 15.
const GROUPED = /^[+-]?\d{1,3}(,\d{3})+(\.\d*)?$/;
// Text that is no number goes to the server as it is: the refusal there names the field and the reason.
function typed(change) {
  const text = String(change.newValue ?? '').trim();
  if (text === '') return null;
  const value = Number(GROUPED.test(text) ? text.replaceAll(',', '') : text);
  return Number.isFinite(value) ? value : text;
}

// A lot below the smallest fill that may open: the control is valid and opens nothing.
export function opensNothing(columns) {
  const [lot, least] = ['lot_shares', 'min_fill_shares'].map(name => columns.findIndex(column => column[0] === name) + 1);
  return row => Boolean(lot) && row?.[lot] != null && row[lot] < row[least];
}

export function columnDefs(columns, editable, choices, log) {
  return columns.map(([name, kind], i) => {
    const room = editable.size ? 20 : 46; // controls have no button for filters in their headers
    const def = { ...KINDS[kind], minWidth: Math.max(KINDS[kind].minWidth ?? 82, room + 7 * name.length), colId: String(i + 1), field: String(i + 1), headerName: name, headerTooltip: name };
    if (SIGNED.has(name) && !editable.size && !(log && name === 'shares')) def.cellClassRules = signed;
    if (kind === 'text' && WIDE[name]) Object.assign(def, { flex: WIDE[name] / 100, minWidth: WIDE[name] });
    if (name === 'lot_shares') {
      const doubtful = opensNothing(columns);
      def.cellClass = [...def.cellClass, 'mm-lot'];
      def.tooltipValueGetter = cell => (doubtful(cell.data) ? 'Opens nothing: this lot is below min_fill_shares' : null);
    }
    if (editable.size) def.suppressHeaderFilterButton = true;
    if (log && kind === 'time') def.sortingOrder = ['desc', 'asc', null];
    if (log && (name === 'ts' || name === 'time')) def.initialSort = 'desc'; // the newest on top, whenever it comes
    if (editable.has(name)) {
      def.editable = cell => cell.data[0] !== '*' || name === 'state';
      def.cellClass = [...(def.cellClass ?? []), 'mm-edit'];
      if (NUMBERS.has(kind)) Object.assign(def, { cellDataType: false, cellEditor: 'agTextCellEditor', valueParser: typed });
      if (choices[name]) Object.assign(def, { cellEditor: Choice, cellEditorParams: { values: choices[name] } });
    }
    return def;
  });
}
