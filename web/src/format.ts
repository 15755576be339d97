// Numbers as a person reads them. Units stand in column heads and axis names, or are added here.

const NARROW = "\u202f"; // narrow no-break space before units
const MINUS = "\u2212";
export const NONE = "\u2013"; // shown where a value is not known

export type Maybe = number | null | undefined;

export function isKnown(value: Maybe): value is number {
  return typeof value === "number" && Number.isFinite(value);
}

/** A number with so many digits after the point; thousands are grouped. */
export function fixed(value: Maybe, digits: number): string {
  if (!isKnown(value)) return NONE;
  const body = Math.abs(value).toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  return value < 0 && Number(body.replace(/,/g, "")) !== 0 ? MINUS + body : body;
}

/** A number with so many significant digits. */
export function significant(value: Maybe, digits: number): string {
  if (!isKnown(value)) return NONE;
  const body = String(Number(Math.abs(value).toPrecision(digits)));
  return value < 0 ? MINUS + body : body;
}

export const count = (value: Maybe): string => fixed(value, 0);

/** Energy in nJ without the unit: about three significant digits, never an exponent. */
export function energy(value: Maybe): string {
  if (!isKnown(value)) return NONE;
  if (value === 0) return "0";
  const magnitude = Math.abs(value);
  if (magnitude >= 100) return fixed(value, magnitude >= 1000 ? 0 : 1);
  if (magnitude >= 10) return fixed(value, 1);
  if (magnitude >= 0.01) return fixed(value, magnitude >= 1 ? 2 : 3);
  return magnitude < 0.001 ? "<" + fixed(0.001, 3) : fixed(value, 3);
}

/** A fraction as per cent without the sign: 0.9872 is "98.72". */
export const percent = (fraction: Maybe, digits = 2): string => (isKnown(fraction) ? fixed(fraction * 100, digits) : NONE);

/** A text with its unit, or the dash alone. */
export const withUnit = (text: string, unit: string): string => (text === NONE ? NONE : text + NARROW + unit);

/** Part saved: 574 -> 41 is 0.929. Negative when more is used than before. */
export function reduction(before: Maybe, after: Maybe): number | undefined {
  return isKnown(before) && isKnown(after) && before > 0 ? 1 - after / before : undefined;
}

/** A reduction in words: "92.9 % less", "3.0 % more", "the same". */
export function reductionText(part: Maybe): string {
  if (!isKnown(part)) return NONE;
  const shown = Math.abs(part) >= 0.9995 ? 2 : 1;
  if (percent(Math.abs(part), shown) === percent(0, shown)) return "the same";
  return `${withUnit(percent(Math.abs(part), shown), "%")} ${part > 0 ? "less" : "more"}`;
}

/** Bits of memory in a fitting unit: "83.1 kbit", "1.02 Mbit". */
export function bits(value: Maybe): string {
  if (!isKnown(value)) return NONE;
  if (value < 10_000) return withUnit(count(value), "bit");
  if (value < 1_000_000) return withUnit(fixed(value / 1000, 1), "kbit");
  return withUnit(fixed(value / 1_000_000, 2), "Mbit");
}

const SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹";

/** 2 to an integer power: "2⁻³". */
export function powerOfTwo(exponent: number): string {
  const digits = [...String(Math.abs(exponent))].map((digit) => SUPERSCRIPTS[Number(digit)]).join("");
  return `2${exponent < 0 ? "⁻" : ""}${digits}`;
}

/** An integer with a true minus sign. */
export const code = (value: number): string => (value < 0 ? MINUS + String(-value) : String(value));

/** A scale: a power of two as such, else four significant digits. */
export function scale(value: Maybe): string {
  if (!isKnown(value)) return NONE;
  const exponent = value > 0 ? Math.log2(value) : NaN;
  if (Number.isInteger(exponent) && exponent !== 0) return powerOfTwo(exponent);
  return String(Number(value.toPrecision(4)));
}
