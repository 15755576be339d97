// Which layers get a bar of their own.
import type { Layer } from "./payload";

export interface EnergyRow {
  name: string;
  before: number | undefined;
  after: number | undefined;
}

/**
 * Rows worth a bar, in the model's order: layers below a two-hundredth of the largest column are added up in one last
 * row, so that the costly ones have room.
 */
export function energyRows(layers: readonly Layer[]): EnergyRow[] {
  const rows = layers
    .map((layer) => ({ name: layer.name, before: layer.reference_energy_nj ?? undefined, after: layer.energy_nj ?? undefined }))
    .filter((row) => row.before !== undefined || row.after !== undefined);
  const total = (side: "before" | "after"): number => rows.reduce((sum, row) => sum + (row[side] ?? 0), 0);
  const limits = { before: total("before") / 200, after: total("after") / 200 };
  const large = rows.filter((row) => (row.before ?? 0) > limits.before || (row.after ?? 0) > limits.after);
  const small = rows.filter((row) => !large.includes(row));
  if (small.length < 2) return rows;
  const sum = (side: "before" | "after"): number | undefined =>
    small.some((row) => row[side] !== undefined) ? small.reduce((s, row) => s + (row[side] ?? 0), 0) : undefined;
  return [...large, { name: `${small.length} small layers`, before: sum("before"), after: sum("after") }];
}
