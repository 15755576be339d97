// One trial: its figures, its choices, its epochs and the energy of its layers.
import { Chart, axisStyle } from "../chart";
import type { Option, Surface } from "../chart";
import { disclosure, element } from "../dom";
import { energy, isKnown, percent, reduction, reductionText } from "../format";
import type { MetricView } from "../metric";
import type { Layer } from "../payload";
import { STATE_NAMES, ask } from "./protocol";
import type { Details, Step, Study } from "./protocol";
import type { Row, TrialStore } from "./store";

export class TrialDetails {
  readonly node = element("aside", { class: "panel details", "aria-live": "polite", "aria-label": "Selected trial" });
  private asked = 0;

  constructor(
    private readonly study: Study,
    private readonly store: TrialStore,
  ) {}

  /** What is known already at once, the rest when the server has answered. */
  async show(number: number | undefined): Promise<void> {
    const row = number === undefined ? undefined : this.store.rows[number];
    const ticket = ++this.asked;
    if (!row) {
      this.node.replaceChildren(element("p", { class: "quiet" }, "Pick a trial in a chart or in the table."));
      return;
    }
    const isAnother = this.node.dataset["trial"] !== String(row.number);
    this.node.dataset["trial"] = String(row.number);
    if (isAnother) this.node.replaceChildren(...this.head(row), element("p", { class: "quiet" }, "Reading …"));
    try {
      const details = await ask<Details>(`api/trials/${row.number}`);
      if (ticket === this.asked) this.node.replaceChildren(...this.head(row), ...this.body(details));
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      if (ticket === this.asked) this.node.replaceChildren(...this.head(row), element("p", { class: "reason" }, reason));
    }
  }

  private head(row: Row): Node[] {
    const best = row.number === this.store.best?.number ? element("span", { class: "tag best" }, "best") : undefined;
    const list = element("dl", { class: "facts" });
    const add = (name: string, value: string): void => list.append(element("dt", {}, name), element("dd", {}, value));
    add("State", STATE_NAMES[row.state]);
    const { view } = this.store;
    add("Score", view.score(row.score, 5));
    add(view.title, view.full(this.store.value(row)));
    const cost = this.store.metric(row, this.study.cost);
    const reference = this.study.facts.references[0];
    if (this.study.cost) add(this.study.cost_name, energy(cost));
    if (this.study.cost === "energy_nj" && reference) add(`Against ${reference.name}`, reductionText(reduction(reference.energy_nj, cost)));
    add("Epochs", String(row.epoch));
    if (row.attempts > 1) add("Attempts", String(row.attempts));
    const nodes: Node[] = [element("h3", {}, `Trial ${row.number} `, best), list];
    if (row.reason) nodes.push(element("p", { class: "reason" }, row.reason));
    return nodes;
  }

  private body(details: Details): Node[] {
    const nodes: Node[] = [];
    const epochs = epochsOf(this.store.view, details.steps);
    if (details.steps.length > 1 && epochs.length > 0) nodes.push(curve(this.store.view, epochs));
    if (details.layers.length > 0) nodes.push(layerTable(details.layers));
    if (details.layers_trouble) nodes.push(element("p", { class: "quiet" }, details.layers_trouble));
    const choices = element("dl", { class: "choices", tabindex: 0, "aria-label": `Choices of trial ${details.number}` });
    for (const [name, value] of Object.entries(details.values)) choices.append(element("dt", {}, name), element("dd", {}, value));
    nodes.push(element("h4", {}, "Choices"), choices);
    const where = [details.worker && `worker ${details.worker}`, details.artifact].filter(Boolean).join(" · ");
    if (where) nodes.push(disclosure("Where it is", element("p", { class: "quiet" }, where)));
    return nodes;
  }
}

/** What trials are judged by, of each epoch; of validation where there is one. */
export function epochsOf(view: MetricView, steps: readonly Step[]): [number, number][] {
  return steps.flatMap(({ step, metrics }): [number, number][] => {
    const value = metrics[`val_${view.name}`] ?? metrics[view.name] ?? (view.name === "accuracy" ? metrics["score"] : undefined);
    return isKnown(value) ? [[step, value]] : [];
  });
}

function curve(view: MetricView, known: readonly [number, number][]): HTMLElement {
  const last = known[known.length - 1];
  const chart = new Chart({
    label: `Line chart of the ${view.word} of ${known.length} epochs, ${[view.text(last?.[1]), view.unit].join(" ").trim()} after the last.`,
    height: 150,
    build: (surface) => curveOption(view, known, surface),
  });
  return element("div", {}, element("h4", {}, `${view.title} of each epoch${view.unit && ` (${view.unit})`}`), chart.node);
}

function curveOption(view: MetricView, points: readonly [number, number][], { theme }: Surface): Option {
  const style = axisStyle(theme);
  return {
    grid: { left: 40, right: 8, top: 10, bottom: 24 },
    xAxis: { ...style, type: "value", min: 1, max: Math.max(2, points[points.length - 1]?.[0] ?? 2), minInterval: 1, splitLine: { show: false } },
    yAxis: { ...style, type: "value", scale: true, splitNumber: 3, axisLabel: { ...style.axisLabel, formatter: (value: number) => (view.name === "accuracy" ? percent(value, 1) : view.text(value)) } },
    series: [{ type: "line", symbolSize: 5, silent: true, data: points.map((point) => [...point]), itemStyle: { color: theme.after }, lineStyle: { color: theme.after } }],
  };
}

function layerTable(layers: readonly Layer[]): HTMLElement {
  const known = layers.filter((layer) => isKnown(layer.energy_nj) && (layer.energy_nj > 0 || isKnown(layer.reference_energy_nj)));
  const most = known.reduce((high, layer) => Math.max(high, layer.energy_nj ?? 0), 0) || 1;
  const body = element("tbody");
  for (const layer of known) {
    const bar = element("div", { class: "bar" });
    bar.style.width = `${(100 * (layer.energy_nj ?? 0)) / most}%`;
    const what = [layer.kernel, layer.activation].filter(Boolean).join(" · ");
    body.append(
      element(
        "tr",
        { title: what || undefined },
        element("th", { scope: "row" }, layer.name),
        element("td", { class: "bars" }, bar),
        element("td", { class: "number" }, energy(layer.energy_nj)),
      ),
    );
  }
  return element("div", { class: "layers" }, element("h4", {}, "Energy of each layer (nJ)"), element("table", {}, element("caption", {}, "Energy of each layer"), body));
}
