// Loss, errors and accuracy after each epoch, of the best model and of one more to compare with.
import type { LineSeriesOption } from "echarts/charts";
import { Chart, axisStyle, legend, scaledAxis, tooltip } from "../chart";
import type { LegendEntry, Option, Surface } from "../chart";
import { disclosure, element, section } from "../dom";
import { NONE, fixed, isKnown, percent, significant, withUnit } from "../format";
import type { Maybe } from "../format";
import { viewOf } from "../metric";
import type { MetricView } from "../metric";
import type { Curve, CurvePoint, Report } from "../payload";
import { accuracyScale, energyScale, errorScale } from "../scales";
import type { AxisScale } from "../scales";
import type { Selection } from "../selection";
import { table } from "../table";
import type { Column } from "../table";

interface Measure {
  name: string;
  axis: string;
  training: (point: CurvePoint) => number | null | undefined;
  evaluation: (point: CurvePoint) => number | null | undefined;
  scale: (values: readonly number[]) => AxisScale;
  show: (value: number) => string;
}

const SMALLEST_LOSS = 1e-6; // a loss of 0 has no logarithm

const LOSS: Measure = {
  name: "Loss",
  axis: "Loss (logarithmic)",
  training: (point) => point.loss,
  evaluation: (point) => point.val_loss,
  scale: (values) => {
    if (values.some((value) => value < 0)) return errorScale(values, 3); // which says how
    const scale = energyScale(values.map((value) => Math.max(value, SMALLEST_LOSS)), 3);
    return { ...scale, toAxis: (value) => scale.toAxis(Math.max(value, SMALLEST_LOSS)) };
  },
  show: (value) => fixed(value, 4),
};

const ACCURACY: Measure = {
  name: "Accuracy",
  axis: "Accuracy (%), log of error",
  training: (point) => point.accuracy,
  evaluation: (point) => point.val_accuracy,
  scale: (values) => accuracyScale(values),
  show: (value) => withUnit(percent(value), "%"),
};

// Where trials are judged by an error, losses may be of any size.
const lossOf = (view: MetricView): Measure =>
  view.name === "accuracy" ? LOSS : { ...LOSS, scale: (values) => errorScale(values, 3), show: (value) => significant(value, 4) };

const ERRORS: readonly Measure[] = (["mse", "mae"] as const).map((name) => {
  const view = viewOf({ name, direction: "minimise" });
  return {
    name: view.title,
    axis: view.axis,
    training: (point) => point[name],
    evaluation: (point) => point[`val_${name}`],
    scale: (values) => errorScale(values, 3),
    show: view.full,
  };
});

const SAME = 1e-5; // of a figure: sums in single precision differ by less

/** Whether two measures are one figure at every epoch. */
function agree(curves: readonly Curve[], a: Measure, b: Measure): boolean {
  const same = (x: Maybe, y: Maybe): boolean => (isKnown(x) ? isKnown(y) && Math.abs(x - y) <= SAME * Math.abs(x) : !isKnown(y));
  return curves.every(({ points }) =>
    points.every((point) => same(a.training(point), b.training(point)) && same(a.evaluation(point), b.evaluation(point))),
  );
}

/** Those that some epoch has. A loss that is one of the errors is drawn once, under the error's name. */
export function measures(report: Report, curves: readonly Curve[]): Measure[] {
  const loss = lossOf(viewOf(report.metric));
  const isOneOf = ERRORS.some((error) => agree(curves, loss, error));
  return [...(isOneOf ? [] : [loss]), ...ERRORS, ACCURACY].filter((measure) => known(curves, measure).length > 0);
}

export function training(report: Report, selection: Selection): HTMLElement | undefined {
  const curves = report.curves.filter((curve) => curve.points.length > 0);
  const first = curves[0];
  if (!first) return undefined;
  let other: Curve | undefined;

  const shown = measures(report, curves);
  const charts = shown.map(
    (metric) =>
      new Chart({
        label: `Line chart of ${metric.name.toLowerCase()} by epoch. The table below has the numbers.`,
        height: 300,
        build: (surface) => option(metric, first, other, surface),
      }),
  );
  const marks = element("div");
  const numbers = element("div");
  const refresh = (): void => {
    marks.replaceChildren(legend(entries(first, other)));
    numbers.replaceChildren(...[first, ...(other ? [other] : [])].map((curve) => curveTable(curve, shown)));
    for (const chart of charts) chart.draw();
  };
  const picker = compare(curves, (curve) => {
    other = curve;
    if (isKnown(curve?.trial)) selection.select(curve?.trial ?? undefined);
    refresh();
  });
  selection.follow((trial) => {
    const match = curves.find((curve) => isKnown(curve.trial) && curve.trial === trial && curve !== first);
    if (match !== undefined || other !== undefined) {
      other = match;
      picker?.set(match);
    }
    refresh();
  });
  return section(
    "training",
    "Training",
    `${listed(shown)} after each epoch. Solid lines are the evaluation split, dashed lines the training data.`,
    element("div", { class: "toolbar" }, marks, picker?.node),
    element("div", { class: "halves" }, ...charts.map((chart) => chart.node)),
    disclosure("Epochs as a table", numbers),
  );
}

