// Tables that can be sorted by their column heads.
import { element } from "./dom";
import type { Child } from "./dom";
import { sorted } from "./sort";

export interface Column<Row> {
  head: string;
  title?: string; // a longer explanation
  numeric?: boolean;
  cell: (row: Row) => Child;
  /** What to sort by; undefined goes last in both directions. Without it the column does not sort. */
  key?: (row: Row) => number | string | undefined;
  descendingFirst?: boolean;
}

export interface TableOptions<Row> {
  caption: string;
  rows: readonly Row[];
  columns: readonly Column<Row>[]; // the first one names the row
  sortBy?: { column: number; descending: boolean };
  decorate?: (tr: HTMLTableRowElement, row: Row) => void;
  totals?: readonly Child[];
}

export function table<Row>(options: TableOptions<Row>): HTMLElement {
  const body = element("tbody");
  const headRow = element("tr");
  let order = options.sortBy;

  const fill = (): void => {
    const key = order === undefined ? undefined : options.columns[order.column]?.key;
    const rows = order !== undefined && key !== undefined ? sorted(options.rows, key, order.descending) : options.rows;
    body.replaceChildren(...rows.map((row) => bodyRow(options, row)));
    [...headRow.children].forEach((cell, index) => {
      if (index === order?.column) cell.setAttribute("aria-sort", order.descending ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    });
  };

  options.columns.forEach((column, index) => {
    headRow.append(
      headCell(column, () => {
        const descending = order?.column === index ? !order.descending : (column.descendingFirst ?? false);
        order = { column: index, descending };
        fill();
      }),
    );
  });
  fill();

  const node = element("table", {}, element("caption", {}, options.caption), element("thead", {}, headRow), body);
  if (options.totals) node.append(element("tfoot", {}, totalsRow(options.columns, options.totals)));
  // Scrolls on its own on a phone, so the keyboard must be able to reach it.
  return element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": options.caption }, node);
}

function headCell<Row>(column: Column<Row>, sort: () => void): HTMLElement {
  const cell = element("th", { scope: "col", class: column.numeric ? "number" : undefined, title: column.title });
  if (column.key === undefined) {
    cell.append(column.head);
    return cell;
  }
  const button = element("button", { type: "button", class: "sort" }, column.head);
  button.addEventListener("click", sort);
  cell.append(button);
  return cell;
}

function bodyRow<Row>(options: TableOptions<Row>, row: Row): HTMLTableRowElement {
  const tr = element("tr");
  options.columns.forEach((column, index) => {
    const attributes = { class: column.numeric ? "number" : undefined };
    tr.append(
      index === 0
        ? element("th", { ...attributes, scope: "row" }, column.cell(row))
        : element("td", attributes, column.cell(row)),
    );
  });
  options.decorate?.(tr, row);
  return tr;
}

function totalsRow<Row>(columns: readonly Column<Row>[], totals: readonly Child[]): HTMLElement {
  const tr = element("tr");
  columns.forEach((column, index) => {
    const attributes = { class: column.numeric ? "number" : undefined };
    tr.append(
      index === 0 ? element("th", { ...attributes, scope: "row" }, totals[0]) : element("td", attributes, totals[index]),
    );
  });
  return tr;
}
