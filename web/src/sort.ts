// Order of table rows.

type Key = number | string | undefined;

/** Rows in order of a key, equal keys in their old order, unknown ones last. */
export function sorted<Row>(rows: readonly Row[], key: (row: Row) => Key, descending: boolean): Row[] {
  const compare = (a: Key, b: Key): number => {
    if (a === undefined || b === undefined) return Number(a === undefined) - Number(b === undefined);
    const order =
      typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
    return descending ? -order : order;
  };
  return [...rows].sort((a, b) => compare(key(a), key(b)));
}
