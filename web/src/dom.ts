// Elements without markup strings: text from the data can never become markup.

export type Child = Node | string | undefined;

type Attributes = Record<string, string | number | boolean | undefined>;

export function element<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.filter((child): child is Node | string => child !== undefined));
  return node;
}

/** A section with a heading and a sentence about what it shows. */
export function section(id: string, title: string, lead: string, ...children: Child[]): HTMLElement {
  return element(
    "section",
    { id, "aria-labelledby": `${id}-title` },
    element("h2", { id: `${id}-title` }, title),
    element("p", { class: "lead" }, lead),
    ...children,
  );
}

/** A block that opens on demand. */
export function disclosure(summary: string, ...children: Child[]): HTMLDetailsElement {
  return element("details", {}, element("summary", {}, summary), ...children);
}
