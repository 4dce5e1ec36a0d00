// The rate of a selection with its interval, as cv_quality.metrics computes it: by subject (rates), by pair of subjects
// (dyadic), by artefact (liveness.artefacts).

const FEW_ERRING = 10;
const ASSUMED_ICC = 0.1;
const UPPER = 0.975;
const NORMAL_QUANTILE = 1.959963984540054;
const TAIL = 1 - UPPER;
const FEW_ERRORS = 5;
const ASSUMED_CV = 1;
const RAISED_BY = 5;
const WEIGHT_NEEDED = 10;
const ARTEFACTS_NEEDED = 5;
const ARTEFACT_RAISE = 2;

type Counts = ArrayLike<number>;

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
export function clusteredRate(failures: Counts, trials: Counts): Rate {
  const { x, n, units, design } = designOf(failures, trials);
  if (n === 0) return NO_TRIAL;
  const p = x / n;
  const effective = (n / design) * narrowed(units);
  const [low, high] = [lowerBound(p * effective, effective), upperBound(p * effective, effective)];
  return { value: p, failures: x, trials: n, low, high, units, isSmall: x < FEW_ERRORS || units < 2 };
}

const NO_TRIAL: Rate = { value: null, failures: 0, trials: 0, low: null, high: null, units: 0, isSmall: true };
const lowerBound = (x: number, n: number): number => (x > 0 ? betaQuantile(x, n - x + 1, TAIL) : 0);
const upperBound = (x: number, n: number): number => (x < n ? betaQuantile(x + 1, n - x, UPPER) : 1);
const narrowed = (units: number): number => (units > 1 ? (NORMAL_QUANTILE / studentQuantile(units - 1)) ** 2 : 1);

interface Design {
  x: number;
  n: number;
  units: number;
  erring: number;
  passing: number;
  design: number;
}

/** The variance over units over that of independent trials, at least 1, or what is assumed where few units err. */
function designOf(failures: Counts, trials: Counts): Design {
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
  const p = x / n;
  let design = 1;
  if (p > 0 && p < 1 && units > 1) {
    let variance = 0;
    for (let unit = 0; unit < trials.length; unit += 1) variance += (failures[unit] - p * trials[unit]) ** 2;
    variance *= units / (units - 1) / n ** 2;
    design = Math.max(1, (variance * n) / (p * (1 - p)));
  }
  if (Math.min(erring, passing) < FEW_ERRING) design = Math.max(design, 1 + (squares / n - 1) * ASSUMED_ICC);
  return { x, n, units, erring, passing, design };
}

/** Estimates the rate of one species from the counts of each artefact. */
export function artefactRate(failures: Counts, trials: Counts): Rate {
  const { x, n, units, erring, passing, design } = designOf(failures, trials);
  if (n === 0) return NO_TRIAL;
  const [p, once] = [x / n, TAIL ** (1 / units)];
  const effective = (n / design) * narrowed(units);
  let low = p < 1 ? lowerBound(p * effective, effective) : once;
  const raised = n / (1 + (design - 1) * (1 + ARTEFACT_RAISE * Math.sqrt(2 / Math.max(units - 1, 1))));
  let high = p > 0 ? upperBound(p * raised, raised) : 1 - once;
  if (erring < FEW_ERRING) high = Math.max(high, 1 - once);
  if (passing < FEW_ERRING) low = Math.min(low, once);
  return { value: p, failures: x, trials: n, low, high, units, isSmall: units < ARTEFACTS_NEEDED };
}

/** Who met whom how often, and how often that erred, of each pair. */
export interface Meetings {
  errors: Counts;
  trials: Counts;
  one: Counts;
  other: Counts;
  people: number;
}

interface Pairing {
  n: number;
  k: number;
  met: Float64Array;
  erred: Float64Array;
  subjects: number;
  squares: number;
  /** The design effect of pairs by assumption, and the pairs of comparisons that share one person, per comparison. */
  within: number;
  shared: number;
}

function pairingOf({ errors, trials, one, other, people }: Meetings): Pairing {
  const [met, erred] = [new Float64Array(people), new Float64Array(people)];
  let [n, k, squares] = [0, 0, 0];
  for (let pair = 0; pair < trials.length; pair += 1) {
    n += trials[pair];
    k += errors[pair];
    squares += trials[pair] ** 2;
    for (const person of [one[pair], other[pair]]) {
      met[person] += trials[pair];
      erred[person] += errors[pair];
    }
  }
  const shared = (sumOf(met, (value) => value ** 2) - 2 * squares) / n;
  const subjects = sumOf(met, (value) => Number(value > 0));
  return { n, k, met, erred, subjects, squares, within: 1 + (squares / n - 1) * ASSUMED_ICC, shared };
}

