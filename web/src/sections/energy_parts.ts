// What the energy of each layer is spent on.
import { Chart, layerAxes, legend, tooltip } from "../chart";
import type { Option, Surface } from "../chart";
import { element, section } from "../dom";
import { count, energy, isKnown, withUnit } from "../format";
import { PARTS, partRows, sumOf } from "../part_rows";
import type { Part, PartRow } from "../part_rows";
import type { Report } from "../payload";
import { table } from "../table";

const COLOURS: Record<Part, "after" | "best" | "compare" | "before"> = {
  operations: "after",
  parameters: "best",
  inputs: "compare",
  outputs: "before",
};

export function energyParts(report: Report): HTMLElement | undefined {
  const rows = partRows(report.layers);
  const total = sumOf(rows, "Total");
  if (!(total.total > 0)) return undefined;
  const lead = `What the energy of each layer of the ${isKnown(report.outcome?.trial) ? "best" : "trained"} model is spent on, per inference.`;
  const chart = new Chart({
    label: `Bar chart. ${lead} The table beside it has the numbers.`,
    height: 64 + rows.length * 30,
    build: (surface) => option(rows, surface),
  });
  const marks = legend(PARTS.map(({ key, name }) => ({ mark: "square" as const, colour: COLOURS[key], text: name })));
  return section(
    "energy-parts",
    "Energy by part",
    lead,
    element("div", { class: "halves" }, element("div", {}, marks, chart.node), partTable(rows, total)),
  );
}

function option(rows: readonly PartRow[], surface: Surface): Option {
  const { theme } = surface;
  return {
    grid: { left: 8, right: 24, top: 8, bottom: 44, containLabel: true },
    ...layerAxes(surface, rows.map((row) => row.name)),
    tooltip: { formatter: (item) => hover(rows[(item as { dataIndex: number }).dataIndex]) },
    series: PARTS.map(({ key, name }) => ({
      type: "bar" as const,
      stack: "energy",
      name,
      data: rows.map((row) => row.parts[key]),
      barMaxWidth: 14,
      itemStyle: { color: theme[COLOURS[key]] },
    })),
  };
}

function hover(row: PartRow | undefined): HTMLElement | string {
  if (!row) return "";
  const lines: [string, string][] = PARTS.map(({ key, name }) => [name, withUnit(energy(row.parts[key]), "nJ")]);
  return tooltip(row.name, [...lines, ["together", withUnit(energy(row.total), "nJ")]]);
}

function partTable(rows: readonly PartRow[], total: PartRow): HTMLElement {
  return table<PartRow>({
    caption: `Energy by part in nJ (${count(rows.length)} rows)`,
    rows,
    columns: [
      { head: "Layer", cell: (row) => row.name },
      ...PARTS.map(({ key, name }) => ({ head: name, cell: (row: PartRow) => energy(row.parts[key]), numeric: true })),
      { head: "together", cell: (row) => energy(row.total), numeric: true },
    ],
    totals: ["Total", ...PARTS.map(({ key }) => energy(total.parts[key])), energy(total.total)],
  });
}
