// The trials that no other trial beats in both energy and what they are judged by.

export interface Measured {
  energy: number;
  value: number; // of the metric
}

/**
 * The front in ascending energy, so in strictly ascending value, or descending where less of that is better: less energy
 * always is. Of equal trials the first stays.
 */
export function paretoFront<T extends Measured>(trials: readonly T[], isMaximised = true): T[] {
  const sign = isMaximised ? 1 : -1;
  const byEnergy = trials
    .map((trial, order) => ({ trial, order, gain: sign * trial.value }))
    .filter(({ trial, gain }) => Number.isFinite(trial.energy) && Number.isFinite(gain))
    .sort((a, b) => a.trial.energy - b.trial.energy || b.gain - a.gain || a.order - b.order);
  const front: T[] = [];
  let best = -Infinity;
  for (const { trial, gain } of byEnergy) {
    if (gain <= best) continue;
    best = gain;
    front.push(trial);
  }
  return front;
}
