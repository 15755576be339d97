// Parallel coordinates: one axis a choice, one line a trial. The best trials only, since ten thousand lines say nothing.
// ECharts draws the axes, which are those of the most lines that can be shown; the lines are on a sheet under them, so other
// lines need no new axes. The best and the selected one are drawn above the others, so that a selection is shown at once.
import { element } from "../dom";
import { energy, isKnown, percent } from "../format";
import type { Selection } from "../selection";
import type { Theme } from "../theme";
import { LiveChart } from "./live_chart";
import type { LiveOption } from "./live_chart";
import { COMPLETED } from "./protocol";
import type { Study } from "./protocol";
import { shortChoice } from "./store";
import type { Row, TrialStore } from "./store";

const AXIS_WIDTH = 96; // pixels that a label needs
const HEIGHT = 330;
const MARGIN = { left: 44, right: 56, top: 44, bottom: 22 };
export const SHOWN = [50, 200, 500] as const;
const MOST = SHOWN[2];

/** The trials with the highest scores, the best last, so that it is drawn above the others. */
export function topTrials(rows: readonly Row[], count: number): Row[] {
  return rows
    .filter((row) => row.state === COMPLETED && row.score !== undefined)
    .sort((a, b) => (b.score as number) - (a.score as number) || a.number - b.number)
    .slice(0, count)
    .reverse();
}

/** One axis. Values are places from 0 at its foot to 1 at its head. */
interface Axis {
  name: string;
  candidates?: string[];
  text?: (value: number) => string;
  value: (row: Row) => number | string | undefined;
  low: number;
  high: number;
}

/** Where a row crosses an axis, from 0 to 1; nothing where it has no value. A category has the middle of its band. */
export function crossing(axis: Axis, row: Row): number | undefined {
  const value = axis.value(row);
  if (axis.candidates) {
    const index = axis.candidates.indexOf(value as string);
    return index < 0 ? undefined : (index + 0.5) / axis.candidates.length;
  }
  return isKnown(value as number) ? ((value as number) - axis.low) / (axis.high - axis.low) : undefined;
}

export class Parallel {
  readonly node: HTMLElement;
  private readonly chart: LiveChart;
  private shown: number = SHOWN[1];
  private axes: Axis[] = [];
  private top: Row[] = []; // the best last; of them, as many as are shown

  constructor(
    private readonly study: Study,
    private readonly store: TrialStore,
    private readonly selection: Selection,
  ) {
    this.chart = new LiveChart({
      label: () => `Parallel coordinates of the ${this.shown} best trials.`,
      height: HEIGHT,
      build: (theme) => this.option(theme),
      below: (pen, width, theme) => this.lines(pen, width, theme),
      above: (width) => this.marked(width),
    });
    this.chart.node.style.minWidth = `${(this.choices().length + 3) * AXIS_WIDTH}px`;
    const picker = element("select", { id: "shown" });
    for (const count of SHOWN) picker.append(element("option", { value: count, selected: count === this.shown }, `best ${count}`));
    picker.addEventListener("change", () => {
      this.shown = Number(picker.value);
      this.chart.underlay();
    });
    this.node = element(
      "div",
      {},
      element("label", { class: "picker", for: "shown" }, "Trials shown: ", picker),
      element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Parallel coordinates" }, this.chart.node),
    );
    selection.follow(() => this.chart.overlay());
  }

  draw(): void {
    this.chart.draw();
  }

  /** Draws anew if other trials are the best ones than at the last drawing: the lines, and the axes if those change. */
  update(): void {
    const top = topTrials(this.store.rows, MOST);
    if (top.length === this.top.length && top.every((row, index) => row === this.top[index])) return;
    const results = this.results(top);
    const drawn = this.axes.slice(-results.length);
    const isSame = results.every((axis, index) => axis.low === drawn[index]?.low && axis.high === drawn[index].high);
    if (!isSame) return this.draw();
    this.top = top;
    this.chart.underlay();
    this.chart.overlay();
  }

