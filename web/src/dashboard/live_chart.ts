// Charts of many points that change while one looks: drawn on a canvas, picked and marked outside of it.
//
// ECharts draws; which point is under the pointer is found here, in one pass over the pixels' coordinates, and the ring
// around the selected one is an element above the canvas. So neither needs a new drawing.
import type { EChartsOption } from "echarts";
import { LineChart, ParallelChart, ScatterChart } from "echarts/charts";
import { GridComponent, ParallelComponent } from "echarts/components";
import { init, use } from "echarts/core";
import type { ECharts } from "echarts/core";
import { CanvasRenderer } from "echarts/renderers";
import { element } from "../dom";
import { onThemeChange, readTheme } from "../theme";
import type { Theme } from "../theme";

use([LineChart, ScatterChart, ParallelChart, GridComponent, ParallelComponent, CanvasRenderer]);

export type LiveOption = EChartsOption;

/** Points on the axes: x and y in turn, as ECharts reads them without looking at each, and whose they are. */
export interface LivePoints {
  at: Float32Array;
  trials: Int32Array;
}

export function livePoints<T>(list: readonly T[], x: (item: T) => number, y: (item: T) => number, trial: (item: T) => number): LivePoints {
  const points = { at: new Float32Array(2 * list.length), trials: new Int32Array(list.length) };
  list.forEach((item, index) => {
    points.at[2 * index] = x(item);
    points.at[2 * index + 1] = y(item);
    points.trials[index] = trial(item);
  });
  return points;
}

/** The dots of many trials, drawn as one shape. */
export function cloud(points: LivePoints, colour: string) {
  const many = points.trials.length > 2000;
  return {
    type: "scatter" as const,
    large: true,
    largeThreshold: 500,
    silent: true,
    symbolSize: many ? 3 : 6,
    dimensions: ["x", "y"],
    itemStyle: { color: colour, opacity: many ? 0.4 : 0.7 },
    data: points.at,
  };
}

export interface LiveChartOptions {
  label: () => string; // read out in place of the drawing
  height: number; // CSS pixels
  build: (theme: Theme, width: number) => LiveOption;
  points?: () => LivePoints | undefined; // of the last drawing
  describe?: (trial: number) => HTMLElement; // shown beside the pointer
  onPick?: (trial: number) => void;
  above?: (width: number) => SVGElement; // drawn over it, and anew by itself through overlay()
  below?: (pen: CanvasRenderingContext2D, width: number, theme: Theme) => void; // drawn under it, and through underlay()
}

const REACH = 14; // pixels from a point at which it still answers

export class LiveChart {
  readonly node: HTMLElement;
  private readonly canvas = element("div", { class: "canvas" });
  private readonly ring = element("div", { class: "ring", hidden: true });
  private readonly tip = element("div", { class: "float tip", hidden: true });
  private drawing: ECharts | undefined;
  private marked: number | undefined;
  private pixels: LivePoints | undefined; // the points in CSS pixels

  constructor(private readonly options: LiveChartOptions) {
    this.node = element("div", { class: "live", role: "img" }, this.canvas, this.ring, this.tip);
    this.canvas.style.height = `${options.height}px`;
    new ResizeObserver(() => this.draw()).observe(this.canvas);
    onThemeChange(() => this.draw());
    if (!options.points) return;
    this.canvas.addEventListener("click", (event) => {
      const trial = this.at(event);
      if (trial !== undefined) options.onPick?.(trial);
    });
    this.canvas.addEventListener("pointermove", (event) => this.hover(event));
    this.canvas.addEventListener("pointerleave", () => (this.tip.hidden = true));
  }

