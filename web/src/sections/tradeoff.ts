// What trials are judged by against their cost, with the Pareto front.
import type { LineSeriesOption, ScatterSeriesOption } from "echarts/charts";
import { Chart, legend, scaledAxis, tooltip } from "../chart";
import type { LegendEntry, Option, Surface } from "../chart";
import { costIn, costOf } from "../cost";
import { disclosure, element, section } from "../dom";
import { NONE, isKnown, reduction, reductionText } from "../format";
import { valueIn, viewOf } from "../metric";
import { paretoFront } from "../pareto";
import type { Reference, Report, Trial } from "../payload";
import { energyScale } from "../scales";
import type { Selection } from "../selection";
import { table } from "../table";

/** A trial that has a place in the chart. */
export interface Point {
  trial: Trial;
  cost: number;
  value: number; // of the metric
}

export function points(report: Report): Point[] {
  const view = viewOf(report.metric);
  const cost = costOf(report);
  return report.trials.flatMap((trial) => {
    const [value, spent] = [valueIn(view, trial), costIn(cost, trial)];
    return isKnown(spent) && spent > 0 && isKnown(value) ? [{ trial, cost: spent, value }] : [];
  });
}

/** Those that no other beats. */
export function frontOf(report: Report): Point[] {
  return paretoFront(points(report), viewOf(report.metric).isMaximised);
}

export function tradeoff(report: Report, selection: Selection): HTMLElement | undefined {
  const all = points(report);
  if (all.length === 0) return undefined;
  const front = frontOf(report);
  const view = viewOf(report.metric);
  const chart = new Chart({
    label: summary(report, all, front),
    height: 420,
    build: (surface) => option(report, all, front, selection.current, surface),
    onPick: (data) => selection.select((data as Partial<Datum>).trial),
  });
  const panel = element("aside", { class: "panel", "aria-live": "polite", "aria-label": "Selected trial" });
  selection.follow((number) => {
    chart.draw();
    panel.replaceChildren(...details(report, report.trials.find((trial) => trial.number === number)));
  });
  return section(
    "tradeoff",
    `${view.title} and ${costOf(report).word}`,
    `Each point is a trial. ${view.up}, left is cheaper. No trial beats those on the Pareto front in both. Pick a point to see its quantizers.`,
    element("div", { class: "beside" }, element("div", {}, legend(entries(report)), chart.node), panel),
    disclosure(`The Pareto front as a table (${front.length} of ${all.length} trials)`, frontTable(report, front)),
  );
}

function entries(report: Report): LegendEntry[] {
  const list: LegendEntry[] = [
    { mark: "ring", colour: "after", text: "trial" },
    { mark: "dot", colour: "after", text: "on the Pareto front" },
  ];
  if (isKnown(report.outcome?.trial)) list.push({ mark: "diamond", colour: "best", text: "best score" });
  if (guides(report).length > 0) list.push({ mark: "dashes", colour: "muted", text: "reference" });
  return list;
}

function summary(report: Report, all: readonly Point[], front: readonly Point[]): string {
  const [view, cost] = [viewOf(report.metric), costOf(report)];
  const best = isKnown(report.outcome?.trial) ? ` Best by score is trial ${report.outcome?.trial}.` : "";
  const listed = front
    .map((point) => `trial ${point.trial.number}, ${cost.full(point.cost)}, ${[view.text(point.value), view.unit].join(" ").trim()}`)
    .join("; ");
  return `Scatter chart of ${view.word} against ${cost.per} for ${all.length} trials. Pareto front: ${listed}.${best}`;
}

// ---- the drawing -----------------------------------------------------------

interface Datum {
  value: [number, number];
  trial: number;
}

function option(report: Report, all: Point[], front: Point[], selected: number | undefined, surface: Surface): Option {
  const { theme, narrow } = surface;
  const [view, cost] = [viewOf(report.metric), costOf(report)];
  const first = guides(report);
  // References have accuracies only.
  const accurate = view.name === "accuracy" ? report.references.filter(({ accuracy }) => isKnown(accuracy)) : [];
  const x = energyScale([...all.map((p) => p.cost), ...first.map((r) => r.energy_nj as number)], narrow ? 2 : 4);
  const y = view.scale([...all.map((p) => p.value), ...accurate.map((r) => r.accuracy as number)]);
  const datum = (p: Point): Datum => ({ value: [x.toAxis(p.cost), y.toAxis(p.value)], trial: p.trial.number });
  const best = report.outcome?.trial;
  const onFront = new Set(front.map((p) => p.trial.number));
  const ordinary = all.filter((p) => p.trial.number !== best);
  const scatter = (list: readonly Point[], style: ScatterSeriesOption): ScatterSeriesOption => ({
    type: "scatter",
    data: list.map(datum),
    ...style,
  });
  return {
    grid: { left: 58, right: 16, top: 30, bottom: 48 },
    xAxis: scaledAxis(theme, x, cost.axis, 30),
    yAxis: scaledAxis(theme, y, narrow || y.isLinear ? view.head : view.axis, 42),
    tooltip: { formatter: (item) => hover(report, (item as { data?: Partial<Datum> }).data?.trial) },
    series: [
      ...first.map((reference) => {
        const at = x.toAxis(reference.energy_nj as number);
        return guide(`${reference.name} energy`, [at, y.min], [at, y.max], true, surface);
      }),
      ...accurate.map((reference) => {
        const at = y.toAxis(reference.accuracy as number);
        return guide(`${reference.name} accuracy`, [x.max, at], [x.min, at], false, surface);
      }),
      {
        type: "line",
        step: "end",
        symbol: "none",
        silent: true,
        data: front.map((p) => datum(p).value),
        lineStyle: { color: theme.after, width: 1.5, opacity: 0.7 },
      },
      scatter(ordinary.filter((p) => !onFront.has(p.trial.number)), {
        symbolSize: 11,
        itemStyle: { opacity: 1, color: theme.paper, borderColor: theme.after, borderWidth: 1.5 },
      }),
      scatter(ordinary.filter((p) => onFront.has(p.trial.number)), { symbolSize: 11, itemStyle: { opacity: 1, color: theme.after } }),
      scatter(all.filter((p) => p.trial.number === selected), {
        symbolSize: 24,
        silent: true,
        itemStyle: { opacity: 1, color: "transparent", borderColor: theme.ink, borderWidth: 1.5 },
      }),
      scatter(all.filter((p) => p.trial.number === best), {
        symbol: "diamond",
        symbolSize: 17,
        itemStyle: { opacity: 1, color: theme.best },
      }),
    ],
  };
}

