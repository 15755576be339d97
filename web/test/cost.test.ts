import { describe, expect, it } from "vitest";
import { costIn, costOf } from "../src/cost";
import type { Report } from "../src/payload";
import { frontOf, points } from "../src/sections/tradeoff";

const trial = (number: number, accuracy: number, costs: { energy_nj?: number; bits?: number | null }) => ({ number, state: "completed", accuracy, choices: [], ...costs });
const reportOf = (...trials: object[]): Report => ({ trials }) as unknown as Report;
const plain = (text: string): string => text.replace(/\u202f/g, " ");

describe("the cost of a search", () => {
  const byBits = reportOf(trial(0, 0.9, { bits: 83_100 }), trial(1, 0.8, { bits: 90_000 }), trial(2, 0.7, { bits: 5000 }), trial(3, 0.6, { bits: null }));

  it("is bits where it counted those", () => {
    const cost = costOf(byBits);
    expect([cost.name, cost.head, cost.word]).toEqual(["bits", "Bits", "bits"]);
    expect(plain(cost.full(costIn(cost, byBits.trials[0]!)))).toBe("83.1 kbit");
  });

  it("has a front of few bits", () => {
    expect(points(byBits).map((point) => point.cost)).toEqual([83_100, 90_000, 5000]);
    expect(frontOf(byBits).map((point) => point.trial.number)).toEqual([2, 0]);
  });

  it.each([
    ["of a search by energy", reportOf(trial(0, 0.9, { energy_nj: 20, bits: 1000 }))],
    ["where nothing is counted", reportOf(trial(0, 0.9, {}))],
  ])("is energy %s", (_, report) => expect(costOf(report).name).toBe("energy_nj"));
});
