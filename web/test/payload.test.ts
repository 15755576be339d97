import { describe, expect, it } from "vitest";
import { PayloadError, parsePayload } from "../src/payload";

const bare = {
  schema: 1,
  title: "run",
  model: { name: "mnist" },
  dataset: { name: "mnist" },
  references: [],
  trials: [],
  layers: [],
  histograms: [],
  curves: [],
  settings: [],
};

const trial = { number: 0, state: "completed", choices: [] };

describe("parsePayload", () => {
  it.each([
    ["the barest report", bare],
    ["unknown numbers as null", { ...bare, outcome: { accuracy: null, loss: null }, trials: [{ ...trial, score: null }] }],
    ["a metric and its values", { ...bare, metric: { name: "mse", direction: "minimise" }, trials: [{ ...trial, mse: 0.5 }], outcome: { mse: null } }],
    ["members of later versions", { ...bare, more: 1 }],
  ])("reads %s", (_, data) => expect(parsePayload(JSON.stringify(data)).title).toBe("run"));

  it.each([
    ["another schema", { ...bare, schema: 2 }, "schema 2"],
    ["nothing", null, "schema undefined"],
    ["a missing list", { ...bare, trials: undefined }, "report.trials must be a list"],
    ["a text for a number", { ...bare, outcome: { accuracy: "98" } }, "report.outcome.accuracy must be a number"],
    ["an unknown state", { ...bare, trials: [{ ...trial, state: "lost" }] }, "report.trials[0].state must be one of"],
    ["a step that is no number", { ...bare, hypervolume: { axes: [], trials: 3, steps: [{ trials: "1", trial: 0 }] } }, "report.hypervolume.steps[0].trials must be a number"],
    ["an unknown direction", { ...bare, metric: { name: "mse", direction: "down" } }, "report.metric.direction must be one of"],
    ["a text for a metric's value", { ...bare, metric: { name: "mse", direction: "minimise" }, trials: [{ ...trial, mse: "0.5" }] }, "report.trials[0].mse must be a number"],
    [
      "a text for an epoch's value",
      { ...bare, metric: { name: "mae", direction: "minimise" }, curves: [{ name: "a", points: [{ epoch: 1, val_mae: "1" }] }] },
      "report.curves[0].points[0].val_mae must be a number",
    ],
    ["a list for an object", { ...bare, model: [] }, "report.model must be an object"],
    ["a missing choice value", { ...bare, trials: [{ ...trial, choices: [{ name: "a" }] }] }, "report.trials[0].choices[0].value"],
  ])("refuses %s", (_, data, reason) => {
    expect(() => parsePayload(JSON.stringify(data))).toThrow(PayloadError);
    expect(() => parsePayload(JSON.stringify(data))).toThrow(reason);
  });

  it("refuses what is not JSON", () => expect(() => parsePayload("NIBBLE")).toThrow("no readable data"));
});
