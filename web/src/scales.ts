// Axes that are drawn linearly over a transformed value, with ticks at round values.
import { significant } from "./format";

export interface Tick {
  at: number; // position on the transformed axis
  label: string;
}

export interface AxisScale {
  min: number; // transformed
  max: number;
  ticks: Tick[];
  toAxis: (value: number) => number;
  isLinear?: boolean; // not transformed, where others of its kind are logarithmic
}

// Steps within a decade, the roundest first.
const STEPS: readonly (readonly number[])[] = [[1], [2, 5], [3], [1.5, 7], [4, 6, 8, 9], [1.1, 1.2, 1.3, 1.4, 1.6, 1.8]];

/**
 * Round values in [low, high] (both > 0), ascending: rounder ones first, finer ones only while there are fewer than
 * `wanted` and where they do not crowd the axis.
 */
export function logTicks(low: number, high: number, wanted = 4): number[] {
  const gap = Math.log10(high / low) / 9;
  const ticks: number[] = [];
  const fits = (tick: number): boolean =>
    tick >= low && tick <= high && ticks.every((other) => Math.abs(Math.log10(tick / other)) >= gap);
  for (const steps of STEPS) {
    if (ticks.length >= wanted) break;
    for (let decade = Math.floor(Math.log10(low)); decade <= Math.log10(high); ++decade) {
      for (const step of steps) {
        const tick = Number((step * 10 ** decade).toPrecision(3)); // without the dust of powers such as 3e-1
        if (fits(tick)) ticks.push(tick);
      }
    }
  }
  return ticks.sort((a, b) => a - b);
}

function padded(low: number, high: number, part: number): [number, number] {
  const pad = Math.max((high - low) * part, 0.04);
  return [low - pad, high + pad];
}

/** Energy on a logarithmic axis; values > 0, at least one. */
export function energyScale(values: readonly number[], wanted = 4): AxisScale {
  const toAxis = (value: number): number => Math.log10(value);
  const [min, max] = padded(toAxis(Math.min(...values)), toAxis(Math.max(...values)), 0.06);
  const ticks = logTicks(10 ** min, 10 ** max, wanted).map((value) => ({
    at: toAxis(value),
    label: value >= 1000 ? value.toLocaleString("en-US") : String(value),
  }));
  return { min, max, ticks, toAxis };
}

/**
 * Accuracy (0..1) spaced by the logarithm of the error, since 98 -> 99 % matters as much as 80 -> 90 %. An
 * accuracy of 1 is drawn at `smallestError`.
 */
export function accuracyScale(values: readonly number[], smallestError = 1e-4): AxisScale {
  const toAxis = (value: number): number => -Math.log10(Math.max(1 - value, smallestError));
  const [min, max] = padded(toAxis(Math.min(...values)), toAxis(Math.max(...values)), 0.08);
  const floor = Math.max(min, -0.04); // accuracy 0 has position 0
  const ticks = logTicks(10 ** -max, Math.min(10 ** -floor, 1))
    .map((error) => ({ at: -Math.log10(error), label: String(Number((100 - error * 100).toFixed(4))) }))
    .reverse();
  return { min: floor, max, ticks, toAxis };
}

function linearScale(values: readonly number[], wanted: number): AxisScale {
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const around = most > least ? 0 : Math.abs(most) / 2 || 0.5;
  const [low, high] = [least - around, most + around];
  const range = high - low;
  const decade = 10 ** Math.floor(Math.log10(range / wanted));
  const step = decade * ([1, 2, 5].find((part) => part * decade * wanted >= range) ?? 10);
  const [min, max] = [low - 0.06 * range, high + 0.06 * range];
  const ticks: Tick[] = [];
  for (let k = Math.ceil(min / step); k * step <= max; ++k) ticks.push({ at: k * step, label: significant(k * step, 6) });
  return { min, max, ticks, toAxis: (value) => value, isLinear: true };
}

/**
 * Losses and errors on a logarithmic axis. One of 0 is drawn at half of the smallest that is above. Where some are below 0
 * (a Poisson loss may be), the axis is linear.
 */
export function errorScale(values: readonly number[], wanted = 4): AxisScale {
  if (values.some((value) => value < 0)) return linearScale(values, wanted);
  const positive = values.filter((value) => value > 0);
  const least = positive.reduce((low, value) => Math.min(low, value), Infinity);
  const floor = Number.isFinite(least) ? least / 2 : 0.5;
  const clamped = (value: number): number => Math.max(value, floor);
  const scale = energyScale(values.map(clamped), wanted);
  return { ...scale, toAxis: (value) => scale.toAxis(clamped(value)) };
}