/** References with a place on the axis of costs: the first, where that is energy. */
function guides(report: Report): Reference[] {
  if (costOf(report).name !== "energy_nj") return [];
  return report.references.slice(0, 1).filter(({ energy_nj }) => isKnown(energy_nj) && energy_nj > 0);
}

/** A dashed guide with its name: across at the first reference's energy, or along at a known accuracy. */
function guide(name: string, from: [number, number], to: [number, number], upright: boolean, { theme }: Surface): LineSeriesOption {
  return {
    type: "line",
    silent: true,
    symbol: "none",
    data: [from, to],
    lineStyle: { color: theme.muted, width: 1, type: [4, 4] },
    endLabel: {
      show: true,
      formatter: name,
      color: theme.muted,
      fontSize: 12,
      distance: 0,
      align: upright ? "right" : "left",
      offset: [6, -9],
    },
  };
}

function hover(report: Report, number: number | undefined): HTMLElement | string {
  const trial = report.trials.find((candidate) => candidate.number === number);
  return trial ? tooltip(`Trial ${trial.number}`, facts(report, trial)) : "";
}

// ---- words -----------------------------------------------------------------

function facts(report: Report, trial: Trial): [string, string][] {
  const [view, cost] = [viewOf(report.metric), costOf(report)];
  const reference = report.references[0];
  const rows: [string, string][] = [];
  const add = (name: string, value: string): void => {
    if (value !== NONE) rows.push([name, value]);
  };
  add(view.title, view.full(valueIn(view, trial)));
  add(cost.title, cost.full(costIn(cost, trial)));
  if (reference) add(`Against ${reference.name}`, reductionText(reduction(reference.energy_nj, trial.energy_nj)));
  add("Score", view.score(trial.score, 4));
  return rows;
}

function details(report: Report, trial: Trial | undefined): Node[] {
  if (!trial) return [element("p", { class: "quiet" }, "Pick a trial in the chart or in the table of trials.")];
  const best = trial.number === report.outcome?.trial ? element("span", { class: "tag best" }, "best") : undefined;
  const list = element("dl", { class: "facts" });
  for (const [name, value] of facts(report, trial)) list.append(element("dt", {}, name), element("dd", {}, value));
  const nodes: Node[] = [element("h3", {}, `Trial ${trial.number} `, best), list];
  if (trial.reason) nodes.push(element("p", { class: "reason" }, trial.reason));
  if (trial.choices.length > 0) {
    const choices = element("dl", { class: "choices", tabindex: 0, "aria-label": `Choices of trial ${trial.number}` });
    for (const { name, value } of trial.choices) choices.append(element("dt", {}, name), element("dd", {}, value));
    nodes.push(choices);
  }
  return nodes;
}

function frontTable(report: Report, front: readonly Point[]): HTMLElement {
  const [view, cost] = [viewOf(report.metric), costOf(report)];
  const reference = cost.name === "energy_nj" ? report.references[0] : undefined;
  return table<Point>({
    caption: "Trials on the Pareto front",
    rows: front,
    columns: [
      { head: "Trial", cell: (p) => String(p.trial.number), key: (p) => p.trial.number, numeric: true },
      { head: cost.head, cell: (p) => cost.text(p.cost), key: (p) => p.cost, numeric: true },
      { head: view.head, cell: (p) => view.text(p.value), key: (p) => p.value, numeric: true },
      { head: "Score", cell: (p) => view.score(p.trial.score, 4), key: (p) => p.trial.score ?? undefined, numeric: true },
      ...(reference
        ? [
            {
              head: `Against ${reference.name}`,
              cell: (p: Point) => reductionText(reduction(reference.energy_nj, p.cost)),
              numeric: true,
            },
          ]
        : []),
    ],
    sortBy: { column: 1, descending: false },
  });
}
