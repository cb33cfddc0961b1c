// Buys and sells as triangles: a buy points up from below its price, a sell down from above.
const SIZE = 6.5;
const NEAR = 14;

export function marks(chart, [times, , shares, prices], colors) {
  const { ctx, bbox } = chart;
  const ratio = devicePixelRatio, size = SIZE * ratio;
  const { min, max } = chart.scales.x;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  ctx.strokeStyle = colors.edge;
  ctx.lineWidth = ratio;
  for (let k = 0; k < times.length; k++) {
    if (!shares[k] || times[k] < min || times[k] > max) continue;
    const way = shares[k] > 0 ? 1 : -1;
    const x = chart.valToPos(times[k], 'x', true), y = chart.valToPos(prices[k], 'y', true) + way * 2 * ratio;
    ctx.fillStyle = way > 0 ? colors.buy : colors.sell;
    ctx.beginPath();
    ctx.moveTo(x, y);
    ctx.lineTo(x - size, y + way * size * 1.7);
    ctx.lineTo(x + size, y + way * size * 1.7);
    ctx.closePath();
    ctx.fill();
    ctx.stroke();
  }
  ctx.restore();
}

export function nearestMark(chart, [times, , shares, prices]) {
  const { left, top } = chart.cursor;
  if (left == null || left < 0) return null;
  let best = null, nearest = NEAR;
  for (let k = times.length - 1; k >= 0; k--) {
    if (!shares[k]) continue;
    const x = chart.valToPos(times[k], 'x');
    const away = Math.abs(x - left);
    if (away < nearest) {
      nearest = away;
      best = { x, y: chart.valToPos(prices[k], 'y'), time: times[k], shares: shares[k], price: prices[k] };
    }
  }
  return top >= 0 ? best : null;
}
