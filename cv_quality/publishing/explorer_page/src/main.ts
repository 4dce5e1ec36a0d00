// The page: facets on the left, the rate and two charts of the selection, its trials as cards; all follow one state.

import { brushed, drawHistogram, drawScatter, rangeX, rangeY } from "./charts.js";
import { readTrials, type Levels, type Numbers, type Trials } from "./data.js";
import { at, make } from "./dom.js";
import { drawDetail, drawGrid, firstRows, isOrder, levelWords, nameOf, rowOf, showFirst, showMore } from "./grid.js";
import { clusteredRate } from "./rate.js";
import {
  countLevels,
  countSlice,
  countUnits,
  initial,
  linkOf,
  predicate,
  question,
  select,
  stateOf,
  type Selected,
  type State,
} from "./selection.js";
import { count, exact, figures, percent, span, visible } from "./words.js";

const LEVELS_SHOWN = 12;
const OPEN_FACETS = 6;

let trials: Trials;
let state: State;
let selected: Selected;
const unfolded = new Set<string>();
const whole = new Set<string>();

function change(alter: () => void): void {
  alter();
  showFirst();
  draw();
  history.replaceState(null, "", `#${linkOf(trials, state)}`);
}

function draw(): void {
  const start = performance.now();
  selected = select(trials, state);
  drawSummary();
  drawChips();
  drawSlices();
  drawFacets();
  if (trials.numbers.length) {
    drawHistogram(trials, selected, state);
    drawScatter(trials, selected, state);
    drawRanges();
  }
  drawGrid(trials, selected, state, open);
  drawSql();
  document.documentElement.dataset.drawnIn = (performance.now() - start).toFixed(1);
}

function drawSummary(): void {
  const { about } = trials;
  const [all, failed] = countUnits(trials, selected);
  const rate = clusteredRate(failed, all);
  at("rate-name").textContent = about.rate;
  at("rate").textContent = rate.value === null ? "undefined" : percent(rate.value);
  const bounds = rate.low === null || rate.high === null ? "no interval" : `95 % interval ${span(rate.low, rate.high)}`;
  at("interval").textContent = rate.value === null ? "no trial" : bounds + (rate.isSmall ? ", too few to be ranked" : "");
  at("counts").textContent = `${count(rate.failures)} ${about.failures} of ${count(rate.trials)} ${about.trial}s, ${count(rate.units)} ${about.unit}s`;
}

function chip(words: string, remove: () => void): HTMLElement {
  const button = make("button", { type: "button", class: "chip", "aria-label": `remove filter: ${words}` }, make("bdi", {}, words), " \u00d7");
  button.addEventListener("click", () => change(remove));
  return button;
}

function drawChips(): void {
  const chips: HTMLElement[] = [];
  const { about } = trials;
  if (state.failed !== null) {
    chips.push(chip(state.failed ? `only ${about.failures}` : `without ${about.failures}`, () => (state.failed = null)));
  }
  for (const [place, isInside] of state.slices) {
    chips.push(chip((isInside ? "" : "outside of: ") + about.slices[place].condition, () => state.slices.delete(place)));
  }
  for (const [name, codes] of state.levels) {
    const column = trials.byName.get(name) as Levels;
    const words = [...codes].sort((a, b) => a - b).map((code) => levelWords(column.values[code]));
    const listed = words.length > 4 ? `${words.slice(0, 4).join(" or ")} or ${words.length - 4} more` : words.join(" or ") || "none";
    chips.push(chip(`${column.label}: ${listed}`, () => state.levels.delete(name)));
  }
  for (const [name, [low, high]] of state.ranges) {
    const { label } = trials.byName.get(name)!;
    chips.push(chip(`${label}: ${figures(low, 4)} to ${figures(high, 4)}`, () => state.ranges.delete(name)));
  }
  if (state.text) {
    const words = `names with \u201c${visible(state.text)}\u201d`;
    chips.push(chip(words, () => ((state.text = ""), (at<HTMLInputElement>("text").value = ""))));
  }
  at("chips").replaceChildren(...chips);
  at("clear").hidden = chips.length === 0;
}

function option(words: string, numbers: [number, number], isOn: boolean, toggle: () => void, { title = "", isTelling = false } = {}): HTMLElement {
  const [n, failures] = numbers;
  const box = make("input", { type: "checkbox" });
  box.checked = isOn;
  box.addEventListener("change", () => change(toggle));
  const share = isTelling ? "" : n ? percent(failures / n) : "none";
  const bar = make("span", { class: "bar" }, make("span", {}));
  (bar.firstChild as HTMLElement).style.width = n ? `${(100 * failures) / n}%` : "0";
  const row = make("label", { class: n ? "option" : "option is-empty" }, box);
  if (title) row.title = title;
  bar.hidden = isTelling;
  row.append(make("bdi", { class: "level" }, words), make("span", { class: "n" }, count(n)), bar, make("span", { class: "share" }, share));
  return row;
}

