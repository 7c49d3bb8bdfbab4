// Where each run's model fails: a confusion matrix, and test images with what they are taken for.

import { askJson, runPath } from "./api.js";
import { percent } from "./numbers.js";

const EVERY = 1000; // milliseconds between two readings of one run
const SHADES = 5;

export class Mistakes {
  #place;
  #changed;
  #figures = new Map(); // by run name: {figure, caption, table, images, step, loading}

  constructor(place, changed) {
    [this.#place, this.#changed] = [place, changed];
  }

  /** Show the newest evaluation of the runs `[{name, run}]`; return whether there is one. */
  show(shown) {
    const names = new Set(shown.map(({ name }) => name));
    for (const [name, { figure }] of this.#figures) {
      if (names.has(name)) continue;
      this.#figures.delete(name);
      figure.remove();
    }
    for (const { name, run } of shown) {
      const step = run.history.records.findLast((record) => typeof record.test_accuracy === "number")?.step;
      if (step === undefined) continue;
      const parts = this.#figures.get(name) ?? this.#add(name);
      if (parts.step !== step && !parts.loading) this.#load(parts, name, step);
    }
    return this.#figures.size > 0;
  }

  /** Reload what is shown: after a break, another server may respond. */
  forget() {
    for (const parts of this.#figures.values()) parts.step = null;
  }

  #add(name) {
    const figure = element("figure", { hidden: true });
    const caption = element("figcaption");
    // These stay when their content is replaced, so that a table that is being scrolled keeps the keyboard focus.
    const table = element("div", { className: "wide", tabIndex: 0, role: "region", ariaLabel: `Confusion matrix of ${name}` });
    const images = element("ul", { className: "failing", ariaLabel: `Test images that ${name} fails at` });
    figure.append(caption, table, images);
    this.#place.append(figure);
    const parts = { figure, caption, table, images, step: null, loading: false };
    this.#figures.set(name, parts);
    return parts;
  }

  async #load(parts, name, step) {
    parts.loading = true;
    try {
      const found = await askJson(runPath(name, "/mistakes"));
      parts.step = step;
      parts.caption.textContent = `${name}, step ${found.step}: ${found.wrong} of ${found.total} test images are taken for \
another class (${percent(found.wrong / found.total)})`;
      const images = await failing(found);
      parts.table.replaceChildren(found.confusion ? matrix(found) : pairs(found));
      parts.images.replaceChildren(...images);
      parts.figure.hidden = false;
    } catch {
      parts.step = null; // the next change tries again
    } finally {
      setTimeout(() => {
        parts.loading = false;
        this.#changed();
      }, EVERY);
    }
  }
}

/** Return the confusion matrix as a table; a darker cell is a larger share of its row. */
function matrix({ confusion, classes }) {
  const table = element("table", { className: "confusion" });
  table.append(element("caption", { textContent: "Rows: the true class. Columns: what it is taken for." }));
  const head = element("tr");
  head.append(element("td"), ...confusion.map((_, column) => heading(classes[column] ?? column, "col")));
  const rows = confusion.map((counts, row) => {
    const line = element("tr");
    const sum = counts.reduce((all, count) => all + count, 0) || 1;
    const cells = counts.map((count, column) => {
      const cell = element("td", { textContent: count || "" });
      if (count) cell.className = `${row === column ? "right" : "wrong"} shade-${Math.ceil((SHADES * count) / sum)}`;
      return cell;
    });
    line.append(heading(classes[row] ?? row, "row"), ...cells);
    return line;
  });
  const body = element("tbody");
  body.append(...rows);
  const top = element("thead");
  top.append(head);
  table.append(top, body);
  return table;
}

/** Return the most frequent mistakes as a list, for a data set with many classes. */
function pairs({ pairs: most, classes }) {
  const list = element("ol");
  for (const [label, taken, count] of most) {
    list.append(element("li", { textContent: `${classes[label]} taken for ${classes[taken] ?? taken}: ${count}` }));
  }
  return list;
}

/** Return list items with the failing images, each with its class and what it is taken for. */
async function failing({ picture, labels, predicted, classes }) {
  if (!picture) return [];
  const bytes = Uint8Array.from(atob(picture), (letter) => letter.charCodeAt(0));
  const strip = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
  const width = strip.width / labels.length;
  const items = labels.map((label, place) => {
    const canvas = element("canvas", { width, height: strip.height });
    canvas.ariaHidden = "true"; // the text beside it says what is known of it
    canvas.getContext("2d").drawImage(strip, -place * width, 0);
    const item = element("li");
    const taken = element("strong", { textContent: classes[predicted[place]] ?? predicted[place] });
    const words = element("span");
    words.append(`${classes[label]}, taken for `, taken);
    item.append(canvas, words);
    return item;
  });
  strip.close();
  return items;
}

function heading(text, scope) {
  return element("th", { textContent: text, scope });
}

function element(name, properties = {}) {
  return Object.assign(document.createElement(name), properties);
}
