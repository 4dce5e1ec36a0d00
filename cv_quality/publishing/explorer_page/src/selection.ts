// What is selected: filters over the trials, what they leave, and the same as SQL and as a link.

import type { Kind, Levels, Numbers, Trials, Value } from "./data.js";

export interface State {
  /** The place of the kind that is shown: one, so that no rate is of two. */
  kind: number;
  failed: boolean | null;
  levels: Map<string, Set<number>>;
  ranges: Map<string, [number, number]>;
  slices: Map<number, boolean>;
  text: string;
  trial: string | null;
  histogram: string;
  x: string;
  y: string;
  order: string;
}

export interface Filter {
  id: string;
  mask: Uint8Array;
}

export interface Selected {
  /** Filters that each row fails, and which one it was last. */
  misses: Uint8Array;
  owner: Uint8Array;
  filters: Filter[];
  n: number;
}

const kept = new Map<string, { key: string; mask: Uint8Array }>();

/** Makes the mask of a filter, unless it is still the one made last. */
function masked(id: string, key: string, n: number, holds: (row: number) => boolean): Filter {
  const known = kept.get(id);
  if (known?.key === key) return { id, mask: known.mask };
  const mask = new Uint8Array(n);
  for (let row = 0; row < n; row += 1) mask[row] = holds(row) ? 1 : 0;
  kept.set(id, { key, mask });
  return { id, mask };
}

function filtersOf(trials: Trials, state: State): Filter[] {
  const { n } = trials;
  const found: Filter[] = [];
  if (trials.about.kinds.length > 1) {
    found.push(masked("kind", String(state.kind), n, (row) => trials.kinds[row] === state.kind));
  }
  if (state.failed !== null) {
    const wanted = Number(state.failed);
    found.push(masked("failed", String(wanted), n, (row) => trials.failed[row] === wanted));
  }
  for (const [name, codes] of state.levels) {
    const column = trials.byName.get(name) as Levels;
    const holds = new Uint8Array(column.values.length);
    for (const code of codes) holds[code] = 1;
    found.push(masked(`level ${name}`, [...codes].sort().join(), n, (row) => holds[column.codes[row]] === 1));
  }
  for (const [name, [low, high]] of state.ranges) {
    const { values } = trials.byName.get(name) as Numbers;
    found.push(masked(`range ${name}`, `${low} ${high}`, n, (row) => values[row] >= low && values[row] <= high));
  }
  for (const [place, isInside] of state.slices) {
    const members = trials.slices[place];
    found.push(masked(`slice ${place}`, String(isInside), n, (row) => members[row] === Number(isInside)));
  }
  if (state.text) found.push(masked("text", state.text, n, textTest(trials, state.text)));
  return found;
}

const namesOf = (trials: Trials): Levels[] =>
  [...trials.byName.values()].filter((item): item is Levels => item.kind === "name");

/** Tells whether a name of a row holds a text, whatever its case; each name is looked at once. */
function textTest(trials: Trials, text: string): (row: number) => boolean {
  const wanted = text.toLowerCase();
  const columns = namesOf(trials).map((column) => ({
    codes: column.codes,
    holds: column.values.map((value) => value !== null && String(value).toLowerCase().includes(wanted)),
  }));
  return (row) => columns.some(({ codes, holds }) => holds[codes[row]]);
}

export function select(trials: Trials, state: State): Selected {
  const filters = filtersOf(trials, state);
  const misses = new Uint8Array(trials.n);
  const owner = new Uint8Array(trials.n);
  filters.forEach(({ mask }, place) => {
    for (let row = 0; row < mask.length; row += 1) {
      if (mask[row] === 0) {
        misses[row] += 1;
        owner[row] = place;
      }
    }
  });
  let n = 0;
  for (let row = 0; row < misses.length; row += 1) n += misses[row] === 0 ? 1 : 0;
  return { misses, owner, filters, n };
}

