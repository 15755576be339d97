// The data of a report: the other side of to_json() in nibble/report/report.cc.
// Members that are not known are absent or null.
import type { Metric } from "./metric";

export const SCHEMA = 1;

export type Known<T> = T | null | undefined;

export interface Pair {
  name: string;
  value: string;
}

export interface Reference {
  name: string;
  energy_nj: Known<number>;
  accuracy?: Known<number>;
}

export interface Outcome {
  trial?: Known<number>;
  accuracy?: Known<number>;
  loss?: Known<number>;
  energy_nj?: Known<number>;
  bits?: Known<number>; // of weights and activations, where the search counted those
  score?: Known<number>;
}

export type TrialState = "waiting" | "running" | "completed" | "failed";

export interface Trial {
  number: number;
  state: TrialState;
  score?: Known<number>;
  accuracy?: Known<number>;
  energy_nj?: Known<number>;
  bits?: Known<number>; // of weights and activations, where the search counted those
  weight_bits?: Known<number>;
  reason?: string;
  choices: Pair[];
}

/** How the hypervolume that the trials dominate grew: a step for each trial that made it larger. */
export interface Hypervolume {
  axes: { metric: string; maximise: boolean; reference: Known<number> }[];
  trials: number; // completed
  steps: HypervolumeStep[];
}

export interface HypervolumeStep {
  trials: number; // completed by then
  trial: number;
  hypervolume: Known<number>;
}

/** Where the energy of a layer goes; the parts add up to it. */
export interface EnergyParts {
  operations?: Known<number>;
  parameters?: Known<number>;
  inputs?: Known<number>;
  outputs?: Known<number>;
}

export interface Layer {
  name: string;
  type: string;
  kernel?: string;
  bias?: string;
  activation?: string;
  filters?: Known<number>;
  reference_filters?: Known<number>;
  parameters?: Known<number>;
  reference_energy_nj?: Known<number>;
  energy_nj?: Known<number>;
  energy_parts_nj?: Known<EnergyParts>;
}

export interface CodeBin {
  first: number;
  last: number;
  count: number;
  sign?: number; // powers of two only
}

export interface WeightHistogram {
  layer: string;
  tensor: string;
  quantizer: string;
  kind: "affine" | "power_of_two";
  bit_width: number;
  zero_point?: number;
  bins: CodeBin[];
  total: number;
  zeros: number;
  used_codes: number;
  scale_min?: Known<number>;
  scale_max?: Known<number>;
}

export interface CurvePoint {
  epoch: number;
  loss?: Known<number>;
  accuracy?: Known<number>;
  val_loss?: Known<number>;
  val_accuracy?: Known<number>;
  learning_rate?: Known<number>;
  /** Where the loss is an error. */
  mse?: Known<number>;
  mae?: Known<number>;
  val_mse?: Known<number>;
  val_mae?: Known<number>;
}

export interface Curve {
  name: string;
  trial?: Known<number>;
  points: CurvePoint[];
}

export interface Report {
  schema: number;
  title: string;
  /** What trials are judged by. Trials and the outcome have it under its name. */
  metric?: Metric;
  goal?: string;
  model: { name: string; parameters?: Known<number>; weight_bits?: Known<number> };
  dataset: { name: string; train_samples?: Known<number>; test_samples?: Known<number>; note?: string };
  references: Reference[];
  outcome?: Outcome;
  trials: Trial[];
  hypervolume?: Hypervolume;
  layers: Layer[];
  histograms: WeightHistogram[];
  curves: Curve[];
  settings: Pair[];
}

/** The data is not a report. The message is a sentence for the reader of the page. */
export class PayloadError extends Error {}

type Fields = Record<string, unknown>;
type Check = (value: unknown, where: string) => void;

const text: Check = (value, where) => {
  if (typeof value !== "string") throw new PayloadError(`${where} must be a text.`);
};
const finite: Check = (value, where) => {
  if (typeof value !== "number" || !Number.isFinite(value)) throw new PayloadError(`${where} must be a number.`);
};
const flag: Check = (value, where) => {
  if (typeof value !== "boolean") throw new PayloadError(`${where} must be true or false.`);
};
const maybe =
  (check: Check): Check =>
  (value, where) => {
    if (value !== undefined && value !== null) check(value, where);
  };
