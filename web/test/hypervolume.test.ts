import { describe, expect, it } from "vitest";
import { growth, trialsTo } from "../src/sections/hypervolume";

const step = (trials: number, trial: number, hypervolume: number | null) => ({ trials, trial, hypervolume });
const data = (...steps: ReturnType<typeof step>[]) => ({ axes: [], trials: 20, steps });

describe("growth", () => {
  it.each([
    ["nothing without a search", undefined, []],
    ["nothing without a step", data(), []],
    ["nothing while all is 0", data(step(1, 0, 0)), []],
    ["shares of the last", data(step(2, 1, 1), step(5, 4, 4)), [0.25, 1]],
    ["what is known", data(step(2, 1, 2), step(3, 2, null), step(5, 4, 4)), [0.5, 1]],
  ])("is %s", (_, given, shares) => expect(growth(given).map(({ share }) => share)).toEqual(shares));

  it("tells after how many trials a share was there", () => {
    const steps = growth(data(step(2, 1, 45), step(7, 3, 90), step(12, 11, 100)));
    expect([0.5, 0.9, 0.99].map((share) => trialsTo(steps, share))).toEqual([7, 7, 12]);
  });
});
