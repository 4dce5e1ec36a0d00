// The trials as columns: read once from the Parquet file that lies within the page.

import { parquetMetadata, parquetRead } from "hyparquet";

export type Value = string | boolean | null;

export interface Column {
  name: string;
  label: string;
  kind: "level" | "number" | "name";
  sql: string;
}

/** Texts or flags: each row holds the place of its value. */
export interface Levels extends Column {
  kind: "level" | "name";
  codes: Uint32Array;
  values: Value[];
  /** Of each kind, whether it says of itself what fails, so that rates of its levels would tell nothing. */
  isTelling: boolean[];
  /** Of each kind, which values its trials have, and whether that tells them apart. */
  present: Uint8Array[];
  isApart: boolean[];
}

/** Numbers; NaN where there is none. */
export interface Numbers extends Column {
  kind: "number";
  values: Float64Array;
  low: number;
  high: number;
}

export interface Slice {
  /** The place of the kind in which it was found. */
  kind: number;
  column: string;
  condition: string;
  sentence: string;
  sql: string;
}

/** Trials of which one rate is told; those of two kinds are never counted together. */
export interface Kind {
  name: string;
  label: string;
  trial: string;
  failures: string;
  rate: string;
  unit: string;
  where: string;
  failed: string;
  interval: "unit" | "pair" | "artefact";
  other_unit: string | null;
  worst_of: string | null;
}

export interface About {
  is_single: boolean;
  build: string;
  baseline: string | null;
  unit_column: string;
  key: [string, string];
  table: string;
  score: string;
  thresholds: number[];
  kinds: Kind[];
  columns: Column[];
  slices: Slice[];
}

/** Who met whom: the pair of each row, and the two of each pair. */
export interface Pairs {
  codes: Uint32Array;
  one: number[];
  other: number[];
  people: number;
}

export interface Trials {
  about: About;
  n: number;
  levels: Levels[];
  numbers: Numbers[];
  byName: Map<string, Levels | Numbers>;
  failed: Uint8Array;
  /** The place of each row's kind. */
  kinds: Uint8Array;
  units: Levels;
  pairs: Pairs | null;
  keys: [Levels, Levels];
  slices: Uint8Array[];
  badness: Float64Array;
  whyHidden: Levels;
  thumbnails: (Uint8Array | null)[];
}

type Raw = ArrayLike<unknown>;

function bytesOf(id: string): ArrayBuffer {
  const text = atob(document.getElementById(id)!.textContent!.trim());
  const bytes = new Uint8Array(text.length);
  for (let place = 0; place < text.length; place += 1) bytes[place] = text.charCodeAt(place);
  return bytes.buffer;
}

function encode(column: Column, raw: Raw): Levels {
  const places = new Map<Value, number>();
  const found = new Uint32Array(raw.length);
  for (let row = 0; row < raw.length; row += 1) {
    const value = (raw[row] ?? null) as Value;
    let place = places.get(value);
    if (place === undefined) places.set(value, (place = places.size));
    found[row] = place;
  }
  const values = [...places.keys()];
  const order = values.map((_, place) => place).sort((a, b) => compare(values[a], values[b]));
  const target = new Uint32Array(values.length);
  order.forEach((place, rank) => (target[place] = rank));
  for (let row = 0; row < found.length; row += 1) found[row] = target[found[row]];
  return { ...column, kind: column.kind as Levels["kind"], codes: found, values: order.map((place) => values[place]), isTelling: [], present: [], isApart: [] };
}

/** Notes, of each kind, which values of a column its trials have, with which outcomes. */
function describe(column: Levels, kinds: Uint8Array, failed: Uint8Array, n: number): void {
  for (let kind = 0; kind < n; kind += 1) {
    const seen = new Uint8Array(column.values.length);
    for (let row = 0; row < kinds.length; row += 1) if (kinds[row] === kind) seen[column.codes[row]] |= failed[row] ? 2 : 1;
    const outcomes = seen.reduce((both, some) => both | some, 0);
    column.isTelling.push(outcomes === 3 && seen.every((some) => some !== 3));
    column.present.push(seen);
    column.isApart.push(seen.reduce((levels, some) => levels + (some ? 1 : 0), 0) > 1);
  }
}

