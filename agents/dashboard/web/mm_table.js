// One live table: AG Grid on one channel. Rows come as [id, value of each column …].
import * as AgGrid from 'nicegui-aggrid';
import { subscribe } from 'mm/live.js';
import * as prefs from 'mm/prefs.js';
import { columnDefs, opensNothing } from 'mm/columns.js';

AgGrid.ModuleRegistry.registerModules([AgGrid.AllCommunityModule]);
const theme = AgGrid.themeQuartz.withPart(AgGrid.colorSchemeVariable).withParams({
  backgroundColor: 'var(--surface)',
  foregroundColor: 'var(--text)',
  headerBackgroundColor: 'var(--raised)',
  headerTextColor: 'var(--muted)',
  borderColor: 'var(--line)',
  accentColor: 'var(--accent)',
  oddRowBackgroundColor: 'var(--stripe)',
  fontFamily: 'inherit',
  fontSize: 13,
  headerFontSize: 12,
  spacing: 6,
  rowHeight: 30,
  headerHeight: 34,
  wrapperBorderRadius: 10,
  columnBorder: false,
});

export default {
  template: '<div class="mm-grid"></div>',
  props: { name: String, columns: Array, log: Boolean, editable: Array, choices: Object, empty: String },
  mounted() {
    const editable = new Set(this.editable ?? []);
    const doubtful = opensNothing(this.columns);
    this.api = AgGrid.createGrid(this.$el, {
      theme,
      columnDefs: columnDefs(this.columns, editable, this.choices ?? {}, this.log),
      defaultColDef: { minWidth: 88, flex: 1, resizable: true, enableCellChangeFlash: false },
      rowData: [],
      getRowId: row => row.data[0],
      asyncTransactionWaitMillis: 10,
      animateRows: false,
      suppressColumnMoveAnimation: true,
      suppressCellFocus: false,
      enableCellTextSelection: !editable.size,
      stopEditingWhenCellsLoseFocus: true,
      rowSelection: editable.size ? { mode: 'multiRow', enableClickSelection: false } : undefined,
      selectionColumnDef: { width: 44, minWidth: 44, pinned: 'left' },
      rowClassRules: {
        'mm-everyone': row => this.name === 'controls' && row.data?.[0] === '*',
        'mm-doubtful': row => doubtful(row.data),
      },
      overlayNoRowsTemplate: `<span class="mm-empty">${this.empty}</span>`,
      onCellValueChanged: change => this.edited(change),
      onCellClicked: click => click.colDef.headerName === 'symbol' && click.data && this.$emit('symbol', click.value),
      onCellKeyDown: press => {
        if (press.event.key === 'Enter' && press.colDef.headerName === 'symbol') this.$emit('symbol', press.value);
      },
    });
    this.api.addEventListener('selectionChanged', () => this.$emit('selection', this.selected().length));
    this.$el.querySelector('[role=grid],[role=treegrid]')?.setAttribute('aria-label', this.name);
    this.stops = [
      subscribe(this.name, message => this.receive(message)),
      prefs.onChange(name => name === 'tz' && this.api.refreshCells({ force: true })),
    ];
  },
  unmounted() {
    for (const stop of this.stops) stop();
    this.api.destroy();
  },
  methods: {
    receive(message) {
      if (!message) return;
      if (message.all) {
        this.api.flushAsyncTransactions(); // else older rows that still wait would land on top of these
        this.ids = new Set(message.all.map(row => row[0]));
        this.api.setGridOption('rowData', message.all);
        return;
      }
      if (!this.ids) return;
      const add = [], update = [], remove = [];
      for (const row of message.put ?? []) (this.ids.has(row[0]) ? update : add).push(row);
      for (const row of add) this.ids.add(row[0]);
      for (const id of message.drop ?? []) if (this.ids.delete(id)) remove.push([id]);
      this.api.applyTransactionAsync({ add, update, remove });
    },
    edited({ data, colDef, oldValue, newValue, source }) {
      if (source === 'rollback') return;
      this.$emit('edit', { key: data[0], column: colDef.headerName, value: newValue ?? null, old: oldValue ?? null });
    },
    // The value that an edit was refused for goes back to what it was; a newer one from the topic stays.
    undo(key, column, value, old) {
      const node = this.api.getRowNode(key);
      const colId = this.api.getColumnDefs().find(def => def.headerName === column)?.colId;
      if (node && node.data[colId] === value) node.setDataValue(colId, old, 'rollback');
    },
    selected() {
      return this.api.getSelectedRows().map(row => row[0]);
    },
    filter(text) {
      this.api.setGridOption('quickFilterText', text ?? '');
    },
  },
};
