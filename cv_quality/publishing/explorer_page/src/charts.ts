// The histogram of one number and the scatter of two, each of the selection before all trials of its kind; dragging selects a range.

import type { Numbers, Trials } from "./data.js";
import { at, drawn } from "./dom.js";
import type { Selected, State } from "./selection.js";
import { figures } from "./words.js";

export const WIDTH = 460;
export const HEIGHT = 240;
const LEFT = 48;
const BOTTOM = 30;
const TOP = 12;
const RIGHT = 14;
const BINS = 46;
const INNER = { width: WIDTH - LEFT - RIGHT, height: HEIGHT - TOP - BOTTOM };

type Range = [number, number];

/** Round values within a range, a few of them. */
export function ticks(low: number, high: number, wanted = 5): number[] {
  const rough = (high - low) / wanted;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough) ?? rough;
  const found = [];
  for (let place = Math.ceil(low / step); place * step <= high * (1 + 1e-12); place += 1) found.push(place * step);
  return found;
}

const scaleX = (column: Numbers, value: number): number =>
  LEFT + ((value - column.low) / (column.high - column.low)) * INNER.width;
const scaleY = (column: Numbers, value: number): number =>
  TOP + (1 - (value - column.low) / (column.high - column.low)) * INNER.height;
const valueX = (column: Numbers, x: number): number =>
  column.low + ((x - LEFT) / INNER.width) * (column.high - column.low);
const valueY = (column: Numbers, y: number): number =>
  column.low + (1 - (y - TOP) / INNER.height) * (column.high - column.low);

function label(svg: SVGElement, x: number, y: number, words: string, anchor: string): void {
  const element = drawn("text", { x, y, "text-anchor": anchor, class: "tick" });
  element.textContent = words;
  svg.append(element);
}

