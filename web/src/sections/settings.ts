// What the run was asked to do.
import { element, section } from "../dom";
import type { Report } from "../payload";

export function settings(report: Report): HTMLElement | undefined {
  if (report.settings.length === 0) return undefined;
  const list = element("dl", { class: "settings" });
  for (const { name, value } of report.settings) {
    list.append(element("div", {}, element("dt", {}, name), element("dd", {}, value)));
  }
  return section("settings", "Settings", "The same settings and data give the same result.", list);
}
