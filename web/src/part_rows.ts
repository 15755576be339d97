// What a layer's energy is made of, for the stacked bars.
import type { Layer } from "./payload";

/** Key in the data, name on the page; in the order of the stack. */
export const PARTS = [
  { key: "operations", name: "operations" },
  { key: "parameters", name: "reading weights" },
  { key: "inputs", name: "reading activations" },
  { key: "outputs", name: "writing activations" },
] as const;

export type Part = (typeof PARTS)[number]["key"];

export interface PartRow {
  name: string;
  parts: Record<Part, number>;
  total: number;
}

const none = (): Record<Part, number> => ({ operations: 0, parameters: 0, inputs: 0, outputs: 0 });

export function sumOf(rows: readonly PartRow[], name: string): PartRow {
  const parts = none();
  for (const row of rows) for (const { key } of PARTS) parts[key] += row.parts[key];
  return { name, parts, total: PARTS.reduce((sum, { key }) => sum + parts[key], 0) };
}

/** Layers whose parts are known, in the model's order; those below a two-hundredth of all are added up in a last row. */
export function partRows(layers: readonly Layer[]): PartRow[] {
  const rows: PartRow[] = [];
  for (const { name, energy_parts_nj: known } of layers) {
    if (!known) continue;
    const parts = none();
    for (const { key } of PARTS) parts[key] = known[key] ?? 0;
    rows.push({ name, parts, total: PARTS.reduce((sum, { key }) => sum + parts[key], 0) });
  }
  const limit = sumOf(rows, "").total / 200;
  const small = rows.filter((row) => row.total <= limit);
  if (small.length < 2) return rows;
  return [...rows.filter((row) => row.total > limit), sumOf(small, `${small.length} small layers`)];
}
