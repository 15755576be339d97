// What trials are judged by against their cost, with the Pareto front.
import { scaledAxis } from "../chart";
import { energy } from "../format";
import { energyScale } from "../scales";
import type { AxisScale } from "../scales";
import type { Selection } from "../selection";
import type { Theme } from "../theme";
import { LiveChart, cloud, livePoints } from "./live_chart";
import type { LiveOption, LivePoints } from "./live_chart";
import type { Study } from "./protocol";
import type { Measured, TrialStore } from "./store";

interface Drawn {
  points: LivePoints;
  front: readonly Measured[];
  x: AxisScale;
  y: AxisScale;
}

/** What a scale must know of many values: the lowest, the lowest above 0 (a logarithm has no place for 0), the highest. */
export function span(list: readonly Measured[], field: "cost" | "value", otherwise: readonly number[]): readonly number[] {
  let [low, least, high] = [Infinity, Infinity, -Infinity];
  for (const point of list) {
    const value = point[field];
    [low, high] = [Math.min(low, value), Math.max(high, value)];
    if (value > 0) least = Math.min(least, value);
  }
  return Number.isFinite(low) ? [low, Number.isFinite(least) ? least : low, high] : otherwise;
}

export function tradeoff(study: Study, store: TrialStore, selection: Selection, describe: (trial: number) => HTMLElement): LiveChart {
  let drawn: Drawn | undefined;
  const { view } = store;
  const prepare = (): Drawn => {
    const all = store.measured(study.cost);
    const [x, y] = [energyScale(span(all, "cost", [1, 10])), view.scale(span(all, "value", view.range))];
    const points = livePoints(all, (p) => x.toAxis(p.cost), (p) => y.toAxis(p.value), (p) => p.row.number);
    return { points, front: store.front(study.cost), x, y };
  };
  return new LiveChart({
    label: () => {
      const front = drawn?.front ?? [];
      const ends = [front[0], front[front.length - 1]].map((p) => (p ? `${energy(p.cost)} at ${[view.text(p.value), view.unit].join(" ").trim()}` : "nothing"));
      return `Scatter chart of ${view.word} against ${study.cost_name}. ${front.length} trials are on the Pareto front, from ${ends[0]} to ${ends[1]}.`;
    },
    height: 340,
    points: () => drawn?.points,
    describe,
    onPick: (trial) => selection.select(trial),
    build: (theme) => {
      drawn = prepare();
      return option(study, store, drawn, theme);
    },
  });
}

function option(study: Study, store: TrialStore, { points, front, x, y }: Drawn, theme: Theme): LiveOption {
  const at = (p: Measured): [number, number] => [x.toAxis(p.cost), y.toAxis(p.value)];
  const best = store.measured(study.cost).filter((p) => p.row.number === store.best?.number);
  return {
    grid: { left: 58, right: 16, top: 24, bottom: 44 },
    xAxis: scaledAxis(theme, x, `${study.cost_name}, logarithmic`, 28),
    yAxis: scaledAxis(theme, y, store.view.name === "accuracy" || y.isLinear ? store.view.head : store.view.axis, 40),
    series: [
      cloud(points, theme.after),
      { type: "line", step: "end", symbol: "none", silent: true, data: front.map(at), lineStyle: { color: theme.after, width: 1.5 } },
      { type: "scatter", large: true, largeThreshold: 100, silent: true, symbolSize: 7, itemStyle: { color: theme.after, opacity: 1 }, data: front.map(at) },
      { type: "scatter", silent: true, symbol: "diamond", symbolSize: 15, itemStyle: { color: theme.best, opacity: 1 }, data: best.map(at) },
    ],
  };
}