/** "Loss and accuracy", "Loss and MAE" */
function listed(shown: readonly Measure[]): string {
  const [head = "", ...rest] = shown.map(({ name }, index) => (index > 0 && name === ACCURACY.name ? name.toLowerCase() : name));
  return rest.reduce((text, name, index) => text + (index === rest.length - 1 ? " and " : ", ") + name, head);
}

function entries(first: Curve, other: Curve | undefined): LegendEntry[] {
  const list: LegendEntry[] = [{ mark: "line", colour: "best", text: first.name }];
  if (other) list.push({ mark: "line", colour: "compare", text: other.name });
  list.push({ mark: "line", colour: "muted", text: "evaluation split" }, { mark: "dashes", colour: "muted", text: "training data" });
  return list;
}

/** The choice of a second curve; nothing where there is only one. */
function compare(curves: readonly Curve[], pick: (curve: Curve | undefined) => void) {
  if (curves.length < 2) return undefined;
  const select = element("select", { id: "compare" }, element("option", { value: "" }, "nothing"));
  curves.slice(1).forEach((curve, index) => select.append(element("option", { value: index + 1 }, curve.name)));
  select.addEventListener("change", () => pick(select.value === "" ? undefined : curves[Number(select.value)]));
  return {
    node: element("label", { class: "picker", for: "compare" }, "Compare with ", select),
    set: (curve: Curve | undefined): void => {
      select.value = curve ? String(curves.indexOf(curve)) : "";
    },
  };
}

function known(curves: readonly Curve[], metric: Measure): number[] {
  return curves.flatMap((curve) =>
    curve.points.flatMap((point) => [metric.training(point), metric.evaluation(point)].filter(isKnown)),
  );
}

function option(metric: Measure, first: Curve, other: Curve | undefined, { theme, narrow }: Surface): Option {
  const shown = other ? [first, other] : [first];
  const y = metric.scale(known(shown, metric));
  const lastEpoch = Math.max(...shown.flatMap((curve) => curve.points.map((point) => point.epoch)));
  const firstEpoch = Math.min(...shown.flatMap((curve) => curve.points.map((point) => point.epoch)));
  const line = (curve: Curve, colour: string, evaluation: boolean): LineSeriesOption => ({
    type: "line",
    name: `${curve.name}, ${evaluation ? "evaluation" : "training"}`,
    data: curve.points.flatMap((point) => {
      const value = evaluation ? metric.evaluation(point) : metric.training(point);
      return isKnown(value) ? [[point.epoch, y.toAxis(value), value]] : [];
    }),
    showSymbol: curve.points.length < 3,
    symbol: "circle",
    symbolSize: 6,
    itemStyle: { color: colour },
    lineStyle: { color: colour, width: evaluation ? 2 : 1.5, type: evaluation ? "solid" : [4, 4], opacity: evaluation ? 1 : 0.75 },
    emphasis: { disabled: true },
  });
  const style = axisStyle(theme);
  return {
    grid: { left: 56, right: 16, top: 14, bottom: 44 },
    xAxis: { ...style, type: "value", name: "Epoch", nameGap: 26, min: firstEpoch, max: Math.max(lastEpoch, firstEpoch + 1), minInterval: 1, splitNumber: narrow ? 4 : 6, splitLine: { show: false }, axisLine: { ...style.axisLine, onZero: false } },
    yAxis: scaledAxis(theme, y, y.isLinear ? metric.name : metric.axis, 42),
    tooltip: { trigger: "axis", axisPointer: { type: "line", lineStyle: { color: theme.muted } }, formatter: (items) => hover(metric, items) },
    series: shown.flatMap((curve, index) => {
      const colour = index === 0 ? theme.best : theme.compare;
      return [line(curve, colour, false), line(curve, colour, true)];
    }),
  };
}

function hover(metric: Measure, items: unknown): HTMLElement | string {
  const list = items as { seriesName: string; value: [number, number, number] }[];
  const head = list[0];
  if (!head) return "";
  return tooltip(`Epoch ${head.value[0]}`, list.map((item) => [item.seriesName, metric.show(item.value[2])] as const));
}

function curveTable(curve: Curve, shown: readonly Measure[]): HTMLElement {
  const columns: Column<CurvePoint>[] = [{ head: "Epoch", cell: (point) => String(point.epoch), numeric: true }];
  const addColumn = (head: string, of: Measure["training"], show: (value: number) => string): void => {
    if (!curve.points.some((point) => isKnown(of(point)))) return;
    const cell = (point: CurvePoint): string => {
      const value = of(point);
      return isKnown(value) ? show(value) : NONE;
    };
    columns.push({ head, cell, numeric: true });
  };
  const add = (head: string, field: keyof CurvePoint, show: (value: number) => string): void => addColumn(head, (point) => point[field], show);
  for (const { name, training, evaluation, show } of shown) {
    if (name === ACCURACY.name) continue; // as columns of per cent, below
    const head = name === LOSS.name ? "loss" : name;
    addColumn(`Training ${head}`, training, show);
    addColumn(`Evaluation ${head}`, evaluation, show);
  }
  add("Training accuracy (%)", "accuracy", percent);
  add("Evaluation accuracy (%)", "val_accuracy", percent);
  add("Learning rate", "learning_rate", (value) => String(Number(value.toPrecision(3))));
  return table<CurvePoint>({ caption: `Epochs of ${curve.name}`, rows: curve.points, columns });
}