function axisX(svg: SVGElement, column: Numbers): void {
  svg.append(drawn("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM, class: "axis" }));
  for (const value of ticks(column.low, column.high)) {
    label(svg, scaleX(column, value), HEIGHT - BOTTOM + 16, figures(value, 4), "middle");
  }
}

function marks(svg: SVGElement, column: Numbers, trials: Trials): void {
  if (column.name !== trials.about.score) return;
  for (const value of trials.about.thresholds) {
    if (value < column.low || value > column.high) continue;
    const x = scaleX(column, value);
    svg.append(drawn("line", { x1: x, x2: x, y1: TOP - 4, y2: HEIGHT - BOTTOM, class: "threshold" }));
    label(svg, x, TOP - 3, `threshold ${figures(value, 4)}`, x > WIDTH / 2 ? "end" : "start");
  }
}

interface Bars {
  all: Float64Array;
  passed: Float64Array;
  failed: Float64Array;
}

function binned(trials: Trials, selected: Selected, state: State, column: Numbers): Bars {
  const own = selected.filters.findIndex((filter) => filter.id === `range ${column.name}`);
  const bars = { all: new Float64Array(BINS), passed: new Float64Array(BINS), failed: new Float64Array(BINS) };
  const { values, low, high } = column;
  const { misses, owner } = selected;
  const scale = BINS / (high - low);
  for (let row = 0; row < trials.n; row += 1) {
    const value = values[row];
    if (Number.isNaN(value) || trials.kinds[row] !== state.kind) continue;
    const bin = Math.min(Math.floor((value - low) * scale), BINS - 1);
    bars.all[bin] += 1;
    if (misses[row] > 1 || (misses[row] === 1 && owner[row] !== own)) continue;
    bars[trials.failed[row] ? "failed" : "passed"][bin] += 1;
  }
  return bars;
}

export function drawHistogram(trials: Trials, selected: Selected, state: State): void {
  const svg = at<SVGSVGElement>("histogram");
  const column = trials.byName.get(state.histogram) as Numbers;
  svg.replaceChildren();
  const { all, passed, failed } = binned(trials, selected, state, column);
  const shown = passed.map((value, bin) => value + failed[bin]);
  const most = Math.max(...shown, 1);
  const width = INNER.width / BINS;
  const bar = (bin: number, from: number, to: number, kind: string): void => {
    if (to <= from) return;
    const [y, bottom] = [to, from].map((value) => HEIGHT - BOTTOM - (Math.min(value, most) / most) * INNER.height);
    svg.append(drawn("rect", { x: LEFT + bin * width + 0.5, width: width - 1, y, height: bottom - y, class: kind }));
  };
  for (let bin = 0; bin < BINS; bin += 1) {
    bar(bin, 0, all[bin], "behind");
    bar(bin, 0, passed[bin], "passed");
    bar(bin, passed[bin], shown[bin], "failed");
  }
  axisX(svg, column);
  label(svg, LEFT - 6, TOP + 8, figures(most, 4), "end");
  label(svg, LEFT - 6, HEIGHT - BOTTOM, "0", "end");
  marks(svg, column, trials);
  const range = state.ranges.get(column.name);
  if (range) {
    const [x, end] = range.map((value) => Math.min(Math.max(scaleX(column, value), LEFT), WIDTH - RIGHT));
    svg.append(drawn("rect", { x, y: TOP, width: Math.max(end - x, 1), height: INNER.height, class: "brush" }));
  }
}

const MANY_POINTS = 5_000;
/** Reads a colour of the style, #rrggbb, as one pixel. */
function pixel(name: string, opacity: number): number {
  const hex = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const channels = [1, 3, 5].map((place) => Number.parseInt(hex.slice(place, place + 2), 16));
  return new Uint32Array(new Uint8Array([...channels, opacity]).buffer)[0];
}

export function drawScatter(trials: Trials, selected: Selected, state: State): void {
  const canvas = at<HTMLCanvasElement>("scatter-points");
  const scale = 2;
  canvas.width = WIDTH * scale;
  canvas.height = HEIGHT * scale;
  const [columnX, columnY] = [state.x, state.y].map((name) => trials.byName.get(name) as Numbers);
  const context = canvas.getContext("2d")!;
  const image = context.createImageData(canvas.width, canvas.height);
  const points = new Uint32Array(image.data.buffer);
  const size = trials.n > MANY_POINTS ? 2 : 5;
  const paint = (row: number, colour: number): void => {
    const [x, y] = [scaleX(columnX, columnX.values[row]), scaleY(columnY, columnY.values[row])];
    if (Number.isNaN(x + y)) return;
    const start = Math.round(y * scale - size / 2) * canvas.width + Math.round(x * scale - size / 2);
    for (let place = 0; place < size * size; place += 1) {
      points[start + (place % size) + Math.floor(place / size) * canvas.width] = colour;
    }
  };
  const { misses } = selected;
  const [passed, failed, behind] = [pixel("--passed", 235), pixel("--failed", 235), pixel("--edge", 60)];
  for (let row = 0; row < trials.n; row += 1) if (misses[row] && trials.kinds[row] === state.kind) paint(row, behind);
  for (let row = 0; row < trials.n; row += 1) if (!misses[row] && !trials.failed[row]) paint(row, passed);
  for (let row = 0; row < trials.n; row += 1) if (!misses[row] && trials.failed[row]) paint(row, failed);
  context.putImageData(image, 0, 0);
  frameScatter(trials, state, columnX, columnY);
}

function frameScatter(trials: Trials, state: State, columnX: Numbers, columnY: Numbers): void {
  const svg = at<SVGSVGElement>("scatter");
  svg.replaceChildren();
  axisX(svg, columnX);
  svg.append(drawn("line", { x1: LEFT, x2: LEFT, y1: TOP, y2: HEIGHT - BOTTOM, class: "axis" }));
  for (const value of ticks(columnY.low, columnY.high, 4)) {
    label(svg, LEFT - 6, scaleY(columnY, value) + 4, figures(value, 4), "end");
  }
  marks(svg, columnX, trials);
  const [rangeX, rangeY] = [state.ranges.get(columnX.name), state.ranges.get(columnY.name)];
  if (!rangeX && !rangeY) return;
  const within = (value: number, low: number, high: number): number => Math.min(Math.max(value, low), high);
  const [x, end] = (rangeX ?? [columnX.low, columnX.high]).map((value) => within(scaleX(columnX, value), LEFT, WIDTH - RIGHT));
  const [bottom, y] = (rangeY ?? [columnY.low, columnY.high]).map((value) => within(scaleY(columnY, value), TOP, HEIGHT - BOTTOM));
  svg.append(drawn("rect", { x, y, width: Math.max(end - x, 1), height: Math.max(bottom - y, 1), class: "brush" }));
}

/** Lets a drag over a chart select a range of it; a click without a drag takes the range away. */
export function brushed(svg: SVGSVGElement, done: (x: Range | null, y: Range | null) => void): void {
  let start: [number, number] | null = null;
  let shade: SVGRectElement | null = null;
  const place = (event: PointerEvent): [number, number] => {
    const box = svg.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * WIDTH, ((event.clientY - box.top) / box.height) * HEIGHT];
  };
  svg.addEventListener("pointerdown", (event) => {
    start = place(event);
    shade = drawn("rect", { class: "brush" });
    svg.append(shade);
    svg.setPointerCapture(event.pointerId);
  });
  svg.addEventListener("pointermove", (event) => {
    if (!start || !shade) return;
    const [x, y] = place(event);
    const isFlat = svg.id === "histogram";
    const box = {
      x: Math.min(start[0], x),
      width: Math.abs(x - start[0]),
      y: isFlat ? TOP : Math.min(start[1], y),
      height: isFlat ? INNER.height : Math.abs(y - start[1]),
    };
    for (const [name, value] of Object.entries(box)) shade.setAttribute(name, String(value));
  });
  svg.addEventListener("pointerup", (event) => {
    if (!start) return;
    const [from, to] = [start, place(event)];
    start = null;
    shade?.remove();
    if (Math.abs(to[0] - from[0]) < 3) done(null, null);
    else done([Math.min(from[0], to[0]), Math.max(from[0], to[0])], [Math.min(from[1], to[1]), Math.max(from[1], to[1])]);
  });
}

/** Turns pixels of a chart into values of its columns, cut at what there is. */
export const rangeX = (column: Numbers, [from, to]: Range): Range => [
  Math.max(valueX(column, from), column.low),
  Math.min(valueX(column, to), column.high),
];
export const rangeY = (column: Numbers, [from, to]: Range): Range => [
  Math.max(valueY(column, to), column.low),
  Math.min(valueY(column, from), column.high),
];
