// The pictures of each run, side by side: the newest, or those of the chosen batch.

import { ask, askJson, runPath } from "./api.js";

export class Pictures {
  #place;
  #slider;
  #output;
  #figures = new Map(); // by run name: {figure, rows, heads, before, image, guesses, caption, seq, loading}
  #newest = true;
  #known = [];
  #shown = [];

  constructor(place, slider, output) {
    this.#place = place;
    this.#slider = slider;
    this.#output = output;
    slider.addEventListener("input", () => {
      this.#newest = slider.valueAsNumber === this.#known.length - 1;
      this.show(this.#shown);
    });
  }

  /** Show the pictures of the runs `[{name, run}]`. */
  show(shown) {
    this.#shown = shown;
    this.#known = [...new Set(shown.flatMap(({ run }) => run.status.samples))].sort((a, b) => a - b);
    const last = Math.max(this.#known.length - 1, 0);
    this.#slider.max = last;
    if (this.#newest) this.#slider.value = last;
    const chosen = this.#known[this.#slider.valueAsNumber];
    const text = chosen === undefined ? "no pictures yet" : `${chosen}${this.#newest ? ", the newest" : ""}`;
    if (this.#output.value !== text) this.#output.value = text;
    this.#slider.ariaValueText = text;
    this.#slider.disabled = last === 0;
    const names = new Set(shown.map(({ name }) => name));
    for (const [name, { figure }] of this.#figures) {
      if (!names.has(name)) {
        this.#figures.delete(name);
        figure.remove();
      }
    }
    for (const { name, run } of shown) this.#showOne(name, run.status, chosen);
  }

  /** Reload the shown pictures: after a break, another server may respond. */
  forget() {
    for (const parts of this.#figures.values()) parts.seq = null;
  }

  #showOne(name, { samples, clean, specification }, chosen) {
    const seq = samples.findLast((sample) => sample <= chosen) ?? null;
    const parts = this.#figures.get(name) ?? this.#add(name);
    if (seq === null) {
      parts.figure.hidden = true;
    } else if (parts.seq !== seq && !parts.loading) {
      this.#load(parts, name, seq, { defender: specification.defender, clean });
    }
  }

  #add(name) {
    const figure = document.createElement("figure");
    const image = document.createElement("img");
    const caption = document.createElement("figcaption");
    figure.hidden = true;
    const guesses = document.createElement("ol");
    const rows = document.createElement("div");
    rows.className = "rows";
    const heads = columns(["x", "δ"]);
    const before = document.createElement("img");
    heads.hidden = before.hidden = true;
    rows.append(heads, columns(["x′", "σ", "x″"]), note("predicted"), before, image, guesses);
    figure.append(caption, rows);
    this.#place.append(figure);
    const parts = { figure, rows, heads, before, image, guesses, caption, seq: null, loading: false };
    this.#figures.set(name, parts);
    return parts;
  }

  async #load(parts, name, seq, { defender, clean }) {
    parts.loading = true;
    parts.seq = seq;
    try {
      const picture = await (await ask(runPath(name, `/samples/${seq}`))).blob();
      const guesses = await askJson(runPath(name, `/samples/${seq}/predictions`));
      const drawn = clean && (await ask(runPath(name, `/samples/${seq}/clean`)).catch(() => null));
      const before = drawn && (await drawn.blob());
      parts.heads.hidden = parts.before.hidden = !before;
      parts.rows.classList.toggle("with-clean", Boolean(before));
      if (before) show(parts.before, before, "The same examples before the attack, and its perturbation.");
      const described = `Examples of batch ${seq} of run ${name}, one per row: the input as it arrived, the
        correction of defender ${defender}, and the input as trained on.`;
      show(parts.image, picture, described.replace(/\s+/g, " "));
      parts.guesses.replaceChildren(...guesses.labels.map((label, row) => guess(label, row, guesses)));
      parts.caption.textContent = `${name}, batch ${seq}`;
      parts.figure.hidden = false;
    } catch {
      parts.seq = null; // the next change tries again
    } finally {
      parts.loading = false;
    }
  }
}

function show(image, picture, description) {
  const old = image.src;
  image.src = URL.createObjectURL(picture);
  if (old) URL.revokeObjectURL(old);
  image.alt = description;
}

/** Return a row's label with the model's predictions for the input as it arrived and as trained on. */
function guess(label, row, { received, defended }) {
  const line = note(`${label}: `, "li");
  [["x′", received[row]], ["x″", defended[row]]].forEach(([what, taken], place) => {
    if (place) line.append(", ");
    line.append(note(`${what} ${taken}`, taken === label ? "span" : "strong"));
  });
  return line;
}

function note(text, kind = "span") {
  return Object.assign(document.createElement(kind), { textContent: text });
}

function columns(names) {
  const heads = document.createElement("p");
  heads.className = "columns";
  heads.classList.add(`of-${names.length}`);
  for (const text of names) heads.append(Object.assign(document.createElement("span"), { textContent: text }));
  return heads;
}
