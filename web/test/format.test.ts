import { describe, expect, it } from "vitest";
import * as format from "../src/format";

// Narrow spaces are written as plain ones here.
const plain = (text: string): string => text.replace(/\u202f/g, " ");

describe("energy", () => {
  it.each([
    [0, "0"],
    [0.0004, "<0.001"],
    [0.0123, "0.012"],
    [0.402, "0.402"],
    [1.2, "1.20"],
    [28.035, "28.0"],
    [574.175, "574.2"],
    [3295.37, "3,295"],
    [undefined, "–"],
    [null, "–"],
    [NaN, "–"],
  ])("%s nJ", (value, text) => expect(format.energy(value)).toBe(text));
});

describe("reductionText", () => {
  it.each([
    [574.175, 28.035, "95.1 % less"],
    [3295370, 28.035, "100.00 % less"],
    [100, 103, "3.0 % more"],
    [100, 100.01, "the same"],
    [0, 5, "–"],
    [100, undefined, "–"],
  ])("%s -> %s", (before, after, text) => expect(plain(format.reductionText(format.reduction(before, after)))).toBe(text));
});

describe("numbers", () => {
  it.each([
    [format.percent(0.98261), "98.26"],
    [format.fixed(-0.00001, 2), "0.00"],
    [format.fixed(-1234.5, 1), "\u22121,234.5"],
    [format.significant(0.0000123456, 3), "0.0000123"],
    [format.significant(-0.5, 4), "\u22120.5"],
    [format.significant(0, 4), "0"],
    [format.significant(null, 4), "–"],
    [format.count(60000), "60,000"],
    [format.code(-7), "\u22127"],
    [format.powerOfTwo(-13), "2⁻¹³"],
    [format.scale(0.125), "2⁻³"],
    [format.scale(1), "1"],
    [format.scale(0.3), "0.3"],
    [format.scale(0), "0"],
    [plain(format.bits(9999)), "9,999 bit"],
    [plain(format.bits(202140)), "202.1 kbit"],
    [plain(format.bits(1.5e6)), "1.50 Mbit"],
    [format.withUnit("–", "nJ"), "–"],
  ])("%s", (given, wanted) => expect(given).toBe(wanted));
});
