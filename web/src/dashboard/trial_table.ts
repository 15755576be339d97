// All trials as a table of which only the rows in view exist: ten thousand scroll like ten.
import { element } from "../dom";
import { energy, fixed } from "../format";
import type { Selection } from "../selection";
import { COMPLETED, STATE_NAMES } from "./protocol";
import type { Study } from "./protocol";
import type { Row, TrialStore } from "./store";

const ROW_HEIGHT = 30; // as in dashboard.css
const MARGIN = 12; // rows above and below those in view

type Key = "number" | "state" | "score" | "value" | "cost" | "epoch" | "seconds";

interface Column {
  key: Key;
  head: string;
  descendingFirst: boolean;
  value: (row: Row) => number | undefined;
  text: (row: Row) => string;
}

/** Numbers of the rows in order; rows without a value last, equal ones by number. */
export function ordered(rows: readonly Row[], value: (row: Row) => number | undefined, descending: boolean): number[] {
  const sign = descending ? -1 : 1;
  const keys = Float64Array.from(rows, (row) => sign * (value(row) ?? sign * Infinity));
  const order = Uint32Array.from(rows, (_, index) => index);
  // Of two that are infinite, the difference is no number: then their places decide.
  order.sort((a, b) => (keys[a] as number) - (keys[b] as number) || a - b);
  return Array.from(order, (index) => (rows[index] as Row).number);
}

export class TrialTable {
  readonly node: HTMLElement;
  private readonly columns: readonly Column[];
  private readonly box = element("div", { class: "scroll virtual pickable", tabindex: 0, role: "region", "aria-label": "Trials" });
  private readonly body = element("tbody");
  private readonly heads = element("tr");
  private readonly count = element("span", { class: "quiet" });
  private order: number[] = [];
  private sort: { key: Key; descending: boolean } = { key: "number", descending: true };
  private state = "";
  private front = new Set<number>();

  constructor(
    study: Study,
    private readonly store: TrialStore,
    private readonly selection: Selection,
  ) {
    const { view } = store;
    this.columns = [
      { key: "number", head: "Trial", descendingFirst: true, value: (row) => row.number, text: (row) => String(row.number) },
      { key: "state", head: "State", descendingFirst: false, value: (row) => row.state, text: (row) => STATE_NAMES[row.state] },
      { key: "score", head: "Score", descendingFirst: true, value: (row) => row.score, text: (row) => view.score(row.score, 4) },
      { key: "value", head: view.head, descendingFirst: view.isMaximised, value: (row) => store.value(row), text: (row) => view.text(store.value(row)) },
      { key: "cost", head: study.cost_name || "Cost", descendingFirst: false, value: (row) => store.metric(row, study.cost), text: (row) => energy(store.metric(row, study.cost)) },
      { key: "epoch", head: "Epochs", descendingFirst: true, value: (row) => row.epoch, text: (row) => String(row.epoch) },
      { key: "seconds", head: "Seconds", descendingFirst: true, value: (row) => row.seconds || undefined, text: (row) => fixed(row.seconds || undefined, 1) },
    ];
    this.columns.forEach((column) => this.heads.append(this.head(column)));
    this.box.append(element("table", {}, element("caption", {}, "Trials"), element("thead", {}, this.heads), this.body));
    this.box.addEventListener("scroll", () => this.fill(), { passive: true });
    const filter = element("select", { id: "state" }, element("option", { value: "" }, "all"));
    for (const name of STATE_NAMES) filter.append(element("option", { value: name }, name));
    filter.addEventListener("change", () => {
      this.state = filter.value;
      this.update();
    });
    this.node = element(
      "div",
      {},
      element("div", { class: "toolbar" }, element("label", { class: "picker", for: "state" }, "State: ", filter), this.count),
      this.box,
    );
    selection.follow(() => this.fill());
  }

  /** Takes over what the store has now. */
  update(front: ReadonlySet<number> = this.front): void {
    this.front = new Set(front);
    const column = this.columns.find(({ key }) => key === this.sort.key) as Column;
    const rows = this.state === "" ? this.store.rows : this.store.rows.filter((row) => STATE_NAMES[row.state] === this.state);
    this.order = ordered(rows, column.value, this.sort.descending);
    [...this.heads.children].forEach((cell, index) => {
      if (this.columns[index]?.key === this.sort.key) cell.setAttribute("aria-sort", this.sort.descending ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    });
    this.count.textContent = `${this.order.length.toLocaleString("en-US")} of ${this.store.rows.length.toLocaleString("en-US")} trials`;
    this.fill();
  }

  private head(column: Column): HTMLElement {
    const button = element("button", { type: "button", class: "sort" }, column.head);
    button.addEventListener("click", () => {
      const descending = this.sort.key === column.key ? !this.sort.descending : column.descendingFirst;
      this.sort = { key: column.key, descending };
      this.box.scrollTop = 0;
      this.update();
    });
    return element("th", { scope: "col", class: column.key === "state" ? undefined : "number" }, button);
  }

  // The rows in view, between two rows as high as those that are not.
  private fill(): void {
    const first = Math.max(0, Math.floor(this.box.scrollTop / ROW_HEIGHT) - MARGIN);
    const visible = Math.ceil((this.box.clientHeight || 480) / ROW_HEIGHT) + 2 * MARGIN;
    const last = Math.min(this.order.length, first + visible);
    const space = (rows: number): HTMLElement => {
      const row = element("tr", { class: "space", "aria-hidden": "true" });
      row.style.height = `${rows * ROW_HEIGHT}px`;
      return row;
    };
    const rows = this.order.slice(first, last).map((number) => this.row(this.store.rows[number] as Row));
    this.body.replaceChildren(space(first), ...rows, space(this.order.length - last));
  }

  private row(row: Row): HTMLElement {
    const tr = element("tr", { "aria-current": row.number === this.selection.current ? "true" : undefined });
    tr.addEventListener("click", () => this.selection.select(row.number));
    for (const column of this.columns) {
      if (column.key === "number") {
        const pick = element("button", { type: "button", class: "pick", "aria-label": `Show trial ${row.number}` }, String(row.number));
        tr.append(element("th", { scope: "row", class: "number" }, pick));
      } else if (column.key === "state") {
        tr.append(element("td", {}, this.stateOf(row)));
      } else {
        tr.append(element("td", { class: "number" }, column.text(row)));
      }
    }
    return tr;
  }

  private stateOf(row: Row): HTMLElement {
    const span = element("span", { class: `state ${STATE_NAMES[row.state]}`, title: row.reason || undefined }, STATE_NAMES[row.state]);
    if (row.number === this.store.best?.number) span.append(" ", element("span", { class: "tag best" }, "best"));
    if (row.state === COMPLETED && this.front.has(row.number)) span.append(" ", element("span", { class: "tag", title: "on the Pareto front" }, "front"));
    return span;
  }
}
