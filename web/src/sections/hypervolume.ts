// How fast the search found its front: the hypervolume after each trial.
import { Chart, axisStyle, tooltip } from "../chart";
import type { Option, Surface } from "../chart";
import { disclosure, element, section } from "../dom";
import { count, fixed, isKnown, percent, significant, withUnit } from "../format";
import type { Hypervolume, HypervolumeStep, Report } from "../payload";
import type { Selection } from "../selection";
import { table } from "../table";
import type { Column } from "../table";

/** A step whose hypervolume is known, beside the share that it is of the final one. */
export interface Growth extends HypervolumeStep {
  hypervolume: number;
  share: number;
}

export function growth(data: Hypervolume | undefined): Growth[] {
  const steps = (data?.steps ?? []).flatMap((step) => (isKnown(step.hypervolume) ? [{ ...step, hypervolume: step.hypervolume }] : []));
  const last = steps[steps.length - 1]?.hypervolume ?? 0;
  return last > 0 ? steps.map((step) => ({ ...step, share: step.hypervolume / last })) : [];
}

/** Completed trials after which there was so much of the final hypervolume. */
export const trialsTo = (steps: readonly Growth[], share: number): number | undefined =>
  steps.find((step) => step.share >= share)?.trials;

export function hypervolume(report: Report, selection: Selection): HTMLElement | undefined {
  const data = report.hypervolume;
  const steps = growth(data);
  if (data === undefined || steps.length === 0) return undefined;
  const chart = new Chart({
    label: `Line chart of the hypervolume by trial. ${reached(steps)} The table below has the numbers.`,
    height: 280,
    build: (surface) => option(data, steps, surface),
    onPick: (item) => selection.select((item as { trial?: number }).trial),
  });
  return section(
    "hypervolume",
    "Hypervolume by trial",
    `What the trials so far dominate in ${named(data)}: a larger one is a better front. ${reached(steps)}`,
    element("div", {}, chart.node),
    disclosure(`The hypervolume as a table (${steps.length} of ${data.trials} trials made it larger)`, stepTable(steps)),
  );
}

/** "accuracy from 0.91 up and cost from 212,400 down" */
function named({ axes }: Hypervolume): string {
  return axes
    .map(({ metric, maximise, reference }) => {
      const isError = metric !== "accuracy" && metric !== "cost"; // may be of any size
      const shown = isError ? significant(reference, 4) : fixed(reference, Math.abs(reference ?? 0) < 100 ? 3 : 0);
      const from = isKnown(reference) ? ` from ${shown}` : "";
      return `${metric}${from} ${maximise ? "up" : "down"}`;
    })
    .join(" and ");
}

function reached(steps: readonly Growth[]): string {
  const after = (share: number): string => count(trialsTo(steps, share));
  return `Half of its final value was there after ${after(0.5)} trials, 90 % after ${after(0.9)}, 99 % after ${after(0.99)}.`;
}

function option(data: Hypervolume, steps: readonly Growth[], { theme, narrow }: Surface): Option {
  const style = axisStyle(theme);
  const last = steps[steps.length - 1] as Growth;
  const points = steps.map((step) => ({ value: [step.trials, step.share * 100], trial: step.trial }));
  return {
    grid: { left: 56, right: 16, top: 14, bottom: 44 },
    xAxis: { ...style, type: "value", name: "Completed trials", nameGap: 26, min: 0, max: Math.max(data.trials, last.trials), minInterval: 1, splitNumber: narrow ? 4 : 8, splitLine: { show: false } },
    yAxis: { ...style, type: "value", name: narrow ? "Hypervolume (%)" : "Hypervolume (% of the final one)", nameGap: 42, min: 0, max: 100 },
    tooltip: { formatter: (item) => hover(steps, (item as { data?: { trial?: number } }).data?.trial) },
    series: [
      {
        type: "line",
        step: "end",
        symbol: "none",
        silent: true,
        data: [[0, 0], ...points.map((point) => point.value), [Math.max(data.trials, last.trials), 100]],
        lineStyle: { color: theme.best, width: 2 },
      },
      { type: "scatter", symbolSize: 8, itemStyle: { opacity: 1, color: theme.best }, data: points },
    ],
  };
}

function hover(steps: readonly Growth[], trial: number | undefined): HTMLElement | string {
  const step = steps.find((candidate) => candidate.trial === trial);
  return step ? tooltip(`Trial ${step.trial}`, facts(step)) : "";
}

function facts(step: Growth): [string, string][] {
  return [
    ["Completed by then", count(step.trials)],
    ["Hypervolume", digits(step.hypervolume)],
    ["Of the final one", withUnit(percent(step.share, 1), "%")],
  ];
}

/** Six significant digits, as `nibble study pareto` prints them. */
const digits = (value: number): string => String(Number(value.toPrecision(6)));

function stepTable(steps: readonly Growth[]): HTMLElement {
  const columns: Column<Growth>[] = [
    { head: "Completed trials", cell: (step) => count(step.trials), numeric: true },
    { head: "Trial", cell: (step) => String(step.trial), numeric: true },
    { head: "Hypervolume", cell: (step) => digits(step.hypervolume), numeric: true },
    { head: "Of the final one (%)", cell: (step) => percent(step.share, 1), numeric: true },
  ];
  return table<Growth>({ caption: "Trials that made the hypervolume larger", rows: steps, columns });
}
