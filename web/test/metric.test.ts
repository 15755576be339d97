import { describe, expect, it } from "vitest";
import { valueIn, viewOf } from "../src/metric";
import type { Report } from "../src/payload";
import { frontOf, points } from "../src/sections/tradeoff";
import { measures } from "../src/sections/training";

const plain = (text: string): string => text.replace(/\u202f/g, " ");
const mse = { name: "mse", direction: "minimise" } as const;

describe("viewOf", () => {
  it("is the accuracy where nothing is said", () => {
    const view = viewOf(undefined);
    expect(view).toBe(viewOf({ name: "accuracy", direction: "maximise" }));
    expect([view.head, view.up, plain(view.full(0.98261)), view.score(1.23456, 4)]).toEqual(["Accuracy (%)", "Up is more accurate", "98.26 %", "1.2346"]);
  });

  it.each([
    [mse, "MSE", "Down is better", false],
    [{ name: "mae", direction: "minimise" } as const, "MAE", "Down is better", false],
    [{ name: "loss", direction: "minimise" } as const, "Loss", "Down is better", false],
    [{ name: "recall", direction: "maximise" } as const, "Recall", "Up is better", true],
  ])("names %s", (metric, title, up, isMaximised) => {
    const view = viewOf(metric);
    expect([view.title, view.head, view.up, view.isMaximised]).toEqual([title, title, up, isMaximised]);
  });

  it("writes errors of any size, and their scores", () => {
    const view = viewOf(mse);
    expect([view.text(0.0000123456), view.full(0.5), view.text(undefined), view.score(-0.0000123456, 3)]).toEqual(["0.00001235", "0.5", "–", "\u22120.0000123"]);
  });
});

describe("a report by an error", () => {
  const trial = (number: number, energy_nj: number, error: number | null) => ({ number, state: "completed", accuracy: error, energy_nj, choices: [], mse: error });
  const report = { metric: mse, trials: [trial(0, 20, 0.1), trial(1, 5, 0.4), trial(2, 30, 0.2), trial(3, 1, null)] } as unknown as Report;

  it("finds values under the metric's name", () => {
    expect(valueIn(viewOf(mse), { mse: 0.25, accuracy: 0.9 })).toBe(0.25);
    expect(valueIn(viewOf(mse), { accuracy: 0.9 })).toBeUndefined();
    expect(points(report).map((point) => point.value)).toEqual([0.1, 0.4, 0.2]);
  });

  it("has its front where the error is low", () => {
    expect(frontOf(report).map((point) => point.trial.number)).toEqual([1, 0]);
    expect(frontOf({ ...report, metric: { name: "accuracy", direction: "maximise" } }).map((point) => point.trial.number)).toEqual([1]);
  });
});

describe("the curves of a training", () => {
  const [loss, accuracy] = [{ loss: 0.5, val_loss: 0.4 }, { accuracy: 0.8, val_accuracy: 0.75 }];
  const [asMse, mae] = [{ mse: 0.5, val_mse: 0.4 }, { mae: 0.6, val_mae: 0.5 }];
  it.each([
    ["of classes", [{ ...loss, ...accuracy }], "Loss Accuracy"],
    ["without accuracies", [loss], "Loss"],
    ["of another error than the loss", [{ ...loss, mae: 0.6 }], "Loss MAE"],
    ["of a loss that is an error", [{ ...loss, ...asMse, ...mae }], "MSE MAE"],
    ["up to the rounding of sums", [{ ...loss, ...asMse, mse: 0.5000001 }], "MSE"],
    ["that is one but for regularizers", [{ ...loss, ...asMse }, { ...loss, ...asMse, loss: 0.6 }], "Loss MSE"],
    ["of an error and classes", [{ ...loss, ...asMse, ...accuracy }], "MSE Accuracy"],
    ["of epochs before the training's errors were kept", [{ ...loss, val_mse: 0.4 }], "Loss MSE"],
  ])("%s", (_, list, names) => {
    const curves = [{ name: "run", points: list.map((point, index) => ({ epoch: index + 1, ...point })) }];
    expect(measures({} as Report, curves).map(({ name }) => name).join(" ")).toBe(names);
  });
});
