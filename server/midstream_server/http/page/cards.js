// A card for each run: its state, what it waits for, its numbers, and the operator's buttons.

import { shareOfBudget } from "./budget.js";
import { swatch } from "./colours.js";
import { headline } from "./measures.js";
import { story } from "./story.js";
import { decimal, duration, percent, rate, short } from "./numbers.js";

const PATIENCE = 2000; // milliseconds; shorter waits are not shown
const OVER = ["finished", "stopped", "failed"];

const NUMBERS = [
  [({ status }) => titled(headline(status, "test").words), ({ status }) => headline(status, "test").text],
  ["Test loss", ({ status }) => decimal(status.test_loss)],
  [({ status }) => titled(headline(status, "validation").words), ({ status }) => headline(status, "validation").text],
  ["Validation loss", ({ status }) => decimal(status.validation_loss)],
  ["Training loss", ({ status }) => decimal(status.loss)],
  ["Defender moved, of ε", (run) => percent(shareOfBudget(run.history.records.at(-1), run.status))],
  ["Steps per second", (run) => (moves(run) ? rate(run.status.steps_per_second) : "–")],
  ["Examples per second", (run) => (moves(run) ? rate(examplesPerSecond(run.status)) : "–")],
  ["Time left", (run) => (moves(run) ? duration(run.status.seconds_left) : "–")],
];

const BUTTONS = [
  ["pause", "Pause", (state) => state === "waiting" || state === "running"],
  ["resume", "Resume", (state) => state === "paused"],
  ["checkpoint", "Checkpoint", (state) => !OVER.includes(state)],
  ["stop", "Stop…", (state) => !OVER.includes(state)],
];

function titled(words) {
  return words[0].toUpperCase() + words.slice(1);
}

/** Return what a run waits for and for how long, or why it ended; "" while it trains. */
export function situation(run) {
  const { state, reason, waiting_for: waits } = run.status;
  if (OVER.includes(state)) return reason ?? "";
  const since = Date.now() - run.waitsSince;
  return waits && since > PATIENCE ? `waits for ${waits}, ${duration(since / 1000)} so far` : "";
}

/** Return the values that the players last reported, such as a solver's residual; "" if there are none. */
function reported(record) {
  return ["attacker", "defender", "checker"]
    .filter((role) => record?.[role])
    .map((role) => {
      const said = Object.entries(record[role]).map(([name, value]) => `${name.replaceAll("_", " ")} ${short(value)}`);
      return `${role}: ${said.join(", ")}`;
    })
    .join(" · ");
}

/** Return how often a player failed, or was resumed with a memory that did not match; "" if never. */
function failures({ passed_clean: passed, resumed_anyway: resumed, step }) {
  const failed = Object.entries(passed)
    .filter(([, count]) => count > 0)
    .map(([role, count]) => `the ${role} failed at ${count} of ${step} batches, which were passed on unchanged`);
  const lost = Object.entries(resumed)
    .filter(([, count]) => count > 0)
    .map(([role, count]) => `the ${role} was resumed ${count}× although its memory did not match the run`);
  return [...failed, ...lost].join(" · ");
}

function moves(run) {
  return run.status.state === "running" && situation(run) === "";
}

function examplesPerSecond({ steps_per_second: steps, train_size: size, steps_per_epoch: parts }) {
  return steps === null ? null : (steps * size) / parts;
}

/** Make a run's card; its controls call `act(name, action)` and `choose(name, shown)`. */
export function makeCard(name, number, { act, choose, shown: isShown }) {
  const card = element("article", { className: "card" });
  const id = `run-${number}-name`;
  card.dataset.run = name;
  card.setAttribute("aria-labelledby", id);
  const shown = element("input", { type: "checkbox", checked: isShown });
  shown.addEventListener("change", () => choose(name, shown.checked));
  const label = element("label", { title: "Show its curves and pictures" });
  label.append(shown, swatch(number), element("span", { id, textContent: name }));
  const heading = element("h3");
  const state = element("span", { className: "state" });
  heading.append(label, state);
  const progress = element("progress", { ariaLabel: `Steps of ${name}` });
  const steps = element("p", { className: "steps" });
  const waits = element("p", { className: "waits" });
  const about = element("p", { className: "about" });
  const told = element("p", { className: "story" });
  const reports = element("p", { className: "about reports" });
  const list = element("dl");
  const values = NUMBERS.map(([term]) => {
    const value = element("dd");
    const pair = element("div");
    pair.append(element("dt", { textContent: typeof term === "string" ? term : "" }), value);
    list.append(pair);
    return value;
  });
  const buttons = element("p", { className: "buttons" });
  const controls = BUTTONS.map(([action, text]) => {
    const button = element("button", { type: "button", textContent: text, ariaLabel: `${text} ${name}` });
    button.dataset.action = action;
    button.addEventListener("click", () => {
      if (button.ariaDisabled !== "true") act(name, action);
    });
    buttons.append(button);
    return button;
  });
  card.append(heading, progress, steps, waits, told, list, reports, about, buttons);
  return { card, state, progress, steps, waits, told, about, reports, values, controls };
}

/** Write a run's state into its card; `steers` says whether the user may use its buttons, `all` are `[{name, run}]`. */
export function fillCard(parts, run, steers, all) {
  const { status } = run;
  parts.card.dataset.state = status.state;
  write(parts.state, status.state);
  parts.progress.max = status.total_steps;
  parts.progress.value = status.step;
  write(parts.steps, `step ${status.step} of ${status.total_steps}, epoch ${status.epoch}`);
  write(parts.waits, situation(run));
  const { dataset, defender, checker, epsilon, norm, seed } = status.specification;
  const attacker = status.attacker ?? "none announced";
  const checked = checker === null ? "" : ` · checker ${checker}`;
  const players = `attacker ${attacker} · defender ${defender}${checked} · ε ${epsilon} ${norm}`;
  write(parts.about, `${dataset} · ${players} · ${trainedBy(status.specification)} · seed ${seed}`);
  write(parts.told, story(status.name, run, all));
  const reports = [failures(status), reported(run.history.records.at(-1))];
  write(parts.reports, reports.filter((text) => text !== "").join(" · "));
  NUMBERS.forEach(([term, value], place) => {
    write(parts.values[place], value(run));
    if (typeof term !== "string") write(parts.values[place].previousSibling, term(run));
  });
  // Not `disabled`, so that a button that was just pressed keeps the keyboard focus.
  BUTTONS.forEach(([, , usable], place) => {
    parts.controls[place].ariaDisabled = String(!steers || !usable(status.state));
  });
}

/** What a run trains by: its optimizer, learning rate, and what is set of the rest. */
function trainedBy({ optimizer, learning_rate, schedule, clip_norm, accumulate, augment, augment_at }) {
  const set = [
    `${optimizer}, learning rate ${learning_rate}`,
    schedule && `${schedule}`,
    clip_norm && `gradient clipped to ${clip_norm}`,
    accumulate && `steps on ${accumulate} minibatches`,
    augment && `${augment} ${augment_at ?? "before"} the defence`,
  ];
  return set.filter(Boolean).join(", ");
}

function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function element(name, properties = {}) {
  return Object.assign(document.createElement(name), properties);
}