/** Counts trials and failures by level, as all other filters leave them. */
export function countLevels(trials: Trials, selected: Selected, column: Levels, id: string): [Uint32Array, Uint32Array] {
  const [all, failed] = [new Uint32Array(column.values.length), new Uint32Array(column.values.length)];
  const own = selected.filters.findIndex((filter) => filter.id === id);
  const { misses, owner } = selected;
  for (let row = 0; row < trials.n; row += 1) {
    if (misses[row] > 1 || (misses[row] === 1 && owner[row] !== own)) continue;
    const code = column.codes[row];
    all[code] += 1;
    failed[code] += trials.failed[row];
  }
  return [all, failed];
}

/** Counts the trials of each kind, as all other filters leave them. */
export function countKinds(trials: Trials, selected: Selected): Uint32Array {
  const counts = new Uint32Array(trials.about.kinds.length);
  const own = selected.filters.findIndex((filter) => filter.id === "kind");
  const { misses, owner } = selected;
  for (let row = 0; row < trials.n; row += 1) {
    if (misses[row] === 0 || (misses[row] === 1 && owner[row] === own)) counts[trials.kinds[row]] += 1;
  }
  return counts;
}

/** Counts trials and failures of a slice, as all other filters leave it. */
export function countSlice(trials: Trials, selected: Selected, place: number): [number, number] {
  const own = selected.filters.findIndex((filter) => filter.id === `slice ${place}`);
  const { misses, owner } = selected;
  const members = trials.slices[place];
  let [all, failed] = [0, 0];
  for (let row = 0; row < trials.n; row += 1) {
    if (!members[row] || misses[row] > 1 || (misses[row] === 1 && owner[row] !== own)) continue;
    all += 1;
    failed += trials.failed[row];
  }
  return [all, failed];
}

/** Counts trials and failures of the selection by a code of its rows. */
export function countBy(
  trials: Trials,
  selected: Selected,
  codes: Uint32Array,
  size: number,
  holds: (row: number) => boolean = () => true,
): [Uint32Array, Uint32Array] {
  const [all, failed] = [new Uint32Array(size), new Uint32Array(size)];
  for (let row = 0; row < trials.n; row += 1) {
    if (selected.misses[row] || !holds(row)) continue;
    all[codes[row]] += 1;
    failed[codes[row]] += trials.failed[row];
  }
  return [all, failed];
}

export const kindOf = (trials: Trials, state: State): Kind => trials.about.kinds[state.kind];

const quoted = (value: string): string => `'${value.replaceAll("'", "''")}'`;

/** Writes a number that SQL reads as the same double. */
const double = (value: number): string =>
  value === Infinity ? "'infinity'::DOUBLE" : value === -Infinity ? "'-infinity'::DOUBLE" : `${value}${/e/.test(String(value)) ? "" : "e0"}`;

function levelsSql(column: Levels, codes: Set<number>): string {
  const values = [...codes].sort((a, b) => a - b).map((code) => column.values[code]);
  const listed = values.filter((value): value is string | boolean => value !== null);
  const parts = [];
  const texts = listed.map((value) => (typeof value === "string" ? quoted(value) : String(value)));
  if (texts.length) parts.push(`${column.sql} IN (${texts.join(", ")})`);
  if (values.includes(null)) parts.push(`${column.sql} IS NULL`);
  return parts.length ? parts.join(" OR ") : "false";
}

/** Writes the selection as a predicate, without what selects the trials of the build. */
export function predicate(trials: Trials, state: State): string {
  const { about } = trials;
  const parts: string[] = [];
  const { failed } = kindOf(trials, state);
  if (state.failed !== null) parts.push(state.failed ? failed : `NOT (${failed})`);
  for (const [name, codes] of state.levels) parts.push(levelsSql(trials.byName.get(name) as Levels, codes));
  for (const [name, [low, high]] of state.ranges) {
    parts.push(`${trials.byName.get(name)!.sql} BETWEEN ${double(low)} AND ${double(high)}`);
  }
  for (const [place, isInside] of state.slices) {
    parts.push(isInside ? about.slices[place].sql : `NOT (${about.slices[place].sql})`);
  }
  if (state.text) {
    const wanted = quoted(state.text.toLowerCase());
    parts.push(namesOf(trials).map((column) => `contains(lower(${column.sql}), ${wanted})`).join(" OR "));
  }
  return parts.map((part) => `(${part})`).join(" AND ") || "true";
}