const oneOf =
  (...allowed: string[]): Check =>
  (value, where) => {
    if (!allowed.includes(value as string)) throw new PayloadError(`${where} must be one of ${allowed.join(", ")}.`);
  };
const record =
  (fields: Record<string, Check>): Check =>
  (value, where) => {
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      throw new PayloadError(`${where} must be an object.`);
    }
    for (const [name, check] of Object.entries(fields)) check((value as Fields)[name], `${where}.${name}`);
  };
const listOf =
  (check: Check): Check =>
  (value, where) => {
    if (!Array.isArray(value)) throw new PayloadError(`${where} must be a list.`);
    value.forEach((item, index) => check(item, `${where}[${index}]`));
  };

const number = maybe(finite);
const pair = record({ name: text, value: text });

const report = record({
  title: text,
  metric: maybe(record({ name: text, direction: oneOf("maximise", "minimise") })),
  goal: maybe(text),
  model: record({ name: text, parameters: number, weight_bits: number }),
  dataset: record({ name: text, train_samples: number, test_samples: number, note: maybe(text) }),
  references: listOf(record({ name: text, energy_nj: number, accuracy: number })),
  outcome: maybe(
    record({
      trial: number,
      accuracy: number,
      loss: number,
      energy_nj: number,
      bits: number,
      score: number,
    }),
  ),
  trials: listOf(
    record({
      number: finite,
      state: oneOf("waiting", "running", "completed", "failed"),
      score: number,
      accuracy: number,
      energy_nj: number,
      bits: number,
      weight_bits: number,
      reason: maybe(text),
      choices: listOf(pair),
    }),
  ),
  hypervolume: maybe(
    record({
      axes: listOf(record({ metric: text, maximise: flag, reference: number })),
      trials: finite,
      steps: listOf(record({ trials: finite, trial: finite, hypervolume: number })),
    }),
  ),
  layers: listOf(
    record({
      name: text,
      type: text,
      kernel: maybe(text),
      bias: maybe(text),
      activation: maybe(text),
      filters: number,
      reference_filters: number,
      parameters: number,
      reference_energy_nj: number,
      energy_nj: number,
      energy_parts_nj: maybe(record({ operations: number, parameters: number, inputs: number, outputs: number })),
    }),
  ),
  histograms: listOf(
    record({
      layer: text,
      tensor: text,
      quantizer: text,
      kind: oneOf("affine", "power_of_two"),
      bit_width: finite,
      zero_point: number,
      bins: listOf(record({ first: finite, last: finite, count: finite, sign: number })),
      total: finite,
      zeros: finite,
      used_codes: finite,
      scale_min: number,
      scale_max: number,
    }),
  ),
  curves: listOf(
    record({
      name: text,
      trial: number,
      points: listOf(
        record({
          epoch: finite,
          loss: number,
          accuracy: number,
          val_loss: number,
          val_accuracy: number,
          learning_rate: number,
          mse: number,
          mae: number,
          val_mse: number,
          val_mae: number,
        }),
      ),
    }),
  ),
  settings: listOf(pair),
});

/** Of members that are named by the data itself. */
function checkValues({ metric, outcome, trials }: Report): void {
  if (!metric) return;
  const fields = record({ [metric.name]: number });
  if (outcome) fields(outcome, "report.outcome");
  trials.forEach((trial, index) => fields(trial, `report.trials[${index}]`));
}

/** Reads and checks the data. Throws PayloadError. */
export function parsePayload(json: string): Report {
  let data: unknown;
  try {
    data = JSON.parse(json);
  } catch {
    throw new PayloadError("The file holds no readable data.");
  }
  const schema = (data as Fields | null)?.schema;
  if (schema !== SCHEMA) {
    throw new PayloadError(`The data has schema ${String(schema)}; this page reads schema ${SCHEMA}.`);
  }
  report(data, "report");
  checkValues(data as Report);
  return data as Report;
}
