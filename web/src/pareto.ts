// The trials that no other trial beats in both cost and what they are judged by.

export interface Measured {
  cost: number; // energy, bits
  value: number; // of the metric
}

/**
 * The front in ascending cost, so in strictly ascending value, or descending where less of that is better: less cost
 * always is. Of equal trials the first stays.
 */
export function paretoFront<T extends Measured>(trials: readonly T[], isMaximised = true): T[] {
  const sign = isMaximised ? 1 : -1;
  const byCost = trials
    .map((trial, order) => ({ trial, order, gain: sign * trial.value }))
    .filter(({ trial, gain }) => Number.isFinite(trial.cost) && Number.isFinite(gain))
    .sort((a, b) => a.trial.cost - b.trial.cost || b.gain - a.gain || a.order - b.order);
  const front: T[] = [];
  let best = -Infinity;
  for (const { trial, gain } of byCost) {
    if (gain <= best) continue;
    best = gain;
    front.push(trial);
  }
  return front;
}
