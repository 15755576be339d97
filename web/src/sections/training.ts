// Loss and accuracy of each epoch, of the best model and of one more to compare with.
import type { LineSeriesOption } from "echarts/charts";
import { Chart, axisStyle, legend, scaledAxis, tooltip } from "../chart";
import type { LegendEntry, Option, Surface } from "../chart";
import { disclosure, element, section } from "../dom";
import { fixed, isKnown, percent, withUnit } from "../format";
import type { Curve, CurvePoint, Report } from "../payload";
import { accuracyScale, energyScale } from "../scales";
import type { AxisScale } from "../scales";
import type { Selection } from "../selection";
import { table } from "../table";
import type { Column } from "../table";

interface Metric {
  name: string;
  axis: string;
  training: (point: CurvePoint) => number | null | undefined;
  evaluation: (point: CurvePoint) => number | null | undefined;
  scale: (values: readonly number[]) => AxisScale;
  show: (value: number) => string;
}

const SMALLEST_LOSS = 1e-6; // a loss of 0 has no logarithm

const LOSS: Metric = {
  name: "Loss",
  axis: "Loss (logarithmic)",
  training: (point) => point.loss,
  evaluation: (point) => point.val_loss,
  scale: (values) => {
    const scale = energyScale(values.map((value) => Math.max(value, SMALLEST_LOSS)), 3);
    return { ...scale, toAxis: (value) => scale.toAxis(Math.max(value, SMALLEST_LOSS)) };
  },
  show: (value) => fixed(value, 4),
};

const ACCURACY: Metric = {
  name: "Accuracy",
  axis: "Accuracy (%), log of error",
  training: (point) => point.accuracy,
  evaluation: (point) => point.val_accuracy,
  scale: (values) => accuracyScale(values),
  show: (value) => withUnit(percent(value), "%"),
};

export function training(report: Report, selection: Selection): HTMLElement | undefined {
  const curves = report.curves.filter((curve) => curve.points.length > 0);
  const first = curves[0];
  if (!first) return undefined;
  let other: Curve | undefined;

  const metrics = [LOSS, ACCURACY].filter((metric) => known(curves, metric).length > 0);
  const charts = metrics.map(
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
    numbers.replaceChildren(...[first, ...(other ? [other] : [])].map(curveTable));
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
    "Loss and accuracy after each epoch. Solid lines are the evaluation split, dashed lines the training data.",
    element("div", { class: "toolbar" }, marks, picker?.node),
    element("div", { class: "halves" }, ...charts.map((chart) => chart.node)),
    disclosure("Epochs as a table", numbers),
  );
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

function known(curves: readonly Curve[], metric: Metric): number[] {
  return curves.flatMap((curve) =>
    curve.points.flatMap((point) => [metric.training(point), metric.evaluation(point)].filter(isKnown)),
  );
}

function option(metric: Metric, first: Curve, other: Curve | undefined, { theme, narrow }: Surface): Option {
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
    yAxis: scaledAxis(theme, y, metric.axis, 42),
    tooltip: { trigger: "axis", axisPointer: { type: "line", lineStyle: { color: theme.muted } }, formatter: (items) => hover(metric, items) },
    series: shown.flatMap((curve, index) => {
      const colour = index === 0 ? theme.best : theme.compare;
      return [line(curve, colour, false), line(curve, colour, true)];
    }),
  };
}

function hover(metric: Metric, items: unknown): HTMLElement | string {
  const list = items as { seriesName: string; value: [number, number, number] }[];
  const head = list[0];
  if (!head) return "";
  return tooltip(`Epoch ${head.value[0]}`, list.map((item) => [item.seriesName, metric.show(item.value[2])] as const));
}

function curveTable(curve: Curve): HTMLElement {
  const columns: Column<CurvePoint>[] = [{ head: "Epoch", cell: (point) => String(point.epoch), numeric: true }];
  const add = (head: string, field: keyof CurvePoint, show: (value: number | null | undefined) => string): void => {
    if (curve.points.some((point) => isKnown(point[field]))) {
      columns.push({ head, cell: (point) => show(point[field]), numeric: true });
    }
  };
  const loss = (value: number | null | undefined): string => fixed(value, 4);
  add("Training loss", "loss", loss);
  add("Evaluation loss", "val_loss", loss);
  add("Training accuracy (%)", "accuracy", percent);
  add("Evaluation accuracy (%)", "val_accuracy", percent);
  add("Learning rate", "learning_rate", (value) => (isKnown(value) ? String(Number(value.toPrecision(3))) : ""));
  return table<CurvePoint>({ caption: `Epochs of ${curve.name}`, rows: curve.points, columns });
}
