// A step's use of the defender's budget, for the cards and the charts.

/** Return the mean distance that the defender moved a step's inputs, as a share of ε; null without a budget. */
export function shareOfBudget(record, status) {
  const epsilon = status.specification.epsilon;
  return record && epsilon > 0 ? record.correction / epsilon : null;
}