  /** Draws anew. Nothing happens while the chart has no place. */
  draw(): void {
    const width = this.canvas.clientWidth;
    if (width === 0) return;
    const isNew = this.drawing === undefined;
    this.drawing ??= init(this.canvas, null, { renderer: "canvas" });
    if (!isNew && this.drawing.getWidth() !== width) this.drawing.resize();
    const theme = readTheme();
    this.drawing.setOption(
      { animation: false, textStyle: { fontFamily: theme.font, color: theme.ink }, ...this.options.build(theme, width) },
      { notMerge: true, lazyUpdate: false },
    );
    this.pixels = undefined;
    this.node.setAttribute("aria-label", this.options.label());
    this.underlay();
    this.overlay();
    this.mark(this.marked);
  }

  overlay(): void {
    const { above } = this.options;
    if (!above) return;
    this.node.querySelector("svg")?.remove();
    if (this.canvas.clientWidth > 0) this.node.append(above(this.canvas.clientWidth));
  }

  underlay(): void {
    const { below, height } = this.options;
    const width = this.canvas.clientWidth;
    if (!below || width === 0) return;
    const sheet = this.node.querySelector<HTMLCanvasElement>("canvas.below") ?? element("canvas", { class: "below" });
    if (!sheet.isConnected) this.canvas.before(sheet);
    // A canvas is empty once its size is set.
    sheet.width = Math.round(width * devicePixelRatio);
    sheet.height = Math.round(height * devicePixelRatio);
    const pen = sheet.getContext("2d");
    if (!pen) return;
    pen.scale(devicePixelRatio, devicePixelRatio);
    below(pen, width, readTheme());
    this.node.setAttribute("aria-label", this.options.label());
  }

  /** Puts the ring around a trial's point. */
  mark(trial: number | undefined): void {
    this.marked = trial;
    const found = trial === undefined ? undefined : this.place(trial);
    this.ring.hidden = found === undefined;
    if (found) this.ring.style.transform = `translate(${found[0]}px, ${found[1]}px)`;
  }

  private places(): LivePoints | undefined {
    const points = this.pixels ? undefined : this.options.points?.();
    if (!points || !this.drawing) return this.pixels;
    // Axes are linear: two corners give the map of all points.
    const from = this.drawing.convertToPixel("grid", [0, 0]);
    const to = this.drawing.convertToPixel("grid", [1, 1]);
    if (!from || !to) return undefined;
    const [x0 = 0, y0 = 0] = from;
    const [x1 = 0, y1 = 0] = to;
    const at = points.at.map((value, index) => (index % 2 === 0 ? x0 + (x1 - x0) * value : y0 + (y1 - y0) * value));
    return (this.pixels = { at, trials: points.trials });
  }

  private place(trial: number): [number, number] | undefined {
    const pixels = this.places();
    const index = pixels?.trials.indexOf(trial) ?? -1;
    return pixels && index >= 0 ? [pixels.at[2 * index] as number, pixels.at[2 * index + 1] as number] : undefined;
  }

  private at(event: MouseEvent): number | undefined {
    const pixels = this.places();
    if (!pixels) return undefined;
    const box = this.canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    let [nearest, distance] = [-1, REACH * REACH];
    for (let i = 0; i < pixels.trials.length; ++i) {
      const dx = (pixels.at[2 * i] as number) - x;
      const dy = (pixels.at[2 * i + 1] as number) - y;
      const squared = dx * dx + dy * dy;
      if (squared < distance) {
        nearest = i;
        distance = squared;
      }
    }
    return nearest < 0 ? undefined : pixels.trials[nearest];
  }

  private hover(event: PointerEvent): void {
    const trial = this.at(event);
    this.tip.hidden = trial === undefined || !this.options.describe;
    this.canvas.style.cursor = trial === undefined ? "" : "pointer";
    if (trial === undefined || !this.options.describe) return;
    this.tip.replaceChildren(this.options.describe(trial));
    const box = this.canvas.getBoundingClientRect();
    const right = event.clientX - box.left > box.width / 2;
    this.tip.style.left = right ? "auto" : `${event.clientX - box.left + 14}px`;
    this.tip.style.right = right ? `${box.right - event.clientX + 14}px` : "auto";
    this.tip.style.top = `${event.clientY - box.top + 10}px`;
  }
}
