// Human-readable numbers and durations.

export function percent(value) {
  return value === null || value === undefined ? "–" : `${(100 * value).toFixed(1)} %`;
}

export function decimal(value) {
  if (value === null || value === undefined) return "–";
  return Math.abs(value) >= 1000 ? value.toPrecision(4) : value.toFixed(3);
}

/** Format a number of any magnitude with three significant digits. */
export function short(value) {
  return String(Number(value.toPrecision(3)));
}

export function rate(value) {
  if (value === null || value === undefined) return "–";
  return value >= 10 ? value.toFixed(0) : value.toFixed(1);
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}
