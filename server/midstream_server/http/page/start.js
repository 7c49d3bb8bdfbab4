// Start here: an operator starts a game, or three to compare, if the server offers it.

import { askJson } from "./api.js";

const ASK_EVERY = 2000; // milliseconds, while a game is played
const SET = { attacker: "level-1", defender: "level-1" }; // what the form suggests

export class Start {
  #section;
  #form;
  #say;
  #offered = null;
  #told = new Set(); // problems that the user has been told
  #timer = null;

  constructor(section, form, say) {
    [this.#section, this.#form, this.#say] = [section, form, say];
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#start(event.submitter?.value === "compare");
    });
    form.elements.dataset.addEventListener("change", () => this.#suggest());
  }

  /** Show the form if the user may start games on this server. */
  async offer(role) {
    const { offered } = await askJson("v1/games").catch(() => ({ offered: null }));
    this.#section.hidden = role !== "operator" || !offered;
    if (this.#section.hidden) return;
    if (!this.#offered) this.#fill(offered);
    this.#watch();
  }

  #fill(offered) {
    this.#offered = offered;
    const { dataset, attacker, defender } = this.#form.elements;
    dataset.replaceChildren(...offered.datasets.map(({ name }) => new Option(name)));
    attacker.replaceChildren(...offered.attackers.map((name) => new Option(name)));
    defender.replaceChildren(...offered.defenders.map((name) => new Option(name)));
    [attacker.value, defender.value] = [SET.attacker, SET.defender];
    this.#suggest();
  }

  #suggest() {
    const { dataset, epsilon, epochs } = this.#form.elements;
    const chosen = this.#offered.datasets.find(({ name }) => name === dataset.value);
    [epsilon.value, epochs.value] = [chosen.epsilon, chosen.epochs];
  }

  async #start(compare) {
    const { dataset, attacker, defender, epsilon, seed, epochs } = this.#form.elements;
    const asked = {
      dataset: dataset.value,
      attacker: attacker.value,
      defender: defender.value,
      epsilon: epsilon.valueAsNumber,
      seed: seed.valueAsNumber,
      epochs: epochs.valueAsNumber,
      compare,
    };
    try {
      const { runs } = await askJson("v1/games", { method: "POST", json: asked });
      this.#say(`Started ${runs.join(", ")}. The first minibatch comes in a few seconds.`);
      this.#watch();
    } catch (error) {
      this.#say(`No game was started: ${error.message}`);
    }
  }

  /** Ask for the games until none is played, and tell the user of a problem once. */
  async #watch() {
    clearTimeout(this.#timer);
    const { games } = await askJson("v1/games").catch(() => ({ games: [] })); // offer() asks again after a break
    for (const { run, problem } of games) {
      if (!problem || this.#told.has(`${run} ${problem}`)) continue;
      this.#told.add(`${run} ${problem}`);
      this.#say(`${run}: ${problem}`);
    }
    if (games.some(({ playing }) => playing)) this.#timer = setTimeout(() => this.#watch(), ASK_EVERY);
  }
}
