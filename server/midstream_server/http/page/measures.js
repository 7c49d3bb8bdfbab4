// The measures of a run's task: accuracies, or what another task than classification has instead.

import { decimal, percent } from "./numbers.js";

const HEADLINES = {
  classification: ["accuracy", "accuracy", percent],
  regression: ["r2", "R²", decimal],
  "multi-label": ["average_precision", "mean average precision", percent],
};

/** Return whether a run learns one of these tasks. */
export function learns(...tasks) {
  return ({ status }) => tasks.includes(status.task ?? "classification");
}

/** Return a measure of a status or a record, such as `test_r2`; null if it has none. */
export function measured(found, name) {
  return found[name] ?? found.measures?.[name] ?? null;
}

/** Return the measure that a run is judged by, `{words, value, text}`, on the part `test` or `validation`. */
export function headline(status, part) {
  const [name, words, text] = HEADLINES[status.task ?? "classification"];
  const value = measured(status, `${part}_${name}`);
  return { words: `${part} ${words}`, value, text: text(value) };
}

/** Return the measure of the test set in a record that its run is judged by; null if it was not evaluated. */
export function judged(record) {
  const values = Object.values(HEADLINES).map(([name]) => measured(record, `test_${name}`));
  return values.find((value) => value !== null) ?? null;
}
