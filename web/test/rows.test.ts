import { describe, expect, it } from "vitest";
import { inlineAssets, scriptSafe } from "../single_page";
import { energyRows } from "../src/energy_rows";
import { partRows } from "../src/part_rows";
import { binLabel, histogramFacts, labelStep } from "../src/code_labels";
import type { Layer, WeightHistogram } from "../src/payload";
import { sorted } from "../src/sort";

describe("energyRows", () => {
  const layer = (name: string, before: number, after: number): Layer => ({ name, type: "", reference_energy_nj: before, energy_nj: after });

  it("adds up small layers in a last row", () => {
    const rows = energyRows([layer("a", 100, 10), layer("b", 0.2, 0.02), layer("c", 50, 5), layer("d", 0.1, 0.01)]);
    expect(rows.map((row) => row.name)).toEqual(["a", "c", "2 small layers"]);
    expect(rows[2]?.before).toBeCloseTo(0.3);
    expect(rows[2]?.after).toBeCloseTo(0.03);
  });

  it("keeps a layer that matters on one side only", () => {
    const rows = energyRows([layer("a", 100, 1), layer("b", 0.1, 1), layer("c", 0.1, 0), layer("d", 0.1, 0)]);
    expect(rows.map((row) => row.name)).toEqual(["a", "b", "2 small layers"]);
  });

  it("does not hide a lone small layer", () => {
    expect(energyRows([layer("a", 100, 10), layer("b", 0.1, 0)]).map((row) => row.name)).toEqual(["a", "b"]);
  });

  it("leaves out layers without energy", () => expect(energyRows([{ name: "a", type: "Dense" }])).toEqual([]));
});

describe("partRows", () => {
  const layer = (name: string, operations: number, outputs: number): Layer => ({ name, type: "", energy_parts_nj: { operations, outputs } });

  it("adds up the parts of a layer; what is not known is none", () => {
    const rows = partRows([layer("a", 3, 1)]);
    expect(rows).toEqual([{ name: "a", parts: { operations: 3, parameters: 0, inputs: 0, outputs: 1 }, total: 4 }]);
  });

  it("adds up small layers in a last row", () => {
    const rows = partRows([layer("a", 100, 0), layer("b", 0, 0.25), layer("c", 50, 0), layer("d", 0.125, 0)]);
    expect(rows.map((row) => row.name)).toEqual(["a", "c", "2 small layers"]);
    expect(rows[2]?.parts.outputs).toBeCloseTo(0.25);
    expect(rows[2]?.total).toBeCloseTo(0.375);
  });

  it("leaves out layers without parts", () => {
    expect(partRows([{ name: "a", type: "Dense" }, { name: "b", type: "Dense", energy_parts_nj: null }])).toEqual([]);
  });
});

describe("sorted", () => {
  const rows = [{ k: 2 }, { k: undefined }, { k: 10 }, { k: 1 }];

  it("orders numbers by value, unknown ones last", () => {
    expect(sorted(rows, (row) => row.k, false).map((row) => row.k)).toEqual([1, 2, 10, undefined]);
    expect(sorted(rows, (row) => row.k, true).map((row) => row.k)).toEqual([10, 2, 1, undefined]);
  });

  it("orders texts with numbers in them as people do", () => {
    expect(sorted(["conv_10", "conv_9"], (text) => text, false)).toEqual(["conv_9", "conv_10"]);
  });
});

describe("weight codes", () => {
  const affine: WeightHistogram = {
    layer: "dense",
    tensor: "kernel",
    quantizer: "quantized_bits(4,0,1)",
    kind: "affine",
    bit_width: 4,
    zero_point: 0,
    bins: [],
    total: 200,
    zeros: 25,
    used_codes: 13,
    scale_min: 0.125,
    scale_max: 0.25,
  };
  const powers: WeightHistogram = { ...affine, kind: "power_of_two" };

  it.each([
    [affine, { first: -3, last: -3, count: 1 }, "\u22123"],
    [affine, { first: -8, last: -5, count: 1 }, "\u22128 to \u22125"],
    [powers, { first: -3, last: -3, sign: -1, count: 1 }, "\u22122⁻³"],
    [powers, { first: 0, last: 0, sign: 1, count: 1 }, "2⁰"],
  ])("labels bins", (histogram, bin, label) => expect(binLabel(histogram, bin)).toBe(label));

  it("tells what a histogram shows", () => {
    expect(histogramFacts(affine).map((fact) => fact.replace(/\u202f/g, " "))).toEqual([
      "200 weights",
      "13 of 16 codes used",
      "12.5 % zeros",
      "scales 2⁻³ to 2⁻²",
    ]);
  });

  it.each([
    [15, 9, 2],
    [3, 9, 1],
    [256, 9, 32],
  ])("labels %s bins where %s labels fit", (bins, fitting, step) => expect(labelStep(bins, fitting)).toBe(step));
});

describe("inlineAssets", () => {
  it("makes one page of page, script and style", () => {
    const html = '<head><script type="module" crossorigin src="./a.js"></script><link rel="stylesheet" href="./a.css"></head><body></body>';
    const assets = new Map([
      ["a.js", "let a = '</script>$&'"],
      ["a.css", "p{}"],
    ]);
    expect(inlineAssets(html, assets)).toBe(
      "<head><style>p{}</style></head><body><script type=\"module\">let a = '<\\/script>$&'</script></body>",
    );
  });

  it("names what is missing", () => {
    expect(() => inlineAssets('<script src="./b.js"></script>', new Map())).toThrow("./b.js");
  });

  it("keeps comment openers out of scripts", () => expect(scriptSafe('"<!--</SCRIPT>"')).toBe('"<\\!--<\\/SCRIPT>"'));
});
