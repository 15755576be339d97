// Charts: the parts of ECharts that are used, and what all charts share.
import { BarChart, LineChart, ScatterChart } from "echarts/charts";
import type { BarSeriesOption, LineSeriesOption, ScatterSeriesOption } from "echarts/charts";
import { GridComponent, TooltipComponent } from "echarts/components";
import type { GridComponentOption, TooltipComponentOption } from "echarts/components";
import { init, use } from "echarts/core";
import type { ComposeOption, ECharts } from "echarts/core";
import { SVGRenderer } from "echarts/renderers";
import { element } from "./dom";
import type { AxisScale } from "./scales";
import { onThemeChange, readTheme } from "./theme";
import type { Theme } from "./theme";

use([BarChart, LineChart, ScatterChart, GridComponent, TooltipComponent, SVGRenderer]);

export type Option = ComposeOption<
  BarSeriesOption | LineSeriesOption | ScatterSeriesOption | GridComponentOption | TooltipComponentOption
>;
type ChartOption = Option & { tooltip?: TooltipComponentOption };

/** What a chart is drawn for. */
export interface Surface {
  theme: Theme;
  width: number; // CSS pixels
  narrow: boolean; // a phone
}

export interface ChartOptions {
  label: string; // read out in place of the drawing
  height: number; // CSS pixels
  build: (surface: Surface) => ChartOption;
  onPick?: (data: unknown) => void; // data of the item that was clicked
}

/** A drawing that follows the size of its place and the colour scheme. */
export class Chart {
  readonly node: HTMLElement;
  private drawing: ECharts | undefined;

  constructor(private readonly options: ChartOptions) {
    this.node = element("div", { class: "chart", role: "img", "aria-label": options.label });
    this.node.style.height = `${options.height}px`;
    new ResizeObserver(() => this.draw()).observe(this.node);
    onThemeChange(() => this.draw());
  }

  /** Draws anew, for example because the selection changed. Nothing happens while the chart has no place. */
  draw(): void {
    const width = this.node.clientWidth;
    if (width === 0) return;
    this.drawing ??= this.start();
    this.drawing.resize();
    const theme = readTheme();
    const own = this.options.build({ theme, width, narrow: width < 520 });
    this.drawing.setOption({ ...shared(theme), ...own, tooltip: { ...tooltipStyle(theme), ...own.tooltip } }, true);
  }

  private start(): ECharts {
    const drawing = init(this.node, null, { renderer: "svg" });
    const { onPick } = this.options;
    if (onPick) drawing.on("click", (event) => onPick(event.data));
    return drawing;
  }
}

function shared(theme: Theme): Option {
  return {
    animation: false,
    textStyle: { fontFamily: theme.font, color: theme.ink },
  };
}

function tooltipStyle(theme: Theme): TooltipComponentOption {
  return {
    trigger: "item",
    confine: true,
    backgroundColor: theme.paper,
    borderColor: theme.rule,
    textStyle: { color: theme.ink, fontSize: 13, fontFamily: theme.font },
    extraCssText: "box-shadow: 0 4px 16px rgb(0 0 0 / 14%); border-radius: 6px; white-space: normal; max-width: 22rem;",
  };
}

/** The look of every axis. */
export function axisStyle(theme: Theme) {
  return {
    nameLocation: "middle" as const,
    nameTextStyle: { color: theme.muted, fontSize: 12 },
    axisLine: { lineStyle: { color: theme.rule } },
    axisTick: { lineStyle: { color: theme.rule } },
    axisLabel: { color: theme.muted, fontSize: 12 },
    splitLine: { show: true, lineStyle: { color: theme.rule, opacity: 0.6 } },
  };
}

/** The axes of horizontal bars of energy, one row a layer from the top down. */
export function layerAxes({ theme, narrow }: Surface, names: readonly string[]) {
  const style = axisStyle(theme);
  return {
    xAxis: { ...style, type: "value" as const, name: "Energy per inference (nJ)", nameGap: 28, splitNumber: narrow ? 3 : 5 },
    yAxis: {
      ...style,
      type: "category" as const,
      data: [...names],
      inverse: true,
      axisTick: { show: false },
      splitLine: { show: false },
      axisLabel: { ...style.axisLabel, color: theme.ink },
    },
  };
}

/** An axis over transformed values with its own round ticks. */
export function scaledAxis(theme: Theme, scale: AxisScale, name: string, nameGap: number) {
  const style = axisStyle(theme);
  const at = scale.ticks.map((tick) => tick.at);
  const labels = new Map(scale.ticks.map((tick) => [tick.at, tick.label]));
  return {
    ...style,
    type: "value" as const,
    name,
    nameGap,
    min: scale.min,
    max: scale.max,
    axisTick: { ...style.axisTick, customValues: at },
    axisLabel: { ...style.axisLabel, customValues: at, formatter: (value: number) => labels.get(value) ?? "" },
    axisLine: { ...style.axisLine, onZero: false },
  };
}

/** Rows of a tooltip: a heading and name-value pairs, as elements so that no text of the data is markup. */
export function tooltip(heading: string, rows: readonly (readonly [string, string])[]): HTMLElement {
  const list = element("dl", { class: "facts" });
  for (const [name, value] of rows) list.append(element("dt", {}, name), element("dd", {}, value));
  return element("div", { class: "tip" }, element("strong", {}, heading), list);
}

export interface LegendEntry {
  mark: "dot" | "ring" | "diamond" | "square" | "line" | "dashes";
  colour: "before" | "after" | "best" | "compare" | "muted";
  text: string;
}

export function legend(entries: readonly LegendEntry[]): HTMLElement {
  const list = element("ul", { class: "legend" });
  for (const { mark, colour, text } of entries) {
    list.append(element("li", {}, element("i", { class: `mark ${mark} ${colour}`, "aria-hidden": "true" }), text));
  }
  return list;
}
