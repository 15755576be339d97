// Reads the data of the page and puts the sections together.
import { element } from "./dom";
import { parsePayload } from "./payload";
import type { Report } from "./payload";
import { contents, header } from "./sections/header";
import { energyParts } from "./sections/energy_parts";
import { hypervolume } from "./sections/hypervolume";
import { layerEnergy } from "./sections/layer_energy";
import { quantizers } from "./sections/quantizers";
import { settings } from "./sections/settings";
import { tradeoff } from "./sections/tradeoff";
import { training } from "./sections/training";
import { trials } from "./sections/trials";
import { weightCodes } from "./sections/weight_codes";
import { Selection } from "./selection";
import "./style.css";

const isPresent = (part: HTMLElement | undefined): part is HTMLElement => part !== undefined;

function compose(report: Report): Node[] {
  const selection = new Selection(report.outcome?.trial ?? undefined);
  const sections = [
    tradeoff(report, selection),
    hypervolume(report, selection),
    layerEnergy(report),
    energyParts(report),
    quantizers(report),
    weightCodes(report),
    training(report, selection),
    trials(report, selection),
    settings(report),
  ].filter(isPresent);
  return [header(report), contents(sections), ...sections].filter(isPresent);
}

function show(): void {
  const place = document.getElementById("report");
  const data = document.getElementById("nibble-data");
  if (place === null || data === null) throw new Error("The page is not complete.");
  try {
    const report = parsePayload(data.textContent ?? "");
    document.title = report.title;
    place.replaceChildren(...compose(report));
    document.documentElement.dataset["state"] = "ready";
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    place.replaceChildren(
      element("p", { class: "notice", role: "alert" }, `This report cannot be shown. ${reason} Write it again with nibble report.`),
    );
    document.documentElement.dataset["state"] = "failed";
    console.error(error);
  }
}

show();
