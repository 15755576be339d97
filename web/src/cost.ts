// What a search counted of its networks beside what they are judged by: energy, or bits.
import { bits, energy, isKnown, withUnit } from "./format";
import type { Maybe } from "./format";
import type { Outcome, Report, Trial } from "./payload";

export interface CostView {
  name: "energy_nj" | "bits"; // of the member that holds it
  word: string; // in a sentence: "energy"
  title: string; // in a list of facts: "Energy"
  head: string; // of a column: "Energy (nJ)"
  axis: string;
  per: string; // of what it is: "energy per inference"
  text: (value: Maybe) => string; // in a column of that head
  full: (value: Maybe) => string;
}

const ENERGY: CostView = {
  name: "energy_nj",
  word: "energy",
  title: "Energy",
  head: "Energy (nJ)",
  axis: "Energy per inference (nJ, logarithmic)",
  per: "energy per inference",
  text: energy,
  full: (value) => withUnit(energy(value), "nJ"),
};

const BITS: CostView = {
  name: "bits",
  word: "bits",
  title: "Bits",
  head: "Bits",
  axis: "Bits of weights and activations (logarithmic)",
  per: "bits of weights and activations",
  text: bits,
  full: bits,
};

/** Energy, unless trials have bits alone. */
export function costOf({ trials }: Report): CostView {
  return trials.some((trial) => isKnown(trial.bits)) && !trials.some((trial) => isKnown(trial.energy_nj)) ? BITS : ENERGY;
}

export const costIn = (cost: CostView, item: Trial | Outcome): Maybe => item[cost.name];
