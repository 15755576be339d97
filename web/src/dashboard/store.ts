// The trials that the page knows, and what follows from them.
import { isKnown } from "../format";
import { viewOf } from "../metric";
import type { MetricView } from "../metric";
import { paretoFront } from "../pareto";
import { COMPLETED } from "./protocol";
import type { Message, State } from "./protocol";

export interface Row {
  number: number;
  state: State;
  score: number | undefined;
  metrics: readonly (number | null)[];
  choices: readonly number[];
  epoch: number;
  attempts: number;
  seconds: number;
  reason: string;
}

export interface Measured {
  row: Row;
  cost: number;
  value: number; // of what trials are judged by
}

export class TrialStore {
  rows: Row[] = []; // by number
  metricNames: string[] = [];
  version = 0;
  maxTrials = 0;
  isOver = false;
  trouble = ""; // see Message
  private best_: Row | undefined;
  // What follows from the rows, until the next message.
  private measured_ = new Map<string, Measured[]>();
  private front_ = new Map<string, Measured[]>();

  /** `view`: what the trials are judged by. */
  constructor(readonly view: MetricView = viewOf(undefined)) {}

  /** Takes a message over; returns the numbers of the trials that changed. */
  apply(message: Message): number[] {
    if (message.count < this.rows.length) this.rows = []; // another study took its place
    this.version = message.version;
    this.maxTrials = message.max_trials;
    this.isOver = message.is_over;
    this.trouble = message.trouble;
    this.metricNames = message.metrics;
    for (const [number, state, score, metrics, choices, epoch, attempts, seconds, reason] of message.rows) {
      this.rows[number] = { number, state, score: score ?? undefined, metrics, choices, epoch, attempts, seconds, reason };
    }
    this.measured_.clear();
    this.front_.clear();
    this.best_ = undefined;
    for (const row of this.rows) {
      if (row.state === COMPLETED && row.score !== undefined && this.isBetter(row, this.best_)) this.best_ = row;
    }
    return message.rows.map((row) => row[0]);
  }

  // As best_trial() of nibble/search/study.h; later rows come later.
  private isBetter(row: Row, best: Row | undefined): boolean {
    if (best === undefined || row.score !== best.score) return (row.score ?? -Infinity) > (best?.score ?? -Infinity);
    return (this.metric(row, "cost") ?? Infinity) < (this.metric(best, "cost") ?? -Infinity);
  }

  /** The completed trial with the highest score, of equal ones the cheapest, then the first. */
  get best(): Row | undefined {
    return this.best_;
  }

  metric(row: Row, name: string): number | undefined {
    return row.metrics[this.metricNames.indexOf(name)] ?? undefined;
  }

  /** What the trial is judged by. */
  value(row: Row): number | undefined {
    return this.metric(row, this.view.name);
  }

  count(state: State): number {
    let count = 0;
    for (const row of this.rows) if (row.state === state) ++count;
    return count;
  }

  /** Completed trials that have both; cost must be above 0, for its axis is logarithmic. */
  measured(cost: string): readonly Measured[] {
    const known = this.measured_.get(cost);
    if (known) return known;
    const [costAt, valueAt] = [this.metricNames.indexOf(cost), this.metricNames.indexOf(this.view.name)];
    const list: Measured[] = [];
    for (const row of this.rows) {
      const [spent, value] = [row.metrics[costAt], row.metrics[valueAt]];
      if (row.state === COMPLETED && isKnown(spent) && spent > 0 && isKnown(value)) list.push({ row, cost: spent, value });
    }
    this.measured_.set(cost, list);
    return list;
  }

  front(cost: string): readonly Measured[] {
    const known = this.front_.get(cost) ?? paretoFront(this.measured(cost), this.view.isMaximised);
    this.front_.set(cost, known);
    return known;
  }
}

/** Where the highest score so far rose: [trial, score], and the last trial again at the end. */
export function bestSoFar(rows: readonly Row[]): [number, number][] {
  const line: [number, number][] = [];
  let best = -Infinity;
  for (const row of rows) {
    if (row.state !== COMPLETED || row.score === undefined || row.score <= best) continue;
    best = row.score;
    line.push([row.number, best]);
  }
  if (line.length > 0) line.push([rows.length - 1, best]);
  return line;
}

/** The value below which a part of the values lies. */
export function quantile(values: readonly number[], part: number): number {
  const ascending = Float64Array.from(values).sort();
  return ascending[Math.min(ascending.length - 1, Math.floor(part * ascending.length))] ?? NaN;
}

/** A quantizer as an axis has room for it: "quantized_bits(4,0,1,alpha=1.0)" is "bits(4,0,1)". */
export function shortChoice(choice: string): string {
  return choice
    .replace(/^quantized_/, "")
    .replace(/^stochastic_/, "s_")
    .replace(/,?\s*[a-z_]+=[^,)]*/g, "")
    .replace("()", "");
}
