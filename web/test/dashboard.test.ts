import { describe, expect, it } from "vitest";
import { epochsOf } from "../src/dashboard/details";
import { crossing, topTrials } from "../src/dashboard/parallel";
import type { Message, State, WireRow } from "../src/dashboard/protocol";
import { TrialStore, bestSoFar, quantile, shortChoice } from "../src/dashboard/store";
import type { Row } from "../src/dashboard/store";
import { span } from "../src/dashboard/tradeoff";
import { ordered } from "../src/dashboard/trial_table";
import { viewOf } from "../src/metric";

const wire = (number: number, state: State, score: number | null, metrics: (number | null)[] = [], choices: number[] = []): WireRow => [
  number,
  state,
  score,
  metrics,
  choices,
  10,
  1,
  8.5,
  "",
];

const message = (rows: WireRow[], more: Partial<Message> = {}): Message => ({
  version: 1,
  count: rows.length,
  max_trials: 10,
  is_over: false,
  trouble: "",
  metrics: ["accuracy", "energy_nj"],
  rows,
  ...more,
});

const stored = (...rows: WireRow[]): TrialStore => {
  const store = new TrialStore();
  store.apply(message(rows));
  return store;
};

describe("TrialStore", () => {
  it("takes over what changed and keeps the rest", () => {
    const store = stored(wire(0, 2, 0.5, [0.9, 20]), wire(1, 1, null));
    expect(store.apply(message([wire(1, 2, 0.7, [0.8, 10])], { version: 2, count: 2 }))).toEqual([1]);
    expect(store.rows.map((row) => row.score)).toEqual([0.5, 0.7]);
    expect(store.version).toBe(2);
    expect(store.best?.number).toBe(1);
    expect(store.metric(store.rows[1] as Row, "energy_nj")).toBe(10);
    expect(store.metric(store.rows[1] as Row, "bits")).toBeUndefined();
    expect(store.count(2)).toBe(2);
  });

  it("begins anew where a shorter study took its place", () => {
    const store = stored(wire(0, 2, 0.5), wire(1, 2, 0.6));
    store.apply(message([wire(0, 1, 0.1)]));
    expect(store.rows.length).toBe(1);
    expect(store.best).toBeUndefined();
  });

  it("knows what is wrong with the study, and when nothing is any more", () => {
    const store = stored(wire(0, 2, 0.5));
    store.apply(message([], { version: 2, count: 1, trouble: "the study is gone" }));
    expect(store.trouble).toBe("the study is gone");
    expect(store.rows.length).toBe(1);
    store.apply(message([], { version: 3, count: 1 }));
    expect(store.trouble).toBe("");
  });

  it("takes the first of equal scores and no trial that still runs as the best", () => {
    expect(stored(wire(0, 2, 0.5), wire(1, 2, 0.5), wire(2, 1, 0.9)).best?.number).toBe(0);
  });

  it("takes the cheapest of equal scores, where costs are known", () => {
    const store = new TrialStore();
    store.apply(message([wire(0, 2, 0, [9]), wire(1, 2, 0, [null]), wire(2, 2, 0, [3]), wire(3, 2, 0, [3]), wire(4, 2, -1, [1])], { metrics: ["cost"] }));
    expect(store.best?.number).toBe(2);
  });

  it("has a front of completed trials with both metrics", () => {
    const store = stored(wire(0, 2, 1, [0.9, 20]), wire(1, 2, 1, [0.8, 30]), wire(2, 2, 1, [0.7, 5]), wire(3, 3, null), wire(4, 2, 1, [null, 1]), wire(5, 2, 1, [1, 0]));
    expect(store.measured("energy_nj").map((point) => point.row.number)).toEqual([0, 1, 2]);
    expect(store.front("energy_nj").map((point) => point.row.number)).toEqual([2, 0]);
    store.apply(message([wire(3, 2, 1, [0.95, 4])], { count: 6 }));
    expect(store.front("energy_nj").map((point) => point.row.number)).toEqual([3]);
  });
});

