// The charts: one per quantity, each with one curve per run. `drawn` returns the plotted data.

import uPlot from "./vendor/uPlot.esm.js";
import { shareOfBudget } from "./budget.js";
import { colour, dashes, ink } from "./colours.js";
import { learns, measured } from "./measures.js";
import { decimal, percent } from "./numbers.js";

const UNIT = [0, 1];
const CHARTS = [
  { key: "test_accuracy", title: "Test accuracy", text: percent, range: UNIT, shown: learns("classification"), says: "The share of images that the model never saw and names correctly. This is what the attack wants to lower and the defence to keep." },
  { key: "validation_accuracy", title: "Validation accuracy", text: percent, range: UNIT, shown: learns("classification"), says: "The same on the validation images, which both sides know. If it falls with the test accuracy, the attack works." },
  { key: "test_r2", title: "Test R²", text: decimal, of: (record) => measured(record, "test_r2"), shown: learns("regression"), says: "The share of the targets' variance that the model explains: 1 is exact, 0 is no better than their mean. This is what the attack wants to lower and the defence to keep." },
  { key: "test_rmse", title: "Test RMSE, units of the target", text: decimal, of: (record) => measured(record, "test_rmse"), shown: learns("regression"), says: "The root of the mean squared error." },
  { key: "test_average_precision", title: "Test mean average precision", text: percent, range: UNIT, of: (record) => measured(record, "test_average_precision"), shown: learns("multi-label"), says: "How well the model ranks the examples of each label before the others. This is what the attack wants to lower and the defence to keep." },
  { key: "test_subset_accuracy", title: "Test subset accuracy", text: percent, range: UNIT, of: (record) => measured(record, "test_subset_accuracy"), shown: learns("multi-label"), says: "The share of examples whose labels are all right." },
  { key: "correction", title: "Defender's correction, share of its budget", text: percent, of: shareOfBudget, says: "How far the defender moves an image, on average. It is 0 without a defender. The server cannot know how far the attacker moved it." },
  { key: "suspicion", title: "Checker: suspicion of the batch", text: percent, range: UNIT, of: suspicion, shown: isChecked, says: "The share of clean batches that would look less suspicious. Near 100 % for many steps, it is an alarm." },
  { key: "flagged", title: "Checker: examples flagged in the batch", text: String, of: flagged, shown: isChecked, says: "The images of the batch that are more suspicious than the threshold. Some clean ones are among them." },
  { key: "test_loss", title: "Test loss, nats per example", text: decimal, says: "How wrong the model is, with its confidence. Under attack it keeps growing after the accuracy has settled: the model is confidently wrong." },
  { key: "validation_loss", title: "Validation loss, nats per example", text: decimal, says: "What both sides reason about: the attacker chooses the step that raises it, the defender the step that lowers it." },
  { key: "loss", title: "Training loss, nats per example", text: decimal, says: "It does not reveal the attack: the attacked model fits the attacked images well. The defended run's is higher, because the defender makes images harder." },
  { key: "conversion_rate", title: "Conversion rate: others predicted as the target", text: percent, range: UNIT, shown: isTargeted },
  { key: "evasion_rate", title: "Evasion rate: the target predicted as another", text: percent, range: UNIT, shown: isTargeted },
];
const HEIGHT = 220;

export class Charts {
  #charts;
  #reading;
  #lines = "";