function drawSlices(): void {
  const { slices } = trials.about;
  at("slices").hidden = slices.length === 0;
  at("slice-options").replaceChildren(
    ...slices.map((slice, place) =>
      option(slice.condition, countSlice(trials, selected, place), state.slices.get(place) === true, () => {
        if (state.slices.get(place)) state.slices.delete(place);
        else state.slices.set(place, true);
      }, { title: slice.sentence }),
    ),
  );
}

function toggle(column: Levels, code: number): void {
  const chosen = state.levels.get(column.name) ?? new Set<number>();
  if (!chosen.delete(code)) chosen.add(code);
  if (chosen.size) state.levels.set(column.name, chosen);
  else state.levels.delete(column.name);
}

function facetOptions(column: Levels): HTMLElement[] {
  const [all, failed] = countLevels(trials, selected, column, `level ${column.name}`);
  const chosen = state.levels.get(column.name);
  let codes = Array.from(all, (_, code) => code);
  const isLong = codes.length > LEVELS_SHOWN && !whole.has(column.name);
  if (isLong) {
    codes = codes.sort((a, b) => Number(chosen?.has(b) ?? false) - Number(chosen?.has(a) ?? false) || all[b] - all[a]);
    codes = codes.slice(0, Math.max(LEVELS_SHOWN, chosen?.size ?? 0));
  }
  const options = codes.map((code) =>
    option(levelWords(column.values[code]), [all[code], failed[code]], chosen?.has(code) ?? false, () => toggle(column, code), column),
  );
  if (isLong) {
    const more = make("button", { type: "button", class: "plain" }, `${count(column.values.length - codes.length)} more`);
    more.addEventListener("click", () => (whole.add(column.name), draw()));
    options.push(more);
  }
  return options;
}

/** Counts only the facets that are unfolded; the others are counted when somebody looks. */
function drawFacets(): void {
  for (const column of trials.levels) {
    const body = at(`facet-${column.name}`);
    const isOpen = unfolded.has(column.name) || state.levels.has(column.name);
    (body.parentElement as HTMLDetailsElement).open = isOpen;
    const focus = body.contains(document.activeElement)
      ? [...body.querySelectorAll("input")].indexOf(document.activeElement as HTMLInputElement)
      : -1;
    body.replaceChildren(...(isOpen ? facetOptions(column) : []));
    if (focus >= 0) body.querySelectorAll("input")[focus]?.focus();
  }
}

function makeFacets(): void {
  trials.levels.slice(0, OPEN_FACETS).forEach((column) => unfolded.add(column.name));
  for (const column of trials.levels) {
    const body = make("div", { id: `facet-${column.name}`, role: "group", "aria-label": column.label });
    const facet = make("details", { class: "facet" }, make("summary", {}, column.label), body);
    facet.addEventListener("toggle", () => {
      if (facet.open === unfolded.has(column.name) || (state.levels.has(column.name) && facet.open)) return;
      if (facet.open) unfolded.add(column.name);
      else unfolded.delete(column.name);
      drawFacets();
    });
    at("facets").append(facet);
  }
}

function drawRanges(): void {
  const column = trials.byName.get(state.histogram) as Numbers;
  const [low, high] = state.ranges.get(column.name) ?? [NaN, NaN];
  for (const [id, value, edge] of [["from", low, column.low], ["to", high, column.high]] as const) {
    const input = at<HTMLInputElement>(id);
    input.placeholder = figures(edge, 4);
    if (document.activeElement !== input) input.value = Number.isNaN(value) ? "" : String(value);
  }
}

function readRange(): void {
  const column = trials.byName.get(state.histogram) as Numbers;
  const [from, to] = ["from", "to"].map((id) => at<HTMLInputElement>(id).value.trim());
  if (!from && !to) state.ranges.delete(column.name);
  else state.ranges.set(column.name, [from ? Number(from) : -Infinity, to ? Number(to) : Infinity]);
}

function choice(id: string, options: [string, string][], chosen: string, chose: (name: string) => void): void {
  const element = at<HTMLSelectElement>(id);
  element.replaceChildren(...options.map(([value, words]) => make("option", { value }, words)));
  element.value = chosen;
  element.addEventListener("change", () => change(() => chose(element.value)));
}

function makeCharts(): void {
  const numbers = trials.numbers.map((column): [string, string] => [column.name, column.label]);
  choice("histogram-of", numbers, state.histogram, (name) => (state.histogram = name));
  choice("x", numbers, state.x, (name) => (state.x = name));
  choice("y", numbers, state.y, (name) => (state.y = name));
  const of = (name: string): Numbers => trials.byName.get(name) as Numbers;
  brushed(at<SVGSVGElement>("histogram"), (x) =>
    change(() => {
      if (x) state.ranges.set(state.histogram, rangeX(of(state.histogram), x));
      else state.ranges.delete(state.histogram);
    }),
  );
  brushed(at<SVGSVGElement>("scatter"), (x, y) =>
    change(() => {
      for (const name of [state.x, state.y]) state.ranges.delete(name);
      if (x && y) {
        state.ranges.set(state.x, rangeX(of(state.x), x));
        if (state.x !== state.y) state.ranges.set(state.y, rangeY(of(state.y), y));
      }
    }),
  );
}