describe("a search by an error", () => {
  const view = viewOf({ name: "mse", direction: "minimise" });

  it("has a front of low errors at low costs, and the best by score", () => {
    const store = new TrialStore(view);
    const metrics = ["accuracy", "energy_nj", "mse"];
    const rows = [wire(0, 2, -0.2, [0.1, 20, 0.2]), wire(1, 2, -0.9, [0.9, 30, 0.9]), wire(2, 2, -0.4, [0.2, 5, 0.4]), wire(3, 2, -0.1, [0.5, 1, null])];
    store.apply(message(rows, { metrics }));
    expect(store.measured("energy_nj").map((point) => point.value)).toEqual([0.2, 0.9, 0.4]);
    expect(store.front("energy_nj").map((point) => point.row.number)).toEqual([2, 0]);
    expect(store.value(store.rows[0] as Row)).toBe(0.2);
    expect(store.value(store.rows[3] as Row)).toBeUndefined();
    expect(store.best?.number).toBe(3);
  });

  it("keeps small errors apart where one is 0", () => {
    const store = new TrialStore(view);
    store.apply(message([wire(0, 2, 0, [0.1, 20, 0]), wire(1, 2, -1e-6, [0.1, 20, 1e-6]), wire(2, 2, -1, [0.1, 5, 1])], { metrics: ["accuracy", "energy_nj", "mse"] }));
    expect(span(store.measured("energy_nj"), "value", [])).toEqual([0, 1e-6, 1]);
    const { toAxis } = view.scale(span(store.measured("energy_nj"), "value", view.range));
    expect(toAxis(1e-6)).toBeLessThan(toAxis(1e-3));
    expect(span([], "value", view.range)).toEqual([0.1, 1]);
  });

  it("shows its own epochs, of validation where there is one", () => {
    const steps = [
      { step: 1, metrics: { val_mse: 0.4, mse: 0.5, val_accuracy: 0.9, score: -0.4 } },
      { step: 2, metrics: { mse: 0.3, score: -0.3 } },
      { step: 3, metrics: { val_accuracy: 0.9, score: -0.2 } },
    ];
    expect(epochsOf(view, steps)).toEqual([
      [1, 0.4],
      [2, 0.3],
    ]);
    expect(epochsOf(viewOf(undefined), steps)).toEqual([
      [1, 0.9],
      [2, -0.3],
      [3, 0.9],
    ]);
  });
});

describe("what follows from the trials", () => {
  it("draws the best so far up to the last trial", () => {
    const store = stored(wire(0, 2, 0.5), wire(1, 2, 0.4), wire(2, 3, null), wire(3, 2, 0.8), wire(4, 1, 0.9));
    expect(bestSoFar(store.rows)).toEqual([
      [0, 0.5],
      [3, 0.8],
      [4, 0.8],
    ]);
    expect(bestSoFar([])).toEqual([]);
  });

  it.each([
    [[3, 1, 2], 0, 1],
    [[3, 1, 2], 0.5, 2],
    [[3, 1, 2], 1, 3],
    [[], 0.5, NaN],
  ])("quantile of %s at %s", (values, part, wanted) => expect(quantile(values, part)).toBe(wanted));

  it.each([
    ["quantized_bits(4,0,1,alpha=1.0)", "bits(4,0,1)"],
    ["stochastic_ternary", "s_ternary"],
    ["quantized_relu(3,1)", "relu(3,1)"],
    ["binary(alpha='auto')", "binary"],
    ["0.75", "0.75"],
  ])("%s is short %s", (choice, short) => expect(shortChoice(choice)).toBe(short));

  it("orders by a value, unknown ones last in both directions, equal ones by number", () => {
    const { rows } = stored(wire(0, 2, 0.5), wire(1, 3, null), wire(2, 2, 0.9), wire(3, 2, 0.5));
    expect(ordered(rows, (row) => row.score, true)).toEqual([2, 0, 3, 1]);
    expect(ordered(rows, (row) => row.score, false)).toEqual([0, 3, 2, 1]);
  });

  it("shows the top trials, the best last", () => {
    const { rows } = stored(wire(0, 2, 0.5), wire(1, 1, 0.99), wire(2, 2, 0.9), wire(3, 2, 0.7));
    expect(topTrials(rows, 2).map((row) => row.number)).toEqual([3, 2]);
  });
});

describe("crossing", () => {
  const row = stored(wire(0, 2, 0.75)).rows[0] as Row;
  const axis = { name: "", low: 0.5, high: 1.0 };

  it("is the middle of a category's band", () => {
    expect(crossing({ ...axis, candidates: ["a", "b"], value: () => "b" }, row)).toBe(0.75);
    expect(crossing({ ...axis, candidates: ["a", "b"], value: () => undefined }, row)).toBeUndefined();
  });

  it("is linear between the ends", () => {
    expect(crossing({ ...axis, value: (r) => r.score }, row)).toBe(0.5);
    expect(crossing({ ...axis, value: () => undefined }, row)).toBeUndefined();
  });
});
