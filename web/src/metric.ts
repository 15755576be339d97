// What trials are judged by, beside their cost: how it is named, written, drawn and compared.
import { fixed, percent, significant, withUnit } from "./format";
import type { Maybe } from "./format";
import { accuracyScale, errorScale } from "./scales";
import type { AxisScale } from "./scales";

/** As the payload and the dashboard's server have it. */
export interface Metric {
  name: string; // "accuracy", "mse"
  direction: "maximise" | "minimise";
}

export interface MetricView {
  name: string; // of the member that holds it
  word: string; // in a sentence: "accuracy", "MSE"
  title: string; // at the beginning of a heading: "Accuracy", "MSE"
  unit: string; // "%", or ""
  head: string; // of a column or an axis: "Accuracy (%)", "MSE"
  axis: string; // of an axis that has room: the head, and how it is spaced
  up: string; // what is up in a chart, as a sentence begins: "Up is more accurate"
  isMaximised: boolean;
  text: (value: Maybe) => string; // without its unit
  full: (value: Maybe) => string;
  score: (value: Maybe, digits: number) => string; // of the scores that follow from it
  scale: (values: readonly number[]) => AxisScale;
  range: [number, number]; // of an axis without values
}

const ABBREVIATIONS: Record<string, string> = { mse: "MSE", mae: "MAE" };

const ACCURACY_VIEW: MetricView = {
  name: "accuracy",
  word: "accuracy",
  title: "Accuracy",
  unit: "%",
  head: "Accuracy (%)",
  axis: "Accuracy (%), spaced by the logarithm of the error",
  up: "Up is more accurate",
  isMaximised: true,
  text: (value) => percent(value),
  full: (value) => withUnit(percent(value), "%"),
  score: fixed,
  scale: (values) => accuracyScale(values),
  range: [0, 0.99],
};

/** Without a metric, it is the accuracy. */
export function viewOf(metric: Metric | null | undefined): MetricView {
  if (!metric || metric.name === ACCURACY_VIEW.name) return ACCURACY_VIEW;
  const { name } = metric;
  const isMaximised = metric.direction === "maximise";
  const word = ABBREVIATIONS[name] ?? name;
  const title = word.charAt(0).toUpperCase() + word.slice(1);
  const text = (value: Maybe): string => significant(value, 4);
  return {
    name,
    word,
    title,
    unit: "",
    head: title,
    axis: `${title} (logarithmic)`,
    up: `${isMaximised ? "Up" : "Down"} is better`,
    isMaximised,
    text,
    full: text,
    score: (value, digits) => significant(value, digits), // errors, and so their scores, may be of any size
    scale: errorScale,
    range: [0.1, 1],
  };
}

/** Its value in a trial or an outcome of the payload, where it stands under its own name. */
export function valueIn(view: MetricView, item: object): Maybe {
  const value = (item as Record<string, unknown>)[view.name];
  return typeof value === "number" ? value : undefined;
}
