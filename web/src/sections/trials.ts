// All trials, to sort and to pick from.
import { costIn, costOf } from "../cost";
import { element, section } from "../dom";
import type { Child } from "../dom";
import { bits, isKnown, percent, reduction, reductionText } from "../format";
import { valueIn, viewOf } from "../metric";
import type { Report, Trial } from "../payload";
import type { Selection } from "../selection";
import { table } from "../table";
import type { Column } from "../table";
import { frontOf } from "./tradeoff";

const TALL = 40; // more rows than this scroll in a box of their own

export function trials(report: Report, selection: Selection): HTMLElement | undefined {
  if (report.trials.length === 0) return undefined;
  const front = new Set(frontOf(report).map((point) => point.trial.number));
  const rows = new Map<number, HTMLTableRowElement>();
  const mark = (tr: HTMLTableRowElement, trial: number): void => {
    if (trial === selection.current) tr.setAttribute("aria-current", "true");
    else tr.removeAttribute("aria-current");
  };
  const node = table<Trial>({
    caption: `All trials (${report.trials.length})`,
    rows: report.trials,
    columns: columns(report, front, selection),
    sortBy: { column: 2, descending: true },
    decorate: (tr, trial) => {
      rows.set(trial.number, tr); // sorting makes the rows anew
      mark(tr, trial.number);
      tr.addEventListener("click", () => selection.select(trial.number));
    },
  });
  node.classList.add("pickable");
  if (report.trials.length > TALL) node.classList.add("tall");
  selection.follow(() => rows.forEach(mark));
  const failed = report.trials.filter((trial) => trial.state === "failed").length;
  const lead =
    (report.goal ? `${report.goal} ` : "") +
    (failed > 0 ? `${failed} of ${report.trials.length} trials failed; the search went on without them. ` : "") +
    "Sort by a column head; pick a row to see its quantizers and its curves above.";
  return section("trials", "Trials", lead, node);
}

function columns(report: Report, front: ReadonlySet<number>, selection: Selection): Column<Trial>[] {
  const [view, cost] = [viewOf(report.metric), costOf(report)];
  const reference = cost.name === "energy_nj" ? report.references[0] : undefined;
  const known = (field: (trial: Trial) => number | null | undefined) => (trial: Trial) => field(trial) ?? undefined;
  const some = (field: (trial: Trial) => unknown): boolean => report.trials.some((trial) => isGiven(field(trial)));
  const list: Column<Trial>[] = [
    { head: "Trial", cell: (trial) => number(trial, selection), key: (trial) => trial.number, numeric: true },
    { head: "State", cell: (trial) => state(report, trial, front), key: (trial) => trial.state },
    { head: "Score", cell: (trial) => view.score(trial.score, 4), key: known((t) => t.score), numeric: true, descendingFirst: true },
    { head: view.head, cell: (trial) => view.text(valueIn(view, trial)), key: known((t) => valueIn(view, t)), numeric: true, descendingFirst: view.isMaximised },
  ];
  if (view.name !== "accuracy" && some((trial) => trial.accuracy)) {
    list.push({ head: "Accuracy (%)", cell: (trial) => percent(trial.accuracy), key: known((t) => t.accuracy), numeric: true, descendingFirst: true });
  }
  list.push({ head: cost.head, cell: (trial) => cost.text(costIn(cost, trial)), key: known((t) => costIn(cost, t)), numeric: true });
  if (reference) {
    const saved = (trial: Trial): number | undefined => reduction(reference.energy_nj, trial.energy_nj);
    list.push({ head: `Against ${reference.name}`, cell: (trial) => reductionText(saved(trial)), key: saved, numeric: true, descendingFirst: true });
  }
  if (some((trial) => trial.weight_bits)) {
    list.push({ head: "Weights", cell: (trial) => bits(trial.weight_bits), key: known((t) => t.weight_bits), numeric: true });
  }
  if (some((trial) => trial.reason)) list.push({ head: "Reason", cell: (trial) => reason(trial) });
  return list;
}

function isGiven(value: unknown): boolean {
  return typeof value === "number" ? isKnown(value) : Boolean(value);
}

function number(trial: Trial, selection: Selection): HTMLElement {
  const button = element("button", { type: "button", class: "pick", "aria-label": `Show trial ${trial.number}` }, String(trial.number));
  button.addEventListener("click", () => selection.select(trial.number));
  return button;
}

function state(report: Report, trial: Trial, front: ReadonlySet<number>): Child {
  const span = element("span", { class: `state ${trial.state}` }, trial.state);
  if (trial.number === report.outcome?.trial) span.append(" ", element("span", { class: "tag best" }, "best"));
  if (front.has(trial.number)) span.append(" ", element("span", { class: "tag", title: "on the Pareto front" }, "front"));
  return span;
}

function reason(trial: Trial): Child {
  return trial.reason ? element("span", { class: "reason" }, trial.reason) : undefined;
}
