// The rate of a selection with its interval by subject: Korn and Graubard, as cv_quality.metrics.rates computes it.

const FEW_ERRING = 10;
const ASSUMED_ICC = 0.1;
const UPPER = 0.975;
const NORMAL_QUANTILE = 1.959963984540054;

export interface Rate {
  value: number | null;
  failures: number;
  trials: number;
  low: number | null;
  high: number | null;
  units: number;
  isSmall: boolean;
}

function logGamma(x: number): number {
  if (x < 15) return logGamma(x + 1) - Math.log(x);
  const inverse = 1 / (x * x);
  const series = (1 / 12 - inverse * (1 / 360 - inverse * (1 / 1260 - inverse * (1 / 1680 - inverse / 1188)))) / x;
  return (x - 0.5) * Math.log(x) - x + 0.5 * Math.log(2 * Math.PI) + series;
}

/** The continued fraction of the incomplete beta function, by Lentz's method. */
function fraction(x: number, a: number, b: number): number {
  const tiny = 1e-300;
  let c = 1;
  let d = 1 - ((a + b) * x) / (a + 1);
  d = 1 / (Math.abs(d) < tiny ? tiny : d);
  let found = d;
  for (let m = 1; m <= 20_000; m += 1) {
    const even = (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m));
    const odd = (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1));
    for (const step of [even, odd]) {
      d = 1 + step * d;
      d = 1 / (Math.abs(d) < tiny ? tiny : d);
      c = 1 + step / c;
      c = Math.abs(c) < tiny ? tiny : c;
      found *= d * c;
    }
    if (Math.abs(d * c - 1) < 1e-16) break;
  }
  return found;
}

function incompleteBeta(x: number, a: number, b: number): number {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  const front = Math.exp(
    logGamma(a + b) - logGamma(a) - logGamma(b) + a * Math.log(x) + b * Math.log1p(-x),
  );
  return x < (a + 1) / (a + b + 2) ? (front * fraction(x, a, b)) / a : 1 - (front * fraction(1 - x, b, a)) / b;
}

function betaQuantile(a: number, b: number, tail: number): number {
  let [low, high] = [0, 1];
  for (let step = 0; step < 200 && high - low > 1e-16 * high; step += 1) {
    const middle = (low + high) / 2;
    if (incompleteBeta(middle, a, b) < tail) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

const quantiles = new Map<number, number>();

/** The upper quantile of Student's t, by way of the beta distribution. */
function studentQuantile(freedom: number): number {
  const known = quantiles.get(freedom);
  if (known !== undefined) return known;
  const x = betaQuantile(0.5, freedom / 2, 2 * UPPER - 1);
  const found = Math.sqrt((freedom * x) / (1 - x));
  quantiles.set(freedom, found);
  return found;
}

/** Estimates a rate of failures per trial from the counts of each subject. */
export function clusteredRate(failures: ArrayLike<number>, trials: ArrayLike<number>): Rate {
  let [x, n, units, squares, erring, passing] = [0, 0, 0, 0, 0, 0];
  for (let unit = 0; unit < trials.length; unit += 1) {
    if (trials[unit] === 0) continue;
    units += 1;
    x += failures[unit];
    n += trials[unit];
    squares += trials[unit] ** 2;
    erring += failures[unit] > 0 ? 1 : 0;
    passing += failures[unit] < trials[unit] ? 1 : 0;
  }
  if (n === 0) return { value: null, failures: 0, trials: 0, low: null, high: null, units: 0, isSmall: true };
  const p = x / n;
  let design = 1;
  if (p > 0 && p < 1 && units > 1) {
    let variance = 0;
    for (let unit = 0; unit < trials.length; unit += 1) variance += (failures[unit] - p * trials[unit]) ** 2;
    variance *= units / (units - 1) / n ** 2;
    design = Math.max(1, (variance * n) / (p * (1 - p)));
  }
  if (Math.min(erring, passing) < FEW_ERRING) design = Math.max(design, 1 + (squares / n - 1) * ASSUMED_ICC);
  let effective = n / design;
  if (units > 1) effective *= (NORMAL_QUANTILE / studentQuantile(units - 1)) ** 2;
  const errors = p * effective;
  const low = errors > 0 ? betaQuantile(errors, effective - errors + 1, 1 - UPPER) : 0;
  const high = errors < effective ? betaQuantile(errors + 1, effective - errors, UPPER) : 1;
  return { value: p, failures: x, trials: n, low, high, units, isSmall: x < 5 || units < 2 };
}
