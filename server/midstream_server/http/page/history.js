// One run's records: the history that the server downsampled, and the steps after it.

import { askJson, runPath } from "./api.js";

export const POINTS = 2000;

export class History {
  records = [];
  #name;
  #early = null; // steps that arrive while the history is being read
  #since = 0; // unevaluated records added since the last downsampled read
  #reading = 0;

  constructor(name) {
    this.#name = name;
  }

  get last() {
    return this.records.at(-1)?.step ?? 0;
  }

  /** Read the history again. Steps that arrive meanwhile are queued, so none is missed or added twice. */
  async read() {
    const reading = ++this.#reading;
    this.#early ??= [];
    const { records } = await askJson(runPath(this.#name, `/metrics?points=${POINTS}`));
    if (reading !== this.#reading) return; // a later read has begun
    const early = this.#early;
    this.records = records;
    this.#early = null;
    this.#since = 0;
    for (const record of early) this.add(record);
  }

  /** Add a step; return whether there are now so many that the history should be read again, downsampled. */
  add(record) {
    if (this.#early) {
      this.#early.push(record);
      return false;
    }
    if (record.step <= this.last) return false;
    this.records.push(record);
    if (record.test_loss === null) this.#since += 1;
    return this.#since > POINTS;
  }
}
