// The dashboard: the server's runs, redrawn at most once per frame.

import { askJson, keepToken, runPath } from "./api.js";
import { fillCard, makeCard, situation } from "./cards.js";
import { Charts } from "./charts.js";
import { follow } from "./live.js";
import { Mistakes } from "./mistakes.js";
import { Pictures } from "./pictures.js";
import { Pipeline } from "./pipeline.js";
import { Start } from "./start.js";
import { readView, writeView } from "./view.js";

const at = (id) => document.getElementById(id);
const runs = new Map(); // by name; filled by `follow`
const cards = new Map(); // by name
const view = readView();
const hidden = new Set(view.hidden); // runs whose curves and pictures the user has hidden
const charts = new Charts(at("charts"), at("reading"));
const pictures = new Pictures(at("pictures"), at("epoch"), at("epoch-shown"));
const mistakes = new Mistakes(at("mistakes"), changed);
const pipeline = new Pipeline(at("pipeline"), at("pipeline-run"), at("pipeline-status"), changed);
const start = new Start(at("start-section"), at("start"), say);
let role = null;
let away = new Date(); // when the connection was lost; null while there is one
let numbers = 0; // runs seen so far; a run's number gives it its colour
let drawing = false;

function draw() {
  drawing = false;
  for (const [name, { card }] of cards) {
    if (!runs.has(name)) {
      cards.delete(name);
      card.remove();
    }
  }
  for (const name of runs.keys()) if (!cards.has(name)) addCard(name);
  fillCards();
  at("no-runs").hidden = runs.size > 0 || away || !at("start-section").hidden;
  const shown = [...runs]
    .filter(([name]) => !hidden.has(name))
    .map(([name, run]) => ({ name, run, number: cards.get(name).number }));
  at("pipeline-section").hidden = runs.size === 0;
  pipeline.show([...runs].map(([name, run]) => ({ name, run })), situation);
  writeView({ explain: at("explanations").checked, hidden, run: pipeline.name });
  charts.draw(shown);
  pictures.show(shown);
  at("mistakes-section").hidden = !mistakes.show(shown);
  at("pictures-section").hidden = !shown.some(({ run }) => run.status.samples.length > 0);
}

function fillCards() {
  const steers = role === "operator" && !away;
  const all = [...runs].map(([name, run]) => ({ name, run }));
  for (const [name, card] of cards) if (runs.has(name)) fillCard(card, runs.get(name), steers, all);
}

function changed() {
  if (!drawing) requestAnimationFrame(draw);
  drawing = true;
}

function addCard(name) {
  const number = numbers;
  numbers += 1;
  const card = makeCard(name, number, { act, choose, shown: !hidden.has(name) });
  cards.set(name, { ...card, number });
  at("runs").append(card.card);
}

function choose(name, wanted) {
  if (wanted) hidden.delete(name);
  else hidden.add(name);
  changed();
}

async function act(name, action) {
  if (action === "stop" && !(await sureToStop(name))) return;
  try {
    const answer = await askOf(name, action);
    const done = { pause: "is paused", resume: "goes on", stop: "is stopped" }[action];
    say(done ? `${name} ${done}.` : `Checkpoint of ${name} at step ${answer.step}: ${answer.file}`);
  } catch (error) {
    say(`${name}: ${error.message}`);
  }
}

function askOf(name, action) {
  return askJson(runPath(name, `/${action}`), { method: "POST" });
}

function say(text) {
  at("message").textContent = text;
}

async function sureToStop(name) {
  at("stop-name").textContent = name;
  return (await answerOf(at("stop-dialog"))) === "stop";
}

function answerOf(dialog) {
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((done) => {
    dialog.addEventListener("close", () => done(dialog.returnValue), { once: true });
  });
}

async function askForToken(why) {
  at("token-problem").textContent = why;
  if ((await answerOf(at("token-dialog"))) !== "use") return false;
  keepToken(at("token").value.trim());
  at("token").value = "";
  return true;
}

async function needToken(why) {
  if (at("token-dialog").open || !(await askForToken(why))) await new Promise(() => {}); // the user continues with the Token… button
}

async function connected(error) {
  away = error === null ? null : (away ?? new Date());
  document.body.dataset.connection = away ? "away" : "live";
  if (error?.status === 401) {
    at("connection").textContent = "Waiting for a token";
  } else if (away) {
    at("connection").textContent = `No connection to the server since ${away.toLocaleTimeString()}; trying again. \
Runs resume by themselves once the server is back.`;
  } else {
    at("connection").textContent = "Live";
    charts.forget();
    pictures.forget();
    mistakes.forget();
    role = (await askJson("v1/role").catch(() => null))?.role ?? null;
    at("role").textContent = role === "operator" ? "" : `${role}: only the operator's token can control runs`;
    await start.offer(role);
  }
  changed();
}

at("explanations").addEventListener("change", explain);

function explain() {
  if (at("explanations").checked) document.body.dataset.explain = "";
  else delete document.body.dataset.explain;
  changed();
}

at("explanations").checked = view.explain;
pipeline.choose(view.run);
explain();
at("show-token").addEventListener("click", async () => {
  if (await askForToken("")) location.reload();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  charts.forget();
  changed();
});
setInterval(changed, 1000); // to update how long each run has been waiting
follow(runs, { changed, connected, needToken });

// The charts' numbers, for the browser's console: `midstream.drawn().test_accuracy.RUN.values`.
globalThis.midstream = { drawn: () => charts.drawn() };
