// The quantizers that each layer got.
import { element, section } from "../dom";
import { count, energy, isKnown } from "../format";
import type { Layer, Report } from "../payload";
import { table } from "../table";
import type { Column } from "../table";

export function quantizers(report: Report): HTMLElement | undefined {
  const rows = report.layers.filter((layer) => layer.kernel || layer.bias || layer.activation);
  if (rows.length === 0) return undefined;
  const has = (field: (layer: Layer) => unknown): boolean => rows.some((layer) => field(layer) !== undefined && field(layer) !== null);
  const columns: Column<Layer>[] = [
    { head: "Layer", cell: (layer) => layer.name },
    { head: "Type", cell: (layer) => layer.type },
    { head: "Kernel", cell: (layer) => quantizer(layer.kernel) },
    { head: "Bias", cell: (layer) => quantizer(layer.bias) },
    { head: "Activation", cell: (layer) => quantizer(layer.activation) },
  ];
  if (has((layer) => layer.filters)) columns.push({ head: "Filters", cell: filters, numeric: true });
  if (has((layer) => layer.parameters)) {
    columns.push({ head: "Parameters", cell: (layer) => (isKnown(layer.parameters) ? count(layer.parameters) : ""), numeric: true });
  }
  if (has((layer) => layer.energy_nj)) {
    columns.push({ head: "Energy (nJ)", cell: (layer) => energy(layer.energy_nj), numeric: true });
  }
  return section(
    "quantizers",
    "Quantizers",
    isKnown(report.outcome?.trial)
      ? "What the search chose for each layer of the best model."
      : "How the weights and activations of each layer are quantized.",
    table<Layer>({ caption: "Quantizers of each layer", rows, columns }),
  );
}

function quantizer(text: string | undefined): HTMLElement | undefined {
  if (!text) return undefined;
  const code = element("code");
  // May break before a named argument, where the table has no room.
  text.split(/(?<=,)(?=[a-z])/).forEach((part, index) => code.append(...(index > 0 ? [element("wbr"), part] : [part])));
  return code;
}

function filters(layer: Layer): string {
  if (!isKnown(layer.filters)) return "";
  const changed = isKnown(layer.reference_filters) && layer.reference_filters !== layer.filters;
  return changed ? `${count(layer.reference_filters)} → ${count(layer.filters)}` : count(layer.filters);
}
