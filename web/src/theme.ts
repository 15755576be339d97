// Colours of the charts: read from the style sheet, so that they follow light and dark.

export interface Theme {
  ink: string;
  muted: string;
  rule: string;
  paper: string;
  before: string;
  after: string;
  best: string;
  compare: string;
  font: string;
}

export function readTheme(): Theme {
  const style = getComputedStyle(document.documentElement);
  const colour = (name: string): string => style.getPropertyValue(`--${name}`).trim();
  return {
    ink: colour("ink"),
    muted: colour("muted"),
    rule: colour("rule"),
    paper: colour("paper"),
    before: colour("before"),
    after: colour("after"),
    best: colour("best"),
    compare: colour("compare"),
    font: getComputedStyle(document.body).fontFamily,
  };
}

export function onThemeChange(listener: () => void): void {
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", listener);
}