/** Estimates a rate between people from the counts of each pair: the dyadic sandwich. */
export function pairRate(meetings: Meetings): Rate {
  const found = pairingOf(meetings);
  const { n, k, met, subjects } = found;
  if (n === 0) return NO_TRIAL;
  const told = { value: k / n, failures: k, trials: n, units: subjects };
  if (met.some((value) => value >= n)) return { ...told, low: null, high: null, isSmall: true };
  const weight = (2 * n) ** 2 / sumOf(met, (value) => value ** 2);
  const [low, high] = k === 0 || k === n ? boundsOfOneOutcome(found) : boundsOfPairs(meetings, found);
  return { ...told, low, high, isSmall: weight < WEIGHT_NEEDED || k < FEW_ERRORS };
}

/** Where no comparison errs, or all do, no variance can be estimated: a correlation is assumed. */
function boundsOfOneOutcome({ n, k, within, shared }: Pairing): [number, number] {
  const q = -Math.log(TAIL);
  const remaining = n - q * ASSUMED_CV ** 2 * shared;
  const atBound = remaining > 0 ? Math.min((q * within) / remaining, 1) : 1;
  const bound = -Math.expm1(Math.log(TAIL) / (n / (within + ASSUMED_CV ** 2 * atBound * shared)));
  return k ? [1 - bound, 1] : [0, bound];
}

function boundsOfPairs(meetings: Meetings, found: Pairing): [number, number] {
  const { n, k } = found;
  const [p, ofTrials] = [k / n, ((k / n) * (1 - k / n)) / n];
  const { products, erring, pairFreedom } = pairsOfErrors(meetings, found);
  const { spread, freedom: subjectFreedom } = peopleOfErrors(found);
  const ofPairs = Math.max(products / n ** 2, ofTrials);
  const ofSubjects = Math.max((spread - products) / n ** 2 - ofPairs, 0);
  const least = erring < FEW_ERRING ? ofTrials * (found.within + ASSUMED_CV ** 2 * p * found.shared) : 0;
  const raised = (by: number): number => {
    const pairs = (ofPairs - ofTrials) * (1 + by * Math.sqrt(2 / pairFreedom));
    return Math.max(ofTrials + pairs + ofSubjects * (1 + by * Math.sqrt(2 / subjectFreedom)), least);
  };
  const worth = (ofPairs - ofTrials) / pairFreedom + ofSubjects / subjectFreedom;
  const t = worth > 0 ? studentQuantile(Math.max(raised(0) / worth, 1)) : NORMAL_QUANTILE;
  const logit = Math.log(p / (1 - p)) - (t * Math.sqrt(raised(0))) / (p * (1 - p));
  const effective = (n * ofTrials) / raised(RAISED_BY);
  return [1 / (1 + Math.exp(-logit)), upperBound(p * effective, effective)];
}

function pairsOfErrors({ errors, trials }: Meetings, { n, k, squares }: Pairing): { products: number; erring: number; pairFreedom: number } {
  const p = k / n;
  let [products, errorSquares, erring] = [p * p * squares, 0, 0];
  for (let pair = 0; pair < trials.length; pair += 1) {
    if (!errors[pair]) continue;
    products += errors[pair] ** 2 - 2 * p * errors[pair] * trials[pair];
    errorSquares += errors[pair] ** 2;
    erring += 1;
  }
  return { products, erring, pairFreedom: Math.max(1, k ** 2 / errorSquares - 1) };
}

/** The spread of the errors over people beyond those expected, and its degrees of freedom. */
function peopleOfErrors({ n, k, met, erred, subjects }: Pairing): { spread: number; freedom: number } {
  let [spread, squares, fourths] = [0, 0, 0];
  for (let person = 0; person < met.length; person += 1) {
    const beyond = erred[person] - (k / n) * met[person];
    spread += ((beyond * n) / (n - met[person])) ** 2;
    squares += beyond ** 2;
    fourths += beyond ** 4;
  }
  const excess = fourths - squares ** 2 / subjects;
  const concentration = Math.max(1, (2 * k) ** 2 / sumOf(erred, (value) => value ** 2) - 1);
  const freedom = Math.max(1, Math.min(excess > 0 ? (2 * squares ** 2) / excess : Infinity, concentration));
  return { spread: spread * (1 - 1 / subjects), freedom };
}

function sumOf(values: Float64Array, of: (value: number) => number): number {
  let sum = 0;
  for (let place = 0; place < values.length; place += 1) sum += of(values[place]);
  return sum;
}