function drawSql(): void {
  at("sql").textContent = question(trials, state);
  at("predicate").textContent = predicate(trials, state);
}

function csvCell(value: string): string {
  return /[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value;
}

function csv(): string {
  const columns = [...trials.byName.values()];
  const lines = [[...columns.map((column) => csvCell(column.name)), "is_failure"].join(",")];
  for (let row = 0; row < trials.n; row += 1) {
    if (selected.misses[row]) continue;
    const cells = columns.map((column) => {
      if (column.kind === "number") {
        const value = column.values[row];
        return Number.isNaN(value) ? "" : exact(value, trials.about.is_single);
      }
      return csvCell(String(column.values[column.codes[row]] ?? ""));
    });
    lines.push([...cells, trials.failed[row] ? "true" : "false"].join(","));
  }
  return `${lines.join("\n")}\n`;
}

function saveCsv(): void {
  const url = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
  make("a", { href: url, download: `${trials.about.build}-attempts.csv` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

function open(row: number): void {
  state.trial = nameOf(trials, row);
  history.replaceState(null, "", `#${linkOf(trials, state)}`);
  drawDetail(trials, row);
  const dialog = at<HTMLDialogElement>("detail");
  if (!dialog.open) dialog.showModal();
}

function step(by: number): void {
  const rows = firstRows(trials, selected, state.order, selected.n);
  const place = rows.indexOf(rowOf(trials, state.trial ?? ""));
  const next = rows[place + by];
  if (next !== undefined) open(next);
}

async function copy(id: string, button: HTMLElement): Promise<void> {
  const words = button.textContent ?? "";
  const chosen = getSelection();
  chosen?.selectAllChildren(at(id));
  try {
    await navigator.clipboard.writeText(at(id).textContent ?? "");
    button.textContent = "Copied";
  } catch {
    button.textContent = document.execCommand("copy") ? "Copied" : "Selected";
  }
  setTimeout(() => (button.textContent = words), 1500);
}

function makeControls(): void {
  const { about } = trials;
  const orders: [string, string][] = [
    ["spread", `worst of each ${about.unit}`],
    ["-badness", "worst first"],
    ["badness", "best first"],
    ...trials.numbers.flatMap(({ name, label }): [string, string][] => [
      [name, `${label}, lowest first`],
      [`-${name}`, `${label}, highest first`],
    ]),
  ];
  choice("order", orders, state.order, (order) => (state.order = order));
  at("more").addEventListener("click", () => (showMore(), draw()));
  at("clear").addEventListener("click", () => change(() => {
    const { histogram, x, y, order } = state;
    state = { ...initial(trials), histogram, x, y, order };
    at<HTMLInputElement>("text").value = "";
  }));
  for (const value of ["all", "true", "false"]) {
    const input = at<HTMLInputElement>(`failed-${value}`);
    input.checked = String(state.failed ?? "all") === value;
    input.addEventListener("change", () => change(() => (state.failed = value === "all" ? null : value === "true")));
  }
  const text = at<HTMLInputElement>("text");
  text.value = state.text;
  text.addEventListener("input", () => change(() => (state.text = text.value)));
  for (const id of ["from", "to"]) at(id).addEventListener("change", () => change(readRange));
  at("csv").addEventListener("click", saveCsv);
  for (const id of ["sql", "predicate"]) at(`copy-${id}`).addEventListener("click", () => void copy(id, at(`copy-${id}`)));
  at("copy-link").addEventListener("click", () => ((at("link").textContent = location.href), void copy("link", at("copy-link"))));
  at("previous").addEventListener("click", () => step(-1));
  at("next").addEventListener("click", () => step(1));
  at("close").addEventListener("click", () => at<HTMLDialogElement>("detail").close());
  at("detail").addEventListener("close", () => change(() => (state.trial = null)));
}

function openLinked(): void {
  const row = state.trial ? rowOf(trials, state.trial) : -1;
  if (row >= 0) open(row);
}

async function start(): Promise<void> {
  trials = await readTrials();
  state = stateOf(trials, location.hash.slice(1));
  if (!isOrder(trials, state.order)) state.order = "spread";
  makeFacets();
  if (trials.numbers.length) makeCharts();
  else document.querySelector<HTMLElement>(".charts")!.hidden = true;
  makeControls();
  draw();
  openLinked();
  addEventListener("hashchange", () => location.reload());
  document.documentElement.dataset.ready = "yes";
}

start().catch((error: unknown) => {
  at("failure").hidden = false;
  at("failure").textContent = `This page cannot be shown: ${String(error)}`;
});
