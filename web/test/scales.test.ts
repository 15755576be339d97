import { describe, expect, it } from "vitest";
import { accuracyScale, energyScale, errorScale, logTicks } from "../src/scales";

describe("logTicks", () => {
  it.each([
    [1, 10000, [1, 10, 100, 1000, 10000]],
    [20, 700, [20, 50, 100, 200, 500]],
    [0.011, 0.019, [0.011, 0.012, 0.013, 0.014, 0.015, 0.016, 0.018]],
  ])("%s to %s", (low, high, ticks) => expect(logTicks(low, high)).toEqual(ticks));

  it.each([
    [0.0288, 0.33],
    [0.5, 3e7],
    [99, 101],
    [1e-6, 1],
  ])("are inside %s to %s, ascending and not crowded", (low, high) => {
    const ticks = logTicks(low, high);
    expect(ticks.every((tick) => tick >= low && tick <= high)).toBe(true);
    for (let i = 1; i < ticks.length; ++i) {
      const [a = 0, b = 0] = [ticks[i - 1], ticks[i]];
      expect(Math.log10(b / a)).toBeGreaterThanOrEqual(Math.log10(high / low) / 9);
    }
  });
});

describe("energyScale", () => {
  it("puts equal ratios at equal distances", () => {
    const { toAxis } = energyScale([1, 100]);
    expect(toAxis(100) - toAxis(10)).toBeCloseTo(toAxis(10) - toAxis(1));
  });

  it("has room around a single value", () => {
    const { min, max, toAxis } = energyScale([50]);
    expect(min).toBeLessThan(toAxis(50));
    expect(max).toBeGreaterThan(toAxis(50));
  });
});

describe("accuracyScale", () => {
  it("labels accuracies, not errors", () => {
    expect(accuracyScale([0.5, 0.99]).ticks.map((tick) => tick.label)).toEqual(["50", "80", "90", "95", "98", "99"]);
  });

  it("gives halved errors equal distances", () => {
    const { toAxis } = accuracyScale([0.5, 0.99]);
    expect(toAxis(0.98) - toAxis(0.96)).toBeCloseTo(toAxis(0.96) - toAxis(0.92));
  });

  it("draws an accuracy of 1 at the smallest error", () => {
    const { toAxis, max } = accuracyScale([0.9, 1]);
    expect(toAxis(1)).toBeCloseTo(4);
    expect(max).toBeGreaterThan(4);
  });

  it("starts at accuracy 0 at the lowest", () => {
    expect(accuracyScale([0, 0.9]).min).toBeGreaterThanOrEqual(-0.04);
  });
});

describe("errorScale", () => {
  it("rises with the error, by its ratio", () => {
    const { toAxis, min, max } = errorScale([0.001, 0.1]);
    expect(toAxis(0.1) - toAxis(0.01)).toBeCloseTo(toAxis(0.01) - toAxis(0.001));
    expect(min).toBeLessThan(toAxis(0.001));
    expect(max).toBeGreaterThan(toAxis(0.1));
  });

  it("draws an error of 0 below all others", () => {
    const { toAxis, min } = errorScale([0, 1e-9, 1]);
    expect(toAxis(0)).toBeLessThan(toAxis(1e-9));
    expect(min).toBeLessThan(toAxis(0));
  });

  it("is linear where some are below 0", () => {
    const scale = errorScale([-0.3, 0.1, 0.5]);
    expect(scale.isLinear).toBe(true);
    expect([scale.toAxis(-0.3), scale.toAxis(0.5)]).toEqual([-0.3, 0.5]);
    expect(scale.ticks.map((tick) => tick.label)).toEqual(["\u22120.2", "0", "0.2", "0.4"]);
    expect(errorScale([-2]).ticks.length).toBeGreaterThan(1);
    expect(errorScale([0.1, 0.5]).isLinear).toBeUndefined();
  });

  it("has an axis where all are 0", () => expect(Number.isFinite(errorScale([0]).min)).toBe(true));
});
