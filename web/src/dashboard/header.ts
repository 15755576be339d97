// How far the study is, in one line and a bar, always up to date.
import { element } from "../dom";
import { count, energy } from "../format";
import type { Study } from "./protocol";
import type { TrialStore } from "./store";

export class Header {
  readonly node: HTMLElement;
  private readonly line = element("p", { class: "headline" });
  private readonly done = element("div", { class: "done" });
  private readonly trouble = element("p", { class: "notice trouble", role: "alert", hidden: true });
  private readonly connection = element("span", { class: "connection", role: "status" }, "connecting");

  constructor(private readonly study: Study) {
    const goal = study.facts.goal ? element("p", { class: "quiet" }, study.facts.goal) : undefined;
    this.node = element(
      "header",
      {},
      element("p", { class: "eyebrow" }, `${study.name} · ${study.code_version} · seed ${study.seed} · `, this.connection),
      element("h1", {}, study.facts.title),
      this.trouble,
      this.line,
      element("div", { class: "progress", "aria-hidden": "true" }, this.done),
      goal,
      study.facts.dataset.note ? element("p", { class: "notice" }, study.facts.dataset.note) : undefined,
    );
  }

  connected(isConnected: boolean): void {
    this.connection.textContent = isConnected ? "live" : "not connected; trying again";
    this.connection.classList.toggle("lost", !isConnected);
  }

  update(store: TrialStore, front: number): void {
    if (this.trouble.textContent !== store.trouble) this.trouble.textContent = store.trouble; // said aloud once
    this.trouble.hidden = store.trouble === "";
    const [waiting, running, completed, failed] = [store.count(0), store.count(1), store.count(2), store.count(3)];
    const parts = [`${count(completed)} of ${count(store.maxTrials)} trials completed`];
    if (running > 0) parts.push(`${count(running)} running`);
    if (waiting > 0) parts.push(`${count(waiting)} waiting`);
    if (failed > 0) parts.push(`${count(failed)} failed`);
    if (store.isOver) parts.push("the search is over");
    const best = store.best;
    const cost = best && this.study.cost ? `, ${energy(store.metric(best, this.study.cost))} ${this.study.cost_name.replace(/^.*\((.*)\).*$/, "$1")}` : "";
    const { view } = store;
    const reached = best && view.text(store.value(best));
    const value = view.name === "accuracy" ? `${reached} %` : `${view.word} ${reached}`;
    const bestText = best ? ` Best: trial ${best.number}, score ${view.score(best.score, 4)}, ${value}${cost}; ${count(front)} on the Pareto front.` : "";
    this.line.textContent = `${parts.join(", ")}.${bestText}`;
    this.done.style.width = `${(100 * (completed + failed)) / Math.max(store.maxTrials, 1)}%`;
  }
}
