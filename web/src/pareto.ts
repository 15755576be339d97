// The trials that no other trial beats in both energy and accuracy.

export interface Measured {
  energy: number;
  accuracy: number;
}

/**
 * The front in ascending energy, so in strictly ascending accuracy: less energy is better, more accuracy is better.
 * Of equal trials the first stays.
 */
export function paretoFront<T extends Measured>(trials: readonly T[]): T[] {
  const byEnergy = trials
    .map((trial, order) => ({ trial, order }))
    .filter(({ trial }) => Number.isFinite(trial.energy) && Number.isFinite(trial.accuracy))
    .sort((a, b) => a.trial.energy - b.trial.energy || b.trial.accuracy - a.trial.accuracy || a.order - b.order);
  const front: T[] = [];
  for (const { trial } of byEnergy) {
    const last = front[front.length - 1];
    if (last === undefined || trial.accuracy > last.accuracy) front.push(trial);
  }
  return front;
}
