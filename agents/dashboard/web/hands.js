// Mouse, touch and keys on one canvas: drag moves, wheel and pinch zoom, double click follows again.
export class Hands {
  constructor(chart, plots) {
    this.chart = chart;
    this.plots = plots;
    this.pointers = new Map();
    const over = chart.over;
    over.tabIndex = 0;
    over.setAttribute('role', 'application');
    over.setAttribute('aria-label', 'Plot. Arrow keys move in time, plus and minus zoom, Escape follows the latest.');
    over.style.touchAction = 'pan-y';
    over.addEventListener('wheel', event => this.wheel(event), { passive: false });
    over.addEventListener('pointerdown', event => this.down(event));
    over.addEventListener('pointermove', event => this.move(event));
    for (const name of ['pointerup', 'pointercancel', 'lostpointercapture']) {
      over.addEventListener(name, event => this.pointers.delete(event.pointerId));
    }
    over.addEventListener('dblclick', () => plots.follow());
    over.addEventListener('keydown', event => this.key(event));
  }

  seconds(pixels) {
    return this.chart.posToVal(pixels, 'x') - this.chart.posToVal(0, 'x');
  }

  wheel(event) {
    if (event.ctrlKey || event.altKey) return;
    event.preventDefault();
    if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) this.plots.shift(this.seconds(event.deltaX));
    else this.plots.zoom(event.deltaY < 0 ? 0.85 : 1 / 0.85, this.chart.posToVal(event.offsetX, 'x'));
  }

  down(event) {
    if (event.button !== 0) return;
    this.pointers.set(event.pointerId, event.clientX);
    event.currentTarget.setPointerCapture(event.pointerId);
  }

  move(event) {
    const before = this.pointers.get(event.pointerId);
    if (before === undefined) return;
    const moved = event.clientX - before;
    if (this.pointers.size === 1) {
      if (moved) this.plots.shift(-this.seconds(moved));
    } else {
      const other = [...this.pointers].find(([id]) => id !== event.pointerId)[1];
      const was = Math.abs(before - other), is = Math.abs(event.clientX - other);
      if (was > 10 && is > 10) this.plots.zoom(was / is);
    }
    this.pointers.set(event.pointerId, event.clientX);
  }

  key(event) {
    const [min, max] = this.plots.range();
    const step = (max - min) / 10;
    const action = {
      ArrowLeft: () => this.plots.shift(-step),
      ArrowRight: () => this.plots.shift(step),
      '+': () => this.plots.zoom(0.8),
      '=': () => this.plots.zoom(0.8),
      '-': () => this.plots.zoom(1.25),
      Escape: () => this.plots.follow(),
    }[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  }
}
