// Numbers and text as people read them, to the digit as cv_quality.text writes them.

const UNSEEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;

/** Writes characters that steer instead of being seen as their escapes. */
export function visible(text: string): string {
  return text.replace(UNSEEN, (char) => {
    const code = char.codePointAt(0) ?? 0;
    if (code < 0x100) return `\\x${code.toString(16).padStart(2, "0")}`;
    return code < 0x10000 ? `\\u${code.toString(16).padStart(4, "0")}` : `\\U${code.toString(16).padStart(8, "0")}`;
  });
}

/** Rounds to significant digits, a tie to the even one as Python does: its digits and the power of ten of the first. */
function rounded(value: number, digits: number): [string, number] {
  const [mantissa, power] = value.toExponential(60).split("e");
  const all = mantissa.replace(".", "");
  const kept = all.slice(0, digits);
  const rest = all.slice(digits).replace(/0+$/, "");
  const isUp = rest > "5" || (rest === "5" && Number(kept.at(-1)) % 2 === 1);
  const number = BigInt(kept) + (isUp ? 1n : 0n);
  const text = number.toString();
  return text.length > digits ? [text.slice(0, digits), Number(power) + 1] : [text, Number(power)];
}

/** Writes a number as `figures` of cv_quality.text. */
export function figures(value: number | null, digits = 3): string {
  if (value === null || Number.isNaN(value)) return "undefined";
  const sign = value < 0 ? "-" : "";
  const size = Math.abs(value);
  if (size === Infinity) return `${sign}\u221e`;
  if (size === 0) return "0";
  const [kept, power] = rounded(size, digits);
  const whole = Number(`${kept}e${power - digits + 1}`);
  if (whole >= 1000 && whole < 1e6 && Number.isInteger(whole)) return sign + count(whole);
  const short = kept.replace(/0+$/, "") || "0";
  if (power < -4 || power >= digits) {
    const tail = `${power < 0 ? "-" : "+"}${String(Math.abs(power)).padStart(2, "0")}`;
    return `${sign}${short[0]}${short.length > 1 ? `.${short.slice(1)}` : ""}e${tail}`;
  }
  if (power < 0) return `${sign}0.${"0".repeat(-power - 1)}${short}`;
  const padded = short.padEnd(power + 1, "0");
  return sign + padded.slice(0, power + 1) + (padded.length > power + 1 ? `.${padded.slice(power + 1)}` : "");
}

export const count = (value: number): string => String(value).replace(/\B(?=(\d{3})+$)/g, ",");

export function percent(value: number | null, digits = 3): string {
  return value === null ? "undefined" : `${figures(100 * value, digits)} %`;
}

/** Writes an interval, of which two bounds that differ look different. */
export function span(low: number, high: number): string {
  for (let digits = 3; ; digits += 1) {
    const [from, to] = [percent(low, digits), percent(high, digits)];
    if (from !== to || low === high || digits === 17) return `${from} to ${to}`;
  }
}

/** Writes a number for machines: of single precision with as many digits as tell it from its neighbours. */
export function exact(value: number, isSingle: boolean): string {
  for (let digits = 6; isSingle && digits < 9; digits += 1) {
    const text = Number(value.toPrecision(digits));
    if (Math.fround(text) === value) return String(text);
  }
  return String(value);
}
