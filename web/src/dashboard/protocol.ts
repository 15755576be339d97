// What the server sends: the other side of nibble/report/dashboard.cc and trial_feed.cc.
import type { Known, Layer, Report } from "../payload";

export interface Parameter {
  name: string;
  candidates: string[];
}

export interface Study {
  name: string;
  code_version: string;
  seed: string;
  cost: string; // beside facts.metric; "" for none
  cost_name: string;
  parameters: Parameter[];
  facts: Report;
}

export type State = 0 | 1 | 2 | 3;
export const STATE_NAMES = ["waiting", "running", "completed", "failed"] as const;
export const COMPLETED: State = 2;

/** A row as it travels; see trial_feed.h. */
export type WireRow = [number, State, number | null, (number | null)[], number[], number, number, number, string];

export interface Message {
  version: number;
  count: number;
  max_trials: number;
  is_over: boolean;
  trouble: string; // why the study cannot be looked at any more; "": it can
  metrics: string[];
  rows: WireRow[];
}

export interface Step {
  step: number;
  metrics: Record<string, Known<number>>;
}

export interface Details {
  number: number;
  values: Record<string, string>;
  metrics: Record<string, number>;
  worker: string;
  artifact: string;
  reason: string;
  steps: Step[];
  layers: Layer[];
  layers_trouble: string;
}

/** Asks the server; what it refuses comes as an Error with its sentence. */
export async function ask<T>(path: string): Promise<T> {
  const response = await fetch(path);
  const body: unknown = await response.json();
  if (!response.ok) throw new Error((body as { error?: string }).error ?? `the server answered ${response.status}`);
  return body as T;
}
