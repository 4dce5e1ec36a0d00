// The page: facets on the left, the rate and two charts of the selection, its trials as cards; all follow one state.

import { brushed, drawHistogram, drawScatter, rangeX, rangeY } from "./charts.js";
import { readTrials, type Kind, type Levels, type Numbers, type Trials } from "./data.js";
import { at, make } from "./dom.js";
import { drawDetail, drawGrid, firstRows, isOrder, levelWords, nameOf, rowOf, showFirst, showMore } from "./grid.js";
import { artefactRate, clusteredRate, pairRate, type Rate } from "./rate.js";
import {
  countBy,
  countKinds,
  countLevels,
  countSlice,
  initial,
  kindOf,
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
  drawKinds();
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

const kind = (): Kind => kindOf(trials, state);

/** The rate of the selection as the metrics bound it: of its worst level where levels are never pooled. */
function rateOf(): { rate: Rate; level: string | null; levels: number } {
  const { interval, worst_of } = kind();
  const { units, pairs } = trials;
  if (interval === "pair" && pairs) {
    const [all, failed] = countBy(trials, selected, pairs.codes, pairs.one.length);
    return { rate: pairRate({ errors: failed, trials: all, one: pairs.one, other: pairs.other, people: pairs.people }), level: null, levels: 1 };
  }
  const rateWhere = (holds?: (row: number) => boolean): Rate => {
    const [all, failed] = countBy(trials, selected, units.codes, units.values.length, holds);
    return interval === "artefact" ? artefactRate(failed, all) : clusteredRate(failed, all);
  };
  if (!worst_of) return { rate: rateWhere(), level: null, levels: 1 };
  const { codes, values } = trials.byName.get(worst_of) as Levels;
  const rates = values.map((value, code) => ({ rate: rateWhere((row) => codes[row] === code), level: levelWords(value) }));
  const known = rates.filter(({ rate }) => rate.value !== null).sort((a, b) => b.rate.value! - a.rate.value!);
  return { ...(known[0] ?? { rate: rateWhere(), level: null }), levels: known.length };
}

function drawSummary(): void {
  const { rate, level, levels } = rateOf();
  const { failures, trial, unit, worst_of } = kind();
  const label = worst_of ? trials.byName.get(worst_of)!.label : "";
  const worst = level === null ? "" : levels > 1 ? ` of ${level}, the worst of ${levels} ${label},` : ` of ${level},`;
  at("rate-name").textContent = kind().rate + worst;
  at("rate").textContent = rate.value === null ? "undefined" : percent(rate.value);
  const bounds = rate.low === null || rate.high === null ? "no interval" : `95 % interval ${span(rate.low, rate.high)}`;
  at("interval").textContent = rate.value === null ? "no trial" : bounds + (rate.isSmall ? ", too few to be ranked" : "");
  at("counts").textContent = `${count(rate.failures)} ${failures} of ${count(rate.trials)} ${trial}s, ${count(rate.units)} ${unit}s`;
}

/** Names the kind that is shown, and how many trials of each are left by the other filters. */
function drawKinds(): void {
  const counts = countKinds(trials, selected);
  const { failures, rate, trial, unit, worst_of } = kind();
  trials.about.kinds.forEach(({ name }, place) => {
    at<HTMLInputElement>(`kind-${name}`).checked = place === state.kind;
    at(`kind-${name}-n`).textContent = count(counts[place]);
  });
  const share = worst_of ? "share that passed, all " + trials.byName.get(worst_of)!.label + " pooled" : rate;
  const words: Record<string, string> = { failures, trials: `${trial}s`, share, worst: `worst of each ${unit}` };
  for (const element of document.querySelectorAll<HTMLElement>("[data-word]")) element.textContent = words[element.dataset.word!];
}

function chip(words: string, remove: () => void): HTMLElement {
  const button = make("button", { type: "button", class: "chip", "aria-label": `remove filter: ${words}` }, make("bdi", {}, words), " \u00d7");
  button.addEventListener("click", () => change(remove));
  return button;
}

function drawChips(): void {
  const chips: HTMLElement[] = [];
  const { about } = trials;
  const { failures } = kind();
  if (state.failed !== null) {
    chips.push(chip(state.failed ? `only ${failures}` : `without ${failures}`, () => (state.failed = null)));
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
  const own = slices.map((slice, place) => ({ slice, place })).filter(({ slice }) => slice.kind === state.kind);
  at("slices").hidden = own.length === 0;
  at("slice-options").replaceChildren(
    ...own.map(({ slice, place }) =>
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
  let codes = Array.from(all, (_, code) => code).filter((code) => column.present[state.kind][code] || chosen?.has(code));
  const n = codes.length;
  const isLong = codes.length > LEVELS_SHOWN && !whole.has(column.name);
  if (isLong) {
    codes = codes.sort((a, b) => Number(chosen?.has(b) ?? false) - Number(chosen?.has(a) ?? false) || all[b] - all[a]);
    codes = codes.slice(0, Math.max(LEVELS_SHOWN, chosen?.size ?? 0));
  }
  const options = codes.map((code) =>
    option(levelWords(column.values[code]), [all[code], failed[code]], chosen?.has(code) ?? false, () => toggle(column, code), { isTelling: column.isTelling[state.kind] }),
  );
  if (isLong) {
    const more = make("button", { type: "button", class: "plain" }, `${count(n - codes.length)} more`);
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
    body.parentElement!.hidden = !column.isApart[state.kind] && !state.levels.has(column.name);
    const focus = body.contains(document.activeElement)
      ? [...body.querySelectorAll("input")].indexOf(document.activeElement as HTMLInputElement)
      : -1;
    body.replaceChildren(...(isOpen ? facetOptions(column) : []));
    if (focus >= 0) body.querySelectorAll("input")[focus]?.focus();
  }
}

function makeFacets(): void {
  trials.levels.filter(({ isApart }) => isApart.some(Boolean)).slice(0, OPEN_FACETS).forEach((column) => unfolded.add(column.name));
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
  make("a", { href: url, download: `${trials.about.build}-${kind().name}.csv` }).click();
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
  const orders: [string, string][] = [
    ["spread", ""],
    ["-badness", "worst first"],
    ["badness", "best first"],
    ...trials.numbers.flatMap(({ name, label }): [string, string][] => [
      [name, `${label}, lowest first`],
      [`-${name}`, `${label}, highest first`],
    ]),
  ];
  choice("order", orders, state.order, (order) => (state.order = order));
  at<HTMLSelectElement>("order").options[0].dataset.word = "worst";
  trials.about.kinds.forEach(({ name }, place) => {
    at(`kind-${name}`).addEventListener("change", () => change(() => (state.kind = place)));
  });
  at("more").addEventListener("click", () => (showMore(), draw()));
  at("clear").addEventListener("click", () => change(() => {
    const { kind: shown, histogram, x, y, order } = state;
    state = { ...initial(trials), kind: shown, histogram, x, y, order };
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
  if (row < 0) return;
  if (trials.kinds[row] !== state.kind) change(() => (state.kind = trials.kinds[row]));
  open(row);
}

async function start(): Promise<void> {
  trials = await readTrials();
  state = stateOf(trials, location.hash.slice(1));
  if (!isOrder(trials, state.order)) state.order = "spread";
  document.documentElement.classList.toggle("is-bare", trials.thumbnails.every((picture) => !picture));
  makeFacets();
  if (trials.numbers.length) makeCharts();
  else document.querySelector<HTMLElement>(".charts")!.hidden = true;
  makeControls();
  draw();
  openLinked();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  addEventListener("hashchange", () => location.reload());
  document.documentElement.dataset.ready = "yes";
}

start().catch((error: unknown) => {
  at("failure").hidden = false;
  at("failure").textContent = `This page cannot be shown: ${String(error)}`;
});
