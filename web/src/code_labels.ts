// Words for histograms of weight codes.
import { code, count, percent, powerOfTwo, scale, withUnit } from "./format";
import type { CodeBin, WeightHistogram } from "./payload";

/** The value of a bin as a label: "−3", "−2⁻³", or a range of codes. */
export function binLabel(histogram: WeightHistogram, bin: CodeBin): string {
  if (histogram.kind === "power_of_two") {
    const name = (exponent: number): string => (bin.sign === -1 ? "\u2212" : "") + powerOfTwo(exponent);
    return bin.first === bin.last ? name(bin.first) : `${name(bin.first)} to ${name(bin.last)}`;
  }
  return bin.first === bin.last ? code(bin.first) : `${code(bin.first)} to ${code(bin.last)}`;
}

/** The facts under a histogram: "13 of 16 codes · 12.5 % zeros · scale 2⁻³". */
export function histogramFacts(histogram: WeightHistogram): string[] {
  const possible = 2 ** histogram.bit_width;
  const { scale_min: low, scale_max: high } = histogram;
  const scales = scale(low) === scale(high) ? `scale ${scale(low)}` : `scales ${scale(low)} to ${scale(high)}`;
  return [
    `${count(histogram.total)} weights`,
    `${count(histogram.used_codes)} of ${count(possible)} codes used`,
    `${withUnit(percent(histogram.total > 0 ? histogram.zeros / histogram.total : undefined, 1), "%")} zeros`,
    scales,
  ];
}

/** Labels at round codes (or exponents): as many as fit. */
export function labelStep(bins: number, fitting: number): number {
  let step = 1;
  while (bins / step > fitting) step *= 2;
  return step;
}