  constructor(place, reading) {
    this.#reading = reading;
    this.#charts = CHARTS.map((chart) => ({ ...chart, ...frame(place, chart) }));
    const fit = new ResizeObserver(() => this.#fit());
    fit.observe(place);
    for (const chart of this.#charts) {
      chart.box.addEventListener("keydown", (event) => this.#point(chart, event));
    }
  }

  /** Draw the runs: `[{name, number, run}]`, in order. */
  draw(shown) {
    const lines = JSON.stringify(shown.map(({ name, number }) => [name, number]));
    const anew = lines !== this.#lines;
    this.#lines = lines;
    for (const chart of this.#charts) {
      // A chart for a target class or a checker is hidden unless a shown run has one.
      chart.figure.hidden = Boolean(chart.shown) && !shown.some(({ run }) => chart.shown(run));
      if (chart.figure.hidden) continue;
      const tables = tablesOf(chart, shown);
      // Most steps are not evaluated; the curves of evaluations then stay unchanged.
      const points = JSON.stringify(tables.map(([steps]) => [steps.length, steps[0], steps.at(-1)]));
      if (!anew && points === chart.points) continue;
      chart.points = points;
      const data = tables.length ? uPlot.join(tables) : [[]];
      if (anew || !chart.plot) {
        chart.plot?.destroy();
        chart.plot = new uPlot(options(chart, shown), data, chart.box);
      } else {
        const close = zoomed(chart.plot);
        chart.plot.setData(data, !close);
        if (close) chart.plot.redraw();
      }
      chart.names = shown.map(({ name }) => name);
      chart.box.ariaLabel = describe(chart, chart.names, data);
    }
  }

  /** Redraw everything with the next data, because the colours changed. */
  forget() {
    this.#lines = "";
  }

  /** Return the plotted data, `{chart: {run: {steps, values}}}`. */
  drawn() {
    return Object.fromEntries(this.#charts.map((chart) => [chart.key, pointsOf(chart)]));
  }

  #fit() {
    for (const { plot, box } of this.#charts) plot?.setSize({ width: box.clientWidth, height: HEIGHT });
  }

  #point(chart, event) {
    const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!way || !chart.plot) return;
    event.preventDefault();
    const { plot, names, text } = chart;
    const steps = plot.data[0];
    if (steps.length === 0) return;
    const stride = Math.max(1, Math.round(steps.length / 40));
    const from = plot.cursor.idx ?? (way > 0 ? -stride : steps.length - 1 + stride);
    const at = Math.min(Math.max(from + way * stride, 0), steps.length - 1);
    plot.setCursor({ left: plot.valToPos(steps[at], "x"), top: plot.over.clientHeight / 2 });
    const values = names.map((name, line) => `${name} ${text(nearest(plot.data[line + 1], at))}`);
    this.#reading.textContent = `${chart.title}, step ${steps[at]}: ${values.join(", ")}`;
  }
}

function frame(place, { key, title, says }) {
  const figure = document.createElement("figure");
  const caption = document.createElement("figcaption");
  caption.textContent = title;
  const box = document.createElement("div");
  box.className = "chart";
  box.dataset.chart = key;
  box.tabIndex = 0;
  box.setAttribute("role", "img");
  figure.append(caption, box);
  if (says) figure.append(Object.assign(document.createElement("p"), { className: "explain", textContent: says }));
  place.append(figure);
  return { figure, box };
}

function isTargeted({ status }) {
  return status.specification.target !== null;
}

function isChecked({ status }) {
  return status.specification.checker !== null;
}

function suspicion(record) {
  return record.checker?.suspicion ?? null;
}

function flagged(record) {
  return record.checker?.flagged ?? null;
}

function tablesOf({ key, of }, shown) {
  return shown.map(({ run }) => {
    const value = of ? (record) => of(record, run.status) : (record) => record[key] ?? null;
    const records = run.history.records.filter((record) => value(record) !== null);
    return [records.map((record) => record.step), records.map(value)];
  });
}

function options({ range, text, box }, shown) {
  const axis = { stroke: ink("muted"), grid: { stroke: ink("line"), width: 1 }, ticks: { show: false } };
  return {
    width: box.clientWidth,
    height: HEIGHT,
    scales: { x: { time: false }, y: { range: range ?? fromZero } },
    axes: [
      { ...axis, size: 32 },
      { ...axis, size: 56, values: (_, ticks) => ticks.map(text === percent ? whole : String) },
    ],
    cursor: { sync: { key: "steps" }, drag: { x: true, y: false } },
    series: [
      { label: "step", value: (plot, step) => step ?? plot.data[0].at(-1) ?? "–" },
      ...shown.map(({ name, number }) => ({
        label: name,
        stroke: colour(number),
        width: 2,
        dash: dashes(number),
        spanGaps: true,
        value: (plot, _, line, at) => text(nearest(plot.data[line], at ?? plot.data[0].length - 1)),
      })),
    ],
  };
}

function zoomed({ data: [steps], scales: { x } }) {
  return steps.length > 1 && (x.min > steps[0] || x.max < steps.at(-1));
}

function whole(share) {
  return `${Math.round(100 * share)} %`;
}

function fromZero(_, __, most) {
  return most === null ? UNIT : [0, most > 0 ? most * 1.05 : 1];
}

/** Return a curve's value at an index, or the last value before it: runs lack values at some steps. */
function nearest(values, place) {
  for (let at = place; at >= 0; at -= 1) {
    if (values[at] !== null && values[at] !== undefined) return values[at];
  }
  return null;
}

function pointsOf({ plot, names }) {
  const points = {};
  names?.forEach((name, line) => {
    const [steps, values] = [plot.data[0], plot.data[line + 1]];
    const places = [...steps.keys()].filter((at) => values[at] !== null && values[at] !== undefined);
    points[name] = { steps: places.map((at) => steps[at]), values: places.map((at) => values[at]) };
  });
  return points;
}

function describe({ title, text }, names, [steps, ...lines]) {
  const ends = names.map((name, line) => `${name} ${text(nearest(lines[line], steps.length - 1))}`);
  const until = steps.length ? ` up to step ${steps.at(-1)}` : "";
  return `${title} over the steps${until}. Last values: ${ends.join(", ") || "none yet"}.`;
}
