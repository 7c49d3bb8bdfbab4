// One run's records: what the server thinned for us, and the steps that came since.

import { askJson, runPath } from "./api.js";

export const POINTS = 2000;

export class History {
  records = [];
  #name;
  #early = null; // steps that come while the history is being read
  #since = 0; // records that nobody thinned
  #reading = 0;

  constructor(name) {
    this.#name = name;
  }

  get last() {
    return this.records.at(-1)?.step ?? 0;
  }

  /** Read the history anew. Steps that come meanwhile wait, so that none is missed and none counts twice. */
  async read() {
    const reading = ++this.#reading;
    this.#early ??= [];
    const { records } = await askJson(runPath(this.#name, `/metrics?points=${POINTS}`));
    if (reading !== this.#reading) return; // a later one is under way
    const early = this.#early;
    this.records = records;
    this.#early = null;
    this.#since = 0;
    for (const record of early) this.add(record);
  }

  /** Add a step; return whether there are now so many that the history should be read again, thinned. */
  add(record) {
    if (this.#early) {
      this.#early.push(record);
      return false;
    }
    if (record.step <= this.last) return false;
    this.records.push(record);
    if (record.test_accuracy === null) this.#since += 1;
    return this.#since > POINTS;
  }
}