  // A choice of one is no choice.
  private choices(): Axis[] {
    return this.study.parameters.flatMap(({ name, candidates }, index) =>
      candidates.length < 2
        ? []
        : [
            {
              name: name.replace(/_quantizer$/, "").replace(/^network_filters_?/, "filters "),
              candidates,
              value: (row: Row) => candidates[row.choices[index] ?? -1],
              low: 0,
              high: candidates.length,
            },
          ],
    );
  }

  // What came out, each axis from the lowest to the highest value of the most lines that can be shown.
  private results(rows: readonly Row[]): Axis[] {
    const { store, study } = this;
    const { view } = store;
    const isAccuracy = view.name === "accuracy";
    const results = [
      { name: isAccuracy ? "accuracy (%)" : view.word, text: (value: number) => (isAccuracy ? percent(value, 1) : view.text(value)), value: (row: Row) => store.value(row) },
      { name: study.cost_name || "cost", text: energy, value: (row: Row) => store.metric(row, study.cost) },
      { name: "score", text: (value: number) => view.score(value, 3), value: (row: Row) => row.score },
    ];
    return results.map((result) => {
      const values = rows.map(result.value).filter(isKnown);
      const low = values.reduce((a, b) => Math.min(a, b), Infinity);
      const high = values.reduce((a, b) => Math.max(a, b), -Infinity);
      return { ...result, low: values.length > 0 ? low : 0, high: high > low ? high : (values.length > 0 ? low : 0) + 1 };
    });
  }

  private option(theme: Theme): LiveOption {
    this.top = topTrials(this.store.rows, MOST);
    this.axes = [...this.choices(), ...this.results(this.top)];
    const label = { color: theme.muted, fontSize: 11, backgroundColor: theme.paper, padding: [1, 3] };
    return {
      parallel: MARGIN,
      parallelAxis: this.axes.map((axis, dim) => ({
        dim,
        name: axis.name,
        nameLocation: "end" as const,
        nameGap: 14,
        nameTextStyle: { color: theme.ink, fontSize: 11, width: AXIS_WIDTH - 8, overflow: "truncate" as const },
        axisLine: { lineStyle: { color: theme.rule } },
        axisTick: { show: false },
        ...(axis.candidates
          ? { type: "category" as const, data: axis.candidates, axisLabel: { ...label, formatter: shortChoice, width: AXIS_WIDTH - 14, overflow: "truncate" as const } }
          : { type: "value" as const, min: axis.low, max: axis.high, splitNumber: 4, axisLabel: { ...label, formatter: axis.text as (value: number) => string } }),
      })),
      // Axes without a series are not drawn.
      series: [{ type: "parallel", silent: true, data: [] }],
    };
  }

  private lines(pen: CanvasRenderingContext2D, width: number, theme: Theme): void {
    const rows = this.top.slice(-this.shown);
    pen.strokeStyle = theme.after;
    pen.globalAlpha = rows.length > 300 ? 0.12 : 0.25;
    for (const row of rows) {
      pen.beginPath();
      for (const [x, y] of this.places(row, width)) pen.lineTo(x, y);
      pen.stroke();
    }
  }

  private marked(width: number): SVGElement {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("class", "above");
    svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    const selected = this.selection.current === undefined ? undefined : this.store.rows[this.selection.current];
    for (const [row, name] of [[this.store.best, "best"], [selected, "selected"]] as const) {
      if (row === undefined || row.state !== COMPLETED) continue;
      const line = document.createElementNS(svg.namespaceURI, "polyline");
      line.setAttribute("class", name);
      line.setAttribute("points", this.places(row, width).map((place) => place.join(",")).join(" "));
      svg.append(line);
    }
    return svg as SVGElement;
  }

  // The corners of a trial's line, in CSS pixels.
  private places(row: Row, width: number): [number, number][] {
    const [across, up] = [width - MARGIN.left - MARGIN.right, HEIGHT - MARGIN.top - MARGIN.bottom];
    const step = across / Math.max(1, this.axes.length - 1);
    return this.axes.flatMap((axis, index) => {
      const place = crossing(axis, row);
      // A selected trial may lie outside of the lines shown.
      return place === undefined ? [] : [[MARGIN.left + index * step, MARGIN.top + up * (1 - Math.min(1, Math.max(0, place)))] as [number, number]];
    });
  }
}
