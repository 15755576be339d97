// Which trial the reader looks at. Chart, table and curves follow one another through it.

export class Selection {
  private readonly listeners: ((trial: number | undefined) => void)[] = [];

  constructor(private trial: number | undefined) {}

  get current(): number | undefined {
    return this.trial;
  }

  select(trial: number | undefined): void {
    if (trial === this.trial) return;
    this.trial = trial;
    for (const listener of this.listeners) listener(trial);
  }

  /** Calls the listener now and whenever the selection changes. */
  follow(listener: (trial: number | undefined) => void): void {
    this.listeners.push(listener);
    listener(this.trial);
  }
}
