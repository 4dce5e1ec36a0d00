// The trials of the selection as cards, in an order, and one of them in full.

import type { Kind, Levels, Numbers, Trials } from "./data.js";
import { at, make } from "./dom.js";
import type { Selected, State } from "./selection.js";
import { count, figures, visible } from "./words.js";

const PAGE = 60;
const LEFT_OUT = "image not in this file";
const CARD_CONDITIONS = 4;

const orders = new Map<string, Uint32Array>();

/** Orders all rows: by how bad they are, or by a number; what has none comes first where worst does. */
function ordered(trials: Trials, order: string): Uint32Array {
  const known = orders.get(order);
  if (known) return known;
  const name = order.replace(/^-/, "");
  const sign = order.startsWith("-") ? -1 : 1;
  const values = name === "badness" ? trials.badness : (trials.byName.get(name) as Numbers).values;
  const last = name === "badness" ? -Infinity : Infinity;
  const key = Float64Array.from(values, (value) => (Number.isNaN(value) ? last : sign * value));
  if (name === "badness") for (let row = 0; row < trials.n; row += 1) key[row] = badnessKey(trials, row, sign);
  const found = Uint32Array.from(key, (_, row) => row).sort((a, b) => key[a] - key[b] || a - b);
  orders.set(order, found);
  return found;
}

/** Failures before all that passed; a failure that was never scored is the worst. */
function badnessKey(trials: Trials, row: number, sign: number): number {
  const bad = Number.isNaN(trials.badness[row]) ? 1e9 : trials.badness[row];
  return sign * (bad + (trials.failed[row] ? 1e12 : 0));
}

export function isOrder(trials: Trials, order: string): boolean {
  const name = order.replace(/^-/, "");
  return order === "spread" || name === "badness" || trials.byName.get(name)?.kind === "number";
}

/** The first rows of the selection; "spread" takes the worst of each subject, then the second worst of each. */
export function firstRows(trials: Trials, selected: Selected, order: string, most: number): number[] {
  const rows = ordered(trials, order === "spread" ? "-badness" : order);
  const { misses } = selected;
  const found: number[] = [];
  if (order !== "spread") {
    for (let place = 0; place < rows.length && found.length < most; place += 1) {
      if (!misses[rows[place]]) found.push(rows[place]);
    }
    return found;
  }
  const seen = new Uint32Array(trials.units.values.length);
  const rounds: number[][] = [];
  for (const row of rows) {
    if (misses[row]) continue;
    const round = seen[trials.units.codes[row]]++;
    const own = (rounds[round] ??= []);
    if (own.length < most) own.push(row);
  }
  return rounds.flat().slice(0, most);
}

const urls = new Map<number, string>();

function pictureOf(trials: Trials, row: number): HTMLElement {
  const bytes = trials.thumbnails[row];
  if (!bytes) {
    const why = trials.whyHidden.values[trials.whyHidden.codes[row]] ?? LEFT_OUT;
    return make("span", { class: "no-image" }, String(why));
  }
  let url = urls.get(row);
  if (!url) {
    url = `data:image/webp;base64,${btoa(String.fromCharCode(...bytes))}`;
    urls.set(row, url);
  }
  return make("img", { src: url, alt: `image of ${nameOf(trials, row)}` });
}

export function nameOf(trials: Trials, row: number): string {
  return trials.keys.map((column) => String(column.values[column.codes[row]])).join("/");
}

export function rowOf(trials: Trials, name: string): number {
  const [first, second] = trials.keys;
  for (let row = 0; row < trials.n; row += 1) {
    if (`${first.values[first.codes[row]]}/${second.values[second.codes[row]]}` === name) return row;
  }
  return -1;
}

export function valueWords(column: Levels | Numbers, row: number): string {
  if (column.kind === "number") return Number.isNaN(column.values[row]) ? "none" : figures(column.values[row], 5);
  return levelWords(column.values[column.codes[row]]);
}

export function levelWords(value: string | boolean | null): string {
  if (value === null) return "not known";
  if (typeof value === "boolean") return value ? "yes" : "no";
  return visible(value) || "(empty)";
}

const kindOfRow = (trials: Trials, row: number): Kind => trials.about.kinds[trials.kinds[row]];

function card(trials: Trials, row: number, open: (row: number) => void): HTMLElement {
  const facets = trials.levels.filter((column) => column.name !== "drop_id");
  const [first, ...others] = facets;
  const score = trials.byName.get(trials.about.score) as Numbers | undefined;
  const ending = first ? `${first.values.length === 2 && typeof first.values[0] === "boolean" ? `${first.label}: ` : ""}${valueWords(first, row)}` : "";
  const known = others.filter((column) => column.isApart[trials.kinds[row]] && !column.name.startsWith("baseline_") && column.values[column.codes[row]] !== null);
  const words = known.slice(0, CARD_CONDITIONS).map((column) => `${column.label} ${valueWords(column, row)}`);
  const button = make("button", { type: "button", class: trials.failed[row] ? "card is-failed" : "card" });
  const figure = score && !Number.isNaN(score.values[row]) ? ` ${score.label} ${figures(score.values[row], 4)}` : "";
  button.append(
    make("span", { class: "frame" }, pictureOf(trials, row)),
    make("strong", {}, ending),
    make("span", { class: "score" }, figure || " no score"),
    make("span", { class: "words" }, words.join(", ")),
  );
  button.addEventListener("click", () => open(row));
  return button;
}

let shown = PAGE;

export const showMore = (): void => {
  shown += PAGE;
};

export const showFirst = (): void => {
  shown = PAGE;
};

export function drawGrid(trials: Trials, selected: Selected, state: State, open: (row: number) => void): void {
  const rows = firstRows(trials, selected, state.order, shown);
  at("cards").replaceChildren(...rows.map((row) => make("li", {}, card(trials, row, open))));
  const { trial } = trials.about.kinds[state.kind];
  at("shown").textContent = rows.length ? `${count(rows.length)} of ${count(selected.n)} ${trial}s shown` : `no ${trial} is left`;
  at("more").hidden = rows.length >= selected.n;
}

export function drawDetail(trials: Trials, row: number): void {
  const isKnown = (column: Levels | Numbers): boolean =>
    column.kind === "number" || column.values[column.codes[row]] !== null || column.isApart[trials.kinds[row]];
  const rows = [...trials.byName.values()].filter(isKnown).map((column) =>
    make("tr", {}, make("th", { scope: "row" }, column.label), make("td", {}, make("bdi", {}, valueWords(column, row)))),
  );
  const slices = trials.about.slices.filter((_, place) => trials.slices[place][row]).map((slice) => slice.condition);
  const failing = trials.failed[row] ? `One of the ${kindOfRow(trials, row).failures}` : "Not a failure";
  const within = slices.length ? `; within the slice${slices.length > 1 ? "s" : ""} \u201c${slices.join("\u201d and \u201c")}\u201d.` : ".";
  at("detail-title").textContent = visible(nameOf(trials, row));
  at("detail-body").replaceChildren(
    make("div", { class: "frame large" }, pictureOf(trials, row)),
    make("div", {}, make("p", {}, failing + within), make("table", {}, make("tbody", {}, ...rows))),
  );
}