/** Numbers the pairs of people, in whichever order they met. */
function pairsOf(units: Levels, others: Levels): Pairs {
  const people = new Map<Value, number>();
  const place = (value: Value): number => people.get(value) ?? (people.set(value, people.size), people.size - 1);
  const [mine, theirs] = [units, others].map((column) => column.values.map(place));
  const known = new Map<number, number>();
  const found: Pairs = { codes: new Uint32Array(units.codes.length), one: [], other: [], people: people.size };
  for (let row = 0; row < found.codes.length; row += 1) {
    const [a, b] = [mine[units.codes[row]], theirs[others.codes[row]]];
    const key = Math.min(a, b) * people.size + Math.max(a, b);
    let code = known.get(key);
    if (code === undefined) {
      known.set(key, (code = known.size));
      found.one.push(a);
      found.other.push(b);
    }
    found.codes[row] = code;
  }
  return found;
}

const BOUND = /^(<|>=)?-?([\d.]+)/;

/** Orders levels: bands by their lower bound, others by name, what is missing last. */
function compare(a: Value, b: Value): number {
  if (a === null || b === null) return Number(a === null) - Number(b === null);
  const [first, second] = [String(a), String(b)];
  const [left, right] = [BOUND.exec(first), BOUND.exec(second)];
  if (left && right) {
    const between = Number(left[2]) - Number(right[2]);
    if (between) return between;
    if (left[1] !== right[1]) return left[1] === "<" ? -1 : 1;
  }
  return first < second ? -1 : first > second ? 1 : 0;
}

function numbersOf(column: Column, raw: Raw): Numbers {
  const values = new Float64Array(raw.length);
  let [low, high] = [Infinity, -Infinity];
  for (let row = 0; row < raw.length; row += 1) {
    const value = raw[row] === null || raw[row] === undefined ? NaN : Number(raw[row]);
    values[row] = value;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return { ...column, kind: "number", values, low, high };
}

const flags = (raw: Raw): Uint8Array => Uint8Array.from(raw, (value) => (value ? 1 : 0));

export async function readTrials(): Promise<Trials> {
  const about = JSON.parse(document.getElementById("about")!.textContent!) as About;
  const file = bytesOf("trials");
  const metadata = parquetMetadata(file);
  const n = Number(metadata.num_rows);
  const raw = new Map<string, unknown[]>();
  await parquetRead({
    file,
    metadata,
    utf8: false,
    onChunk: ({ columnName, columnData, rowStart }) => {
      const whole = raw.get(columnName) ?? new Array(n).fill(null);
      for (let row = 0; row < columnData.length; row += 1) whole[rowStart + row] = columnData[row];
      raw.set(columnName, whole);
    },
  });
  const of = (name: string): unknown[] => raw.get(name) ?? new Array(n).fill(null);
  const hidden = (name: string): Column => ({ name, label: name, kind: "name", sql: "" });
  const byName = new Map<string, Levels | Numbers>();
  for (const column of about.columns) {
    byName.set(column.name, column.kind === "number" ? numbersOf(column, of(column.name)) : encode(column, of(column.name)));
  }
  const levelsOf = (name: string): Levels => (byName.get(name) as Levels | undefined) ?? encode(hidden(name), of(name));
  const all = [...byName.values()];
  const failed = flags(of("failed_flag"));
  const places = new Map(about.kinds.map((kind, place) => [kind.name, place]));
  const kinds = Uint8Array.from(of("kind_of_trial"), (name) => places.get(String(name)) ?? 0);
  for (const column of all) if (column.kind !== "number") describe(column, kinds, failed, about.kinds.length);
  const units = levelsOf(about.unit_column);
  const other = about.kinds.find((kind) => kind.other_unit)?.other_unit;
  return {
    about,
    n,
    levels: all.filter((item): item is Levels => item.kind === "level" && item.values.length > 1),
    numbers: all.filter((item): item is Numbers => item.kind === "number" && item.low < item.high),
    byName,
    failed,
    kinds,
    units,
    pairs: other ? pairsOf(units, levelsOf(other)) : null,
    keys: [levelsOf(about.key[0]), levelsOf(about.key[1])],
    slices: about.slices.map((slice) => flags(of(slice.column))),
    badness: numbersOf(hidden("badness"), of("badness")).values,
    whyHidden: encode(hidden("why_hidden"), of("why_hidden")),
    thumbnails: of("thumbnail") as (Uint8Array | null)[],
  };
}
