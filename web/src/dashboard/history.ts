// Scores in the order of the trials, and the best so far.
import { axisStyle } from "../chart";
import type { Selection } from "../selection";
import { LiveChart, cloud, livePoints } from "./live_chart";
import type { LiveOption, LivePoints } from "./live_chart";
import { COMPLETED } from "./protocol";
import { bestSoFar, quantile } from "./store";
import type { TrialStore } from "./store";
import type { Theme } from "../theme";

/** Scores below this are drawn at it: a few failures would squeeze all others. */
function floorOf(scores: readonly number[], best: number): number {
  const low = quantile(scores, 0.02);
  return low - 0.05 * Math.max(best - low, 1e-9);
}

export function history(store: TrialStore, selection: Selection, describe: (trial: number) => HTMLElement): LiveChart {
  let points: LivePoints | undefined;
  return new LiveChart({
    label: () => `Scatter chart of the scores of ${store.rows.length} trials; the best is ${store.view.score(store.best?.score, 4)}.`,
    height: 340,
    points: () => points,
    describe,
    onPick: (trial) => selection.select(trial),
    build: (theme) => {
      const scored = store.rows.filter((row) => row.state === COMPLETED && row.score !== undefined);
      const scores = scored.map((row) => row.score as number);
      const floor = scores.length > 0 ? floorOf(scores, store.best?.score ?? 0) : 0;
      points = livePoints(scored, (row) => row.number, (row) => Math.max(row.score as number, floor), (row) => row.number);
      return option(store, points, floor, theme);
    },
  });
}

function option(store: TrialStore, points: LivePoints, floor: number, theme: Theme): LiveOption {
  const style = axisStyle(theme);
  const line = bestSoFar(store.rows);
  const high = store.best?.score ?? 1;
  return {
    grid: { left: 62, right: 16, top: 24, bottom: 44 },
    xAxis: { ...style, type: "value", name: "Trial", nameGap: 28, min: 0, max: Math.max(store.rows.length - 1, 1) },
    yAxis: {
      ...style,
      type: "value",
      name: "Score",
      nameGap: 46,
      min: floor,
      max: high + 0.04 * Math.max(high - floor, 1e-6),
      axisLabel: { ...style.axisLabel, formatter: (value: number) => store.view.score(value, 3), showMinLabel: false, showMaxLabel: false },
    },
    series: [
      cloud(points, theme.after),
      { type: "line", step: "end", symbol: "none", silent: true, data: line, lineStyle: { color: theme.best, width: 2 } },
    ],
  };
}
