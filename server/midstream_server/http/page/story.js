// What an attack has cost a run, and what its defender has won back, in words.

import { judged } from "./measures.js";
import { percent } from "./numbers.js";

const SAME = [
  ...["dataset", "image_size", "model", "batch_norm", "loss", "seed", "batch_size", "train_size", "pixel_range"],
  ...["optimizer", "learning_rate", "schedule", "clip_norm", "accumulate", "augment", "augment_at"],
];

/** Return one sentence on a run beside the others of the server, `[{name, run}]`; "" if no other fits. */
export function story(name, run, others) {
  const alike = others.filter((other) => other.name !== name && comparable(run, other.run));
  const clean = alike.find(({ run: other }) => !isAttacked(other) && !isDefended(other));
  if (!isAttacked(run) || !clean) return "";
  if (!isDefended(run)) {
    const found = both(run, clean.run);
    return found && `The attack has cost ${points(found.theirs - found.ours)} by step ${found.step}: \
${percent(found.ours)} here, ${percent(found.theirs)} in ${clean.name}.`;
  }
  const attacked = alike.find(({ run: other }) => isAttacked(other) && !isDefended(other) && other.status.attacker === run.status.attacker);
  if (!attacked) return "";
  const found = both(run, attacked.run, clean.run);
  if (!found) return "";
  const [lost, won] = [found.clean - found.theirs, found.ours - found.theirs];
  return `Of the ${points(lost)} that the attack costs by step ${found.step}, the defender \
${won < 0 ? `won back none: it is ${points(-won)} behind ${attacked.name}` : `won back ${points(won)}`}.`;
}

function isAttacked({ status }) {
  return status.attacker !== null;
}

function isDefended({ status }) {
  return status.specification.defender !== "none";
}

function comparable(run, other) {
  const [ours, theirs] = [run.status, other.status];
  // A schedule depends on the number of steps; without one, runs of different length are alike as far as both go.
  if (ours.specification.schedule && ours.total_steps !== theirs.total_steps) return false;
  return SAME.every((key) => JSON.stringify(ours.specification[key]) === JSON.stringify(theirs.specification[key]));
}

/** Return the test accuracies, or other headlines, at the last step that all of the runs have evaluated; "" if there is none. */
function both(run, other, clean = other) {
  const [ours, theirs, cleans] = [run, other, clean].map(({ history }) => accuracies(history.records));
  const step = [...ours.keys()].findLast((at) => theirs.has(at) && cleans.has(at));
  return step === undefined ? "" : { step, ours: ours.get(step), theirs: theirs.get(step), clean: cleans.get(step) };
}

function accuracies(records) {
  return new Map(records.filter((record) => judged(record) !== null).map((record) => [record.step, judged(record)]));
}

function points(share) {
  return `${(100 * share).toFixed(1)} points`;
}
