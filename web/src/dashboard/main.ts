// Puts the page together and keeps it up to date.
import { tooltip } from "../chart";
import { element, section } from "../dom";
import { energy } from "../format";
import { viewOf } from "../metric";
import { Selection } from "../selection";
import "../style.css";
import "./dashboard.css";
import { TrialDetails } from "./details";
import { Header } from "./header";
import { history } from "./history";
import { Parallel } from "./parallel";
import { ask } from "./protocol";
import type { Message, Study } from "./protocol";
import { TrialStore } from "./store";
import { tradeoff } from "./tradeoff";
import { TrialTable } from "./trial_table";

const REDRAW_MS = 1500; // how often charts follow a busy study

/** Draws soon, but not more often than that; each part in a task of its own, so that the page answers in between. */
class Redraw {
  private planned = false;
  private last = -Infinity;

  constructor(private readonly parts: readonly (() => void)[]) {}

  soon(): void {
    if (this.planned) return;
    this.planned = true;
    setTimeout(() => this.run(), Math.max(0, this.last + REDRAW_MS - performance.now()));
  }

  /** All parts but the last, which is out of sight at first and follows in a moment. */
  now(): void {
    this.parts.slice(0, -1).forEach((part) => part());
    setTimeout(() => this.parts[this.parts.length - 1]?.(), 0);
    this.last = performance.now();
  }

  private run(): void {
    this.planned = false;
    this.last = performance.now();
    this.parts.forEach((part) => setTimeout(part, 0));
  }
}

async function start(place: HTMLElement): Promise<void> {
  const [study, first] = await Promise.all([ask<Study>("api/study"), ask<Message>("api/trials")]);
  const store = new TrialStore(viewOf(study.facts.metric));
  const { view } = store;
  store.apply(first);
  document.title = `${study.name} – nibble`;
  const selection = new Selection(store.best?.number);
  const describe = (number: number): HTMLElement => {
    const row = store.rows[number];
    const facts: [string, string][] = [["Score", view.score(row?.score, 4)], [view.title, row ? view.full(store.value(row)) : ""]];
    if (row && study.cost) facts.push([study.cost_name, energy(store.metric(row, study.cost))]);
    return tooltip(`Trial ${number}`, facts);
  };
  const header = new Header(study);
  const scores = history(store, selection, describe);
  const costs = study.cost ? tradeoff(study, store, selection, describe) : undefined;
  const table = new TrialTable(study, store, selection);
  const details = new TrialDetails(study, store);
  place.replaceChildren(
    header.node,
    element(
      "div",
      { class: "halves" },
      section("history", "Scores", "Each point is a trial; the line is the best so far.", scores.node),
      costs && section("tradeoff", `${view.title} and cost`, `${view.up}, left is cheaper; the line is the Pareto front.`, costs.node),
    ),
    element("div", { class: "beside" }, section("trials", "Trials", "Sort by a column head; pick a trial to see all of it.", table.node), details.node),
  );
  const parallel = new Parallel(study, store, selection);
  place.append(section("parallel", "Choices of the best trials", "One line a trial, through what was chosen for it and what came out. Orange is the best, black the selected one.", parallel.node));

  const front = (): Set<number> => new Set(study.cost ? store.front(study.cost).map((point) => point.row.number) : []);
  const redraw = new Redraw([
    () => {
      const onFront = front();
      header.update(store, onFront.size);
      table.update(onFront);
    },
    () => scores.draw(),
    () => costs?.draw(),
    () => parallel.update(),
  ]);
  redraw.now();
  selection.follow((trial) => {
    scores.mark(trial);
    costs?.mark(trial);
    void details.show(trial);
  });
  document.documentElement.dataset["state"] = "ready";
  performance.mark("ready");

  const events = new EventSource(`api/events?since=${store.version}`);
  events.addEventListener("open", () => header.connected(true));
  events.addEventListener("error", () => header.connected(false));
  events.addEventListener("trials", (event: MessageEvent<string>) => {
    const changed = store.apply(JSON.parse(event.data) as Message);
    redraw.soon();
    if (selection.current !== undefined && changed.includes(selection.current)) void details.show(selection.current);
    else if (selection.current === undefined && store.best) selection.select(store.best.number);
  });
}

const place = document.getElementById("dashboard");
if (place) {
  start(place).catch((error: unknown) => {
    const reason = error instanceof Error ? error.message : String(error);
    place.replaceChildren(element("p", { class: "notice", role: "alert" }, `The study cannot be shown: ${reason}`));
    document.documentElement.dataset["state"] = "failed";
    console.error(error);
  });
}
