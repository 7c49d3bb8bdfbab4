// Who sits where: the way of one run's minibatches, from the provider to the model.

import { shareOfBudget } from "./budget.js";
import { headline } from "./measures.js";
import { percent, rate } from "./numbers.js";

const PLACES = [
  { key: "provider", title: "Data provider", sends: "x" },
  { key: "attacker", title: "Attacker, the man in the middle", sends: "x′" },
  { key: "defender", title: "Defender, on the server", sends: "x″" },
  { key: "model", title: "Model, on the server", sends: null },
];
const TRAVEL = 900; // milliseconds that a minibatch is seen travelling

/** What stands in each place: the line below its title, and further facts for those who open it. */
const FACTS = {
  provider: ({ status }) => {
    const { dataset, batch_size: size, seed } = status.specification;
    return [dataset, [
      ["minibatches", `${size} of ${status.train_size} examples, in an order drawn with seed ${seed}`],
      ["rate", status.state === "running" ? `${rate(status.steps_per_second)} a second` : "–"],
    ]];
  },
  attacker: ({ status }) => [status.attacker ?? "none has announced itself", [
    ["reads", status.specification.access === "white-box" ? "the parameters θ and the validation gradient v" : "nothing of the model; it attacks a surrogate"],
    ["does", "moves each example x to x′, within its budget"],
    ["failed at", `${status.passed_clean.attacker} batches, which it passed on unchanged`],
  ]],
  defender: (run) => {
    const { defender, epsilon, norm } = run.status.specification;
    return [`${defender} · ε ${epsilon} ${norm}`, [
      ["reads", "the model, and the validation examples, which it trusts"],
      ["does", "moves each example x′ to x″, within its budget; it does not know which ones were attacked"],
      ["moved the last batch by", `${percent(shareOfBudget(run.history.records.at(-1), run.status))} of its budget`],
    ]];
  },
  model: ({ status }) => {
    const { model, optimizer, learning_rate: step } = status.specification;
    return [`${model}, version ${status.step}`, [
      ["takes", `a step of ${optimizer}, learning rate ${step}, on x″`],
      [headline(status, "test").words, headline(status, "test").text],
    ]];
  },
};

export class Pipeline {
  #places = {};
  #list;
  #select;
  #status;
  #step = null;
  #name = null;
  #until = 0;

  constructor(list, select, status, changed) {
    [this.#list, this.#select, this.#status] = [list, select, status];
    for (const place of PLACES) list.append(this.#place(place));
    select.addEventListener("change", () => {
      this.#name = select.value;
      changed();
    });
  }

  get name() {
    return this.#name;
  }

  /** Choose a run by its name, whether it exists yet or not. */
  choose(name) {
    this.#name = name;
  }

  /** Show the chosen run of `[{name, run}]`: a running one, or the first, if none was chosen. */
  show(shown, waits) {
    const names = shown.map(({ name }) => name);
    if (this.#select.dataset.names !== names.join(" ")) {
      this.#select.replaceChildren(...names.map((name) => new Option(name)));
      this.#select.dataset.names = names.join(" ");
    }
    const one = shown.find(({ name }) => name === this.#name)
      ?? shown.find(({ run }) => run.status.state === "running") ?? shown[0];
    if (!one) return;
    if (this.#select.value !== one.name) this.#select.value = one.name;
    for (const { key } of PLACES) this.#fill(key, FACTS[key](one.run));
    const text = waits(one.run) || `${one.run.status.state}, step ${one.run.status.step} of ${one.run.status.total_steps}`;
    if (this.#status.textContent !== text) this.#status.textContent = text;
    this.#travel(one);
  }

  #place({ key, title, sends }) {
    const item = document.createElement("li");
    item.dataset.place = key;
    const details = document.createElement("details");
    const summary = document.createElement("summary");
    const heading = Object.assign(document.createElement("span"), { className: "title", textContent: title });
    const line = Object.assign(document.createElement("span"), { className: "line" });
    const facts = document.createElement("dl");
    summary.append(heading, line);
    details.append(summary, facts);
    item.append(details);
    if (sends) item.append(Object.assign(document.createElement("span"), { className: "sends", textContent: sends }));
    this.#places[key] = { line, facts, written: "" };
    return item;
  }

  #fill(key, [line, facts]) {
    const place = this.#places[key];
    const written = JSON.stringify([line, facts]);
    if (written === place.written) return;
    place.written = written;
    place.line.textContent = line;
    place.facts.replaceChildren(...facts.flatMap(([term, text]) => [
      Object.assign(document.createElement("dt"), { textContent: term }),
      Object.assign(document.createElement("dd"), { textContent: text }),
    ]));
  }

  /** Let a minibatch travel along the arrows: one at a time, however fast the run is. */
  #travel({ name, run }) {
    const step = `${name} ${run.status.step} ${run.history.last}`;
    const now = performance.now();
    if (step === this.#step || now < this.#until) return;
    if (this.#step !== null && run.status.state === "running") {
      this.#until = now + TRAVEL;
      this.#list.classList.remove("travels");
      void this.#list.offsetWidth; // so that the animation begins again
      this.#list.classList.add("travels");
    }
    this.#step = step;
  }
}
