// Title, the result in one sentence, and the key figures.
import { costIn, costOf } from "../cost";
import { element } from "../dom";
import type { Child } from "../dom";
import { NONE, bits, count, energy, fixed, isKnown, percent, reduction, reductionText, withUnit } from "../format";
import { valueIn, viewOf } from "../metric";
import type { Outcome, Report } from "../payload";

export function header(report: Report): HTMLElement {
  return element(
    "header",
    {},
    element("p", { class: "eyebrow" }, subject(report)),
    element("h1", {}, report.title),
    report.outcome && element("p", { class: "headline" }, headline(report, report.outcome)),
    report.dataset.note ? element("p", { class: "notice" }, report.dataset.note) : undefined,
    report.outcome && figures(report, report.outcome),
  );
}

/** Links to the sections that this report has. */
export function contents(sections: readonly HTMLElement[]): HTMLElement | undefined {
  if (sections.length < 2) return undefined;
  const list = element("ul");
  for (const section of sections) {
    const title = section.querySelector("h2")?.textContent ?? section.id;
    list.append(element("li", {}, element("a", { href: `#${section.id}` }, title)));
  }
  return element("nav", { "aria-label": "Sections" }, list);
}

function subject({ model, dataset }: Report): string {
  const samples = [
    isKnown(dataset.train_samples) ? `${count(dataset.train_samples)} training` : "",
    isKnown(dataset.test_samples) ? `${count(dataset.test_samples)} test samples` : "",
  ].filter(Boolean);
  const data = dataset.name && `data ${dataset.name}${samples.length ? ` (${samples.join(", ")})` : ""}`;
  const parameters = isKnown(model.parameters) ? ` (${count(model.parameters)} parameters)` : "";
  return [model.name && `Model ${model.name}${parameters}`, data].filter(Boolean).join(" · ");
}

function headline(report: Report, outcome: Outcome): string {
  const subjectText = isKnown(outcome.trial) ? `Trial ${outcome.trial}, the best of ${report.trials.length},` : "The model";
  const parts: string[] = [];
  const view = viewOf(report.metric);
  const value = valueIn(view, outcome);
  if (isKnown(value)) parts.push(view.name === "accuracy" ? `reaches ${view.full(value)} accuracy` : `reaches a validation ${view.word} of ${view.full(value)}`);
  const cost = costOf(report);
  const spent = costIn(cost, outcome);
  if (isKnown(spent)) {
    const of = cost.name === "energy_nj" ? "per inference" : "of weights and activations";
    parts.push(`${parts.length ? "with" : "uses"} ${cost.full(spent)} ${of}`);
  }
  if (parts.length === 0) return "";
  const reference = report.references[0];
  const saved = reference && reduction(reference.energy_nj, outcome.energy_nj);
  const comparison = isKnown(saved) ? `: ${reductionText(saved)} than its ${reference?.name} reference` : "";
  return `${subjectText} ${parts.join(" ")}${comparison}.`;
}

function figure(name: string, value: string, unit: string, note: Child): HTMLElement | undefined {
  if (value === NONE) return undefined;
  const number = element("span", { class: "value" }, value, unit ? element("span", { class: "unit" }, `\u202f${unit}`) : undefined);
  return element("div", { class: "figure" }, element("dt", {}, name), element("dd", {}, number, note && element("span", { class: "note" }, note)));
}

function bitsFigure(name: string, size: number | null | undefined, note: Child): HTMLElement | undefined {
  const [value = NONE, unit = ""] = bits(size).split("\u202f");
  return figure(name, value, unit, note);
}

function figures(report: Report, outcome: Outcome): HTMLElement {
  const list = element("dl", { class: "figures" });
  const add = (node: HTMLElement | undefined): void => {
    if (node) list.append(node);
  };
  const view = viewOf(report.metric);
  if (view.name !== "accuracy") add(figure(view.title, view.text(valueIn(view, outcome)), view.unit, "on the evaluation split"));
  add(figure("Accuracy", percent(outcome.accuracy), "%", accuracyNote(report, outcome)));
  if (!isKnown(outcome.energy_nj) && view.name !== "loss") add(figure("Loss", fixed(outcome.loss, 4), "", "on the evaluation split"));
  const score = isKnown(outcome.score) ? `score ${view.score(outcome.score, 4)}` : undefined;
  add(figure("Energy per inference", energy(outcome.energy_nj), "nJ", score));
  if (!isKnown(outcome.energy_nj)) add(bitsFigure("Weights and activations", outcome.bits, score));
  for (const reference of report.references) add(comparison(reference.name, reference.energy_nj, outcome.energy_nj));
  add(bitsFigure("Weights", report.model.weight_bits, "as integer codes"));
  return list;
}

function accuracyNote(report: Report, outcome: Outcome): string | undefined {
  const reference = report.references.find((candidate) => isKnown(candidate.accuracy));
  if (reference) return `${reference.name} reference ${withUnit(percent(reference.accuracy), "%")}`;
  return isKnown(outcome.loss) && isKnown(outcome.energy_nj) ? `loss ${fixed(outcome.loss, 4)}` : "on the evaluation split";
}

function comparison(name: string, before: number | null | undefined, after: number | null | undefined): HTMLElement | undefined {
  const saved = reduction(before, after);
  if (!isKnown(saved) || !isKnown(before) || !isKnown(after)) return undefined;
  const [value = "", unit = ""] = reductionText(saved).split("\u202f");
  const times = after > 0 && before > after ? ` · ${fixed(before / after, 1)}× less` : "";
  return figure(`Against ${name}`, value, unit, `${withUnit(energy(before), "nJ")}${times}`);
}
