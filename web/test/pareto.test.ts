import { describe, expect, it } from "vitest";
import { paretoFront } from "../src/pareto";

const at = (cost: number, value: number) => ({ cost, value });

describe("paretoFront", () => {
  it.each([
    ["is empty without trials", [], []],
    ["keeps a lone trial", [at(5, 0.9)], [at(5, 0.9)]],
    ["drops what is worse in both", [at(5, 0.9), at(6, 0.8)], [at(5, 0.9)]],
    ["keeps trade-offs, cheapest first", [at(9, 0.99), at(5, 0.9)], [at(5, 0.9), at(9, 0.99)]],
    ["drops equal accuracy at more energy", [at(5, 0.9), at(7, 0.9)], [at(5, 0.9)]],
    ["keeps the more accurate of equal energy", [at(5, 0.8), at(5, 0.9)], [at(5, 0.9)]],
    ["leaves out what is not a number", [at(NaN, 0.9), at(5, NaN), at(6, 0.5)], [at(6, 0.5)]],
  ])("%s", (_, trials, front) => expect(paretoFront(trials)).toEqual(front));

  it.each([
    ["keeps what is lower at more energy", [at(5, 0.4), at(9, 0.1), at(7, 0.3)], [at(5, 0.4), at(7, 0.3), at(9, 0.1)]],
    ["drops what is higher at more energy", [at(5, 0.1), at(9, 0.4)], [at(5, 0.1)]],
    ["keeps the lower of equal energy", [at(5, 0.8), at(5, 0.2)], [at(5, 0.2)]],
    ["keeps an error of 0", [at(9, 0), at(5, 0.2)], [at(5, 0.2), at(9, 0)]],
    ["leaves out what is not a number", [at(5, NaN), at(6, 0.5)], [at(6, 0.5)]],
  ])("of an error %s", (_, trials, front) => expect(paretoFront(trials, false)).toEqual(front));

  it("keeps the first of equal trials", () => {
    const [first, second] = [at(5, 0.9), at(5, 0.9)];
    expect(paretoFront([first, second])[0]).toBe(first);
  });

  it("has no trial that another one beats", () => {
    // A small fixed set in place of chance: 97 is prime, so the points spread.
    const trials = Array.from({ length: 96 }, (_, i) => at(1 + ((i * 35) % 97), ((i * 61) % 97) / 97));
    const front = paretoFront(trials);
    for (const kept of front) {
      expect(trials.some((t) => t.cost <= kept.cost && t.value >= kept.value && t !== kept)).toBe(false);
    }
    for (const trial of trials) {
      expect(front.some((kept) => kept.cost <= trial.cost && kept.value >= trial.value)).toBe(true);
    }
  });
});
