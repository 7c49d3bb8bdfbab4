// The server's runs, updated over one event stream that reconnects whenever it breaks.

import { ask, askJson, Refused } from "./api.js";
import { eventsOf } from "./events.js";
import { History } from "./history.js";

const SILENCE = 30000; // milliseconds; the server sends something every ten seconds
const LONGEST_WAIT = 5000;

/**
 * Follow every run while the page is open.
 *
 * `runs` maps a name to `{status, history, waitsSince}`. `changed()` is called after every change of it.
 * `connected(error)` is called with null once the stream is open, and with the error when it breaks.
 * `needToken(why)` is called when the server requires a token; it resolves when there is one to try.
 */
export async function follow(runs, { changed, connected, needToken }) {
  for (let failures = 0; ; failures += 1) {
    try {
      await stream(runs, changed, () => {
        failures = 0;
        connected(null);
      });
      connected(new Error("the stream of events ended"));
    } catch (error) {
      connected(error);
      if (error instanceof Refused && error.status === 401) {
        await needToken(error.message);
        failures = -1;
        continue;
      }
    }
    await sleep(Math.min(250 * 2 ** failures, LONGEST_WAIT));
  }
}

async function stream(runs, changed, stands) {
  const giveUp = new AbortController();
  const silent = () => setTimeout(() => giveUp.abort(new Error("the server stopped sending events")), SILENCE);
  let silence = silent();
  try {
    const response = await ask("v1/events", { signal: giveUp.signal });
    let begun = false;
    for await (const event of eventsOf(response)) {
      clearTimeout(silence);
      silence = silent();
      if (!begun) {
        // Read only once the stream has begun, so that no step falls between the two.
        begun = true;
        await readAll(runs, changed);
        stands();
      }
      if (event?.kind === "status") learn(runs, event.data, changed);
      if (event?.kind === "step") step(runs, event.data, changed);
      if (event) changed();
    }
  } finally {
    clearTimeout(silence);
    giveUp.abort();
  }
}

/** Read every run and its history again: after a break it may be another server, or one at an earlier step. */
async function readAll(runs, changed) {
  const found = (await askJson("v1/runs")).runs;
  const names = new Set(found.map((status) => status.name));
  for (const name of runs.keys()) if (!names.has(name)) runs.delete(name);
  for (const status of found) {
    learn(runs, status, null);
    await runs.get(status.name).history.read().catch((error) => {
      if (error.status !== 409) throw error; // a run that was set aside has no history
    });
    changed();
  }
  changed();
}

function learn(runs, status, changed) {
  let run = runs.get(status.name);
  const isNew = run === undefined;
  if (isNew) {
    run = { history: new History(status.name), status: {}, waitsSince: 0 };
    runs.set(status.name, run);
  }
  if (run.status.waiting_for !== status.waiting_for) run.waitsSince = Date.now();
  run.status = status;
  if (isNew && changed) readAgain(run, changed);
}

function step(runs, record, changed) {
  const run = runs.get(record.run);
  if (run?.history.add(record)) readAgain(run, changed);
}

function readAgain(run, changed) {
  // If the server is gone, the stream breaks as well, and `readAll` follows once it is open again.
  run.history.read().then(changed, (error) => {
    if (error.status === 503) setTimeout(readAgain, 1000, run, changed);
  });
}

function sleep(milliseconds) {
  return new Promise((done) => setTimeout(done, milliseconds));
}
