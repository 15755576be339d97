// Energy of each layer, before and after.
import { Chart, layerAxes, legend, tooltip } from "../chart";
import type { Option, Surface } from "../chart";
import { element, section } from "../dom";
import { count, energy, isKnown, percent, reduction, reductionText, withUnit } from "../format";
import { energyRows } from "../energy_rows";
import type { EnergyRow } from "../energy_rows";
import type { Report } from "../payload";
import { table } from "../table";

export function layerEnergy(report: Report): HTMLElement | undefined {
  const rows = energyRows(report.layers);
  if (rows.length === 0) return undefined;
  const reference = report.references[0]?.name ?? "reference";
  const compared = rows.some((row) => row.before !== undefined) && rows.some((row) => row.after !== undefined);
  const lead = compared
    ? `Energy per inference of each layer in the ${reference} reference and in the ${isKnown(report.outcome?.trial) ? "best" : "trained"} model.`
    : "Energy per inference of each layer.";
  const chart = new Chart({
    label: `Bar chart. ${lead} The table beside it has the numbers.`,
    height: 64 + rows.length * (compared ? 44 : 30),
    build: (surface) => option(rows, reference, compared, surface),
  });
  const marks = compared
    ? legend([
        { mark: "square", colour: "before", text: `${reference} reference` },
        { mark: "square", colour: "after", text: "quantized" },
      ])
    : undefined;
  return section(
    "layer-energy",
    "Energy by layer",
    lead,
    element("div", { class: "halves" }, element("div", {}, marks, chart.node), energyTable(rows, reference, compared)),
  );
}

function option(rows: readonly EnergyRow[], reference: string, compared: boolean, surface: Surface): Option {
  const { theme } = surface;
  const bars = (side: "before" | "after", colour: string, name: string) => ({
    type: "bar" as const,
    name,
    data: rows.map((row) => row[side] ?? null),
    barMaxWidth: 14,
    barMinHeight: 2,
    barGap: "15%",
    itemStyle: { color: colour, borderRadius: [0, 2, 2, 0] },
    label: {
      show: true,
      position: "right" as const,
      color: side === "before" && compared ? theme.muted : theme.ink,
      fontSize: 12,
      formatter: (item: { value?: unknown }) => energy(item.value as number),
    },
  });
  const series = [];
  if (rows.some((row) => row.before !== undefined)) series.push(bars("before", theme.before, reference));
  if (rows.some((row) => row.after !== undefined)) series.push(bars("after", theme.after, "model"));
  return {
    grid: { left: 8, right: 48, top: 8, bottom: 44, containLabel: true },
    ...layerAxes(surface, rows.map((row) => row.name)),
    tooltip: { formatter: (item) => hover(rows[(item as { dataIndex: number }).dataIndex], reference) },
    series,
  };
}

function hover(row: EnergyRow | undefined, reference: string): HTMLElement | string {
  if (!row) return "";
  const lines: [string, string][] = [];
  if (row.before !== undefined) lines.push([reference, withUnit(energy(row.before), "nJ")]);
  if (row.after !== undefined) lines.push([row.before === undefined ? "energy" : "quantized", withUnit(energy(row.after), "nJ")]);
  const saved = reduction(row.before, row.after);
  if (isKnown(saved)) lines.push(["difference", reductionText(saved)]);
  return tooltip(row.name, lines);
}

function energyTable(rows: readonly EnergyRow[], reference: string, compared: boolean): HTMLElement {
  const known = (side: "before" | "after"): boolean => rows.some((row) => row[side] !== undefined);
  const total = (side: "before" | "after"): number | undefined =>
    known(side) ? rows.reduce((sum, row) => sum + (row[side] ?? 0), 0) : undefined;
  const [before, after] = [total("before"), total("after")];
  const share = (row: EnergyRow): number | undefined => {
    const [part, whole] = after !== undefined ? [row.after, after] : [row.before, before];
    return part !== undefined && whole ? part / whole : undefined;
  };
  const columns = [
    { head: "Layer", cell: (row: EnergyRow) => row.name },
    { head: `${reference} (nJ)`, cell: (row: EnergyRow) => energy(row.before), numeric: true, shown: known("before"), total: energy(before) },
    { head: compared ? "Quantized (nJ)" : "Energy (nJ)", cell: (row: EnergyRow) => energy(row.after), numeric: true, shown: known("after"), total: energy(after) },
    {
      head: "Difference",
      cell: (row: EnergyRow) => reductionText(reduction(row.before, row.after)),
      numeric: true,
      shown: compared,
      total: reductionText(reduction(before, after)),
    },
    { head: "Share (%)", cell: (row: EnergyRow) => percent(share(row), 1), numeric: true, total: "100.0" },
  ].filter((column) => column.shown !== false);
  return table<EnergyRow>({
    caption: `Energy by layer (${count(rows.length)} rows)`,
    rows,
    columns,
    totals: columns.map((column, index) => (index === 0 ? "Total" : column.total)),
  });
}
