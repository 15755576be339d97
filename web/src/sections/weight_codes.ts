// How often each integer code occurs among the weights of a layer.
import { Chart, axisStyle, tooltip } from "../chart";
import type { Option, Surface } from "../chart";
import { binLabel, histogramFacts, labelStep } from "../code_labels";
import { disclosure, element, section } from "../dom";
import { count, percent, withUnit } from "../format";
import type { CodeBin, Report, WeightHistogram } from "../payload";
import { table } from "../table";

export function weightCodes(report: Report): HTMLElement | undefined {
  if (report.histograms.length === 0) return undefined;
  const grid = element("div", { class: "multiples" });
  for (const histogram of report.histograms) grid.append(multiple(histogram));
  const powers = report.histograms.some((histogram) => histogram.kind === "power_of_two");
  const lead =
    "The weights as the integers that will run: how often each code occurs. Weights that are zero are drawn lighter." +
    (powers ? " Power-of-two weights are a sign and an exponent." : "");
  return section("weight-codes", "Weight codes", lead, grid);
}

function multiple(histogram: WeightHistogram): HTMLElement {
  const facts = histogramFacts(histogram);
  const name = `${histogram.layer} ${histogram.tensor}`;
  const chart = new Chart({
    label: `Histogram of the codes of ${name}: ${facts.join(", ")}.`,
    height: 170,
    build: (surface) => option(histogram, surface),
  });
  return element(
    "figure",
    {},
    element("figcaption", {}, element("h3", {}, histogram.layer, element("span", { class: "quiet" }, ` ${histogram.tensor}`)), element("code", {}, histogram.quantizer)),
    chart.node,
    element("p", { class: "quiet" }, facts.join("\u00a0· ")),
    disclosure("Counts as a table", countTable(histogram, name)),
  );
}

function isZero(histogram: WeightHistogram, bin: CodeBin): boolean {
  return histogram.kind === "affine" && bin.first === histogram.zero_point && bin.last === bin.first;
}

function option(histogram: WeightHistogram, { theme, width }: Surface): Option {
  const style = axisStyle(theme);
  const { bins } = histogram;
  const span = bins.reduce((widest, bin) => Math.max(widest, bin.last - bin.first + 1), 1);
  const step = labelStep(bins.length, width / 32) * span;
  return {
    grid: { left: 4, right: 8, top: 22, bottom: 38, containLabel: true },
    xAxis: {
      ...style,
      type: "category",
      data: bins.map((bin) => binLabel(histogram, bin)),
      name: histogram.kind === "affine" ? "integer code" : "weight ÷ scale",
      nameGap: 24,
      axisTick: { show: false },
      splitLine: { show: false },
      axisLabel: {
        ...style.axisLabel,
        hideOverlap: true,
        interval: (index) => (bins[index]?.first ?? 0) % step === 0,
        formatter: (_, index) => {
          const bin = bins[index];
          return bin ? binLabel(histogram, { ...bin, last: bin.first }) : "";
        },
      },
    },
    yAxis: {
      ...style,
      type: "value",
      name: "weights (count)",
      nameLocation: "end",
      nameGap: 8,
      nameTextStyle: { ...style.nameTextStyle, align: "left", fontSize: 11 },
      splitNumber: 2,
      axisLabel: { ...style.axisLabel, fontSize: 11, formatter: (value: number) => count(value) },
    },
    tooltip: {
      formatter: (item) => {
        const bin = histogram.bins[(item as { dataIndex: number }).dataIndex];
        if (!bin) return "";
        const part = withUnit(percent(bin.count / histogram.total, 1), "%");
        return tooltip(`code ${binLabel(histogram, bin)}`, [["weights", count(bin.count)], ["share", part]]);
      },
    },
    series: [
      {
        type: "bar",
        barCategoryGap: histogram.bins.length > 64 ? "0%" : "12%",
        barMaxWidth: 34,
        data: histogram.bins.map((bin) => ({
          value: bin.count,
          itemStyle: { color: theme.after, opacity: isZero(histogram, bin) ? 0.45 : 1 },
        })),
      },
    ],
  };
}

function countTable(histogram: WeightHistogram, name: string): HTMLElement {
  return table<CodeBin>({
    caption: `Codes of ${name}`,
    rows: histogram.bins,
    columns: [
      { head: histogram.kind === "affine" ? "Code" : "Weight ÷ scale", cell: (bin) => binLabel(histogram, bin), numeric: true },
      { head: "Weights", cell: (bin) => count(bin.count), numeric: true },
      { head: "Share (%)", cell: (bin) => percent(bin.count / histogram.total, 1), numeric: true },
    ],
  });
}