export function question(trials: Trials, state: State): string {
  const { about } = trials;
  return `SELECT * FROM ${about.table}\nWHERE ${kindOf(trials, state).where}\n  AND ${predicate(trials, state)}`;
}

const text = (value: Value): string => (value === null ? "\u0000" : String(value));

/** Writes the state as the part of an address after its #. */
export function linkOf(trials: Trials, state: State): string {
  const parts = new URLSearchParams();
  if (state.kind) parts.append("kind", kindOf(trials, state).name);
  if (state.failed !== null) parts.append("failed", String(state.failed));
  for (const [name, codes] of state.levels) {
    const values = (trials.byName.get(name) as Levels).values;
    for (const code of codes) parts.append(`is.${name}`, text(values[code]));
    if (!codes.size) parts.append(`none.${name}`, "");
  }
  for (const [name, [low, high]] of state.ranges) parts.append(`in.${name}`, `${low} ${high}`);
  for (const [place, isInside] of state.slices) parts.append(isInside ? "slice" : "outside", String(place + 1));
  if (state.text) parts.append("text", state.text);
  if (state.trial) parts.append("attempt", state.trial);
  const start = initial(trials);
  for (const name of ["histogram", "x", "y", "order"] as const) {
    if (state[name] !== start[name]) parts.append(name, state[name]);
  }
  return parts.toString();
}

export function initial(trials: Trials): State {
  const { about, numbers } = trials;
  const score = numbers.some((item) => item.name === about.score) ? about.score : (numbers[0]?.name ?? "");
  const other = numbers.find((item) => item.name === "baseline_score") ?? numbers.find((item) => item.name !== score);
  return {
    kind: 0,
    failed: null,
    levels: new Map(),
    ranges: new Map(),
    slices: new Map(),
    text: "",
    trial: null,
    histogram: score,
    x: score,
    y: other?.name ?? score,
    order: "spread",
  };
}

/** Reads a state from an address; what the trials do not have is passed over. */
export function stateOf(trials: Trials, link: string): State {
  const state = initial(trials);
  const isNumber = (name: string): boolean => trials.byName.get(name)?.kind === "number";
  for (const [key, value] of new URLSearchParams(link)) {
    const name = key.slice(key.indexOf(".") + 1);
    const column = trials.byName.get(name);
    if (key === "kind") state.kind = Math.max(trials.about.kinds.findIndex((kind) => kind.name === value), 0);
    else if (key === "failed") state.failed = value === "true";
    else if (key.startsWith("is.") && column && column.kind !== "number") {
      const code = column.values.findIndex((item) => text(item) === value);
      if (code >= 0) state.levels.set(name, (state.levels.get(name) ?? new Set()).add(code));
    } else if (key.startsWith("none.") && column && column.kind !== "number") state.levels.set(name, new Set());
    else if (key.startsWith("in.") && isNumber(name)) {
      const [low, high] = value.split(" ").map(Number);
      if (!Number.isNaN(low) && !Number.isNaN(high)) state.ranges.set(name, [low, high]);
    } else if (key === "slice" || key === "outside") {
      const place = Number(value) - 1;
      if (trials.slices[place]) state.slices.set(place, key === "slice");
    } else if (key === "text") state.text = value;
    else if (key === "attempt") state.trial = value;
    else if (key === "order") state.order = value;
    else if ((key === "histogram" || key === "x" || key === "y") && isNumber(value)) state[key] = value;
  }
  return state;
}
