// Numbers and dates as they are read.

const EN = "en";

/** 0.8231 -> "82.3 %" */
export function percent(share) {
  return `${(share * 100).toFixed(1)} %`;
}

/** 12345 -> "12,345" */
export function count(number) {
  return Math.round(number).toLocaleString(EN);
}

/** A risk with its sign: 0.3621 -> "+0.362", -1.2 -> "−1.2" */
export function risk(number) {
  return number > 0 ? `+${brief(number)}` : brief(number).replace("-", "−");
}

/** Three significant digits: 1234.5 -> "1,230", 0.01234 -> "0.0123" */
export function brief(number) {
  return number.toLocaleString(EN, { maximumSignificantDigits: 3 });
}

/** Two significant digits: 26.93 -> "27", 0.989 -> "0.99" */
export function roughly(number) {
  return number.toLocaleString(EN, { minimumSignificantDigits: 2, maximumSignificantDigits: 2 });
}

/** An ISO time in this browser's zone: "14 Mar 2026, 09:12" */
export function moment(iso) {
  return new Date(iso).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });
}

/** The first characters of a digest. */
export function short(digest) {
  return digest ? digest.slice(0, 12) : null;
}

/** Round steps (1, 2 or 5 times a power of ten) from 0 that cover `most`: about `wanted`. */
export function ticks(most, wanted = 5) {
  const step = niceBelow((most / wanted) * 1.5);
  const numbers = [];
  for (let i = 0; i * step <= most * 1.0001; i += 1) numbers.push(i * step);
  return numbers;
}

/** The greatest of 1, 2, 5 times a power of ten that is not above `number` (> 0). */
export function niceBelow(number) {
  const power = 10 ** Math.floor(Math.log10(number));
  const lead = number / power;
  return (lead >= 5 ? 5 : lead >= 2 ? 2 : 1) * power;
}
