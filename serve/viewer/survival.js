// A survival prediction: the risk, and the curve with the range of the ensemble's models.

import { h, s } from "./dom.js";
import { count, percent, risk as signed, ticks } from "./format.js";

const PLOT = { width: 320, height: 200, left: 38, right: 8, top: 8, bottom: 34 };

/** A survival model's answer. */
export function survival({ risk, low, high, heads, curve, time_unit: unit }) {
  const many = heads.length > 1;
  return h(
    "section",
    { class: "result", "aria-label": "Survival" },
    h("p", { class: "answer" }, `Risk ${signed(risk)}`),
    many && h("p", { class: "range" }, `${signed(low)} to ${signed(high)} over ${heads.length} models`),
    h("p", { class: "note" }, "Relative to the training patients: a higher risk is a shorter expected survival."),
    plot(curve, unit, many),
    h("p", {}, `Median survival: ${median(curve, "survival", unit)}.`),
    many && h("p", { class: "range" }, `${median(curve, "low", unit)} to ${median(curve, "high", unit)} over the models`),
    table(curve, unit, many),
    h("p", { class: "note" }, many
      ? `Line: mean of ${heads.length} models. Band: their range, which is not a confidence interval.`
      : "One model; its range is not known."),
  );
}

/** Survival at a time: the curve holds each value until the next time, and begins at 1. */
export function at(time, values, when) {
  let value = 1;
  for (let i = 0; i < time.length && time[i] <= when; i += 1) value = values[i];
  return value;
}

function withUnit(time, unit) {
  return unit ? `${count(time)} ${unit}` : count(time);
}

/** The first time at which at most half are alive. */
function median(curve, which, unit) {
  const i = curve[which].findIndex((alive) => alive <= 0.5);
  return i < 0 ? `more than ${withUnit(curve.time.at(-1), unit)}` : withUnit(curve.time[i], unit);
}

function plot(curve, unit, many) {
  const most = curve.time.at(-1);
  const { width, height, left, right, top, bottom } = PLOT;
  const x = (time) => left + (time / most) * (width - left - right);
  const y = (share) => top + (1 - share) * (height - top - bottom);
  const { time } = curve;
  return s(
    "svg",
    { class: "curve", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "Survival curve; its numbers follow" },
    ...[0, 0.25, 0.5, 0.75, 1].map((share) => rung(left, width - right, y(share), percentTick(share))),
    ...ticks(most).map((when) =>
      s("text", { class: "tick", x: x(when), y: height - bottom + 15, "text-anchor": "middle" }, count(when))),
    s("text", { class: "tick", x: (left + width - right) / 2, y: height - 3, "text-anchor": "middle" },
      unit ? `Time (${unit})` : "Time"),
    many && s("path", { class: "curve-band", d: band(time, curve.low, curve.high, x, y) }),
    s("path", { class: "curve-line", d: `M${steps(time, curve.survival, x, y)}` }),
  );
}

function percentTick(share) {
  return `${share * 100} %`;
}

function rung(from, to, y, label) {
  return s(
    "g",
    {},
    s("line", { class: "rung", x1: from, x2: to, y1: y, y2: y }),
    s("text", { class: "tick", x: from - 5, y: y + 3.5, "text-anchor": "end" }, label),
  );
}

/** Points of a step curve from (0, 1). */
function steps(time, values, x, y) {
  const points = [[x(0), y(1)]];
  let before = 1;
  time.forEach((when, i) => {
    points.push([x(when), y(before)], [x(when), y(values[i])]);
    before = values[i];
  });
  return points.map(([px, py]) => `${px.toFixed(2)} ${py.toFixed(2)}`).join("L");
}

function band(time, low, high, x, y) {
  const back = steps(time, low, x, y).split("L").reverse().join("L");
  return `M${steps(time, high, x, y)}L${back}Z`;
}

function table(curve, unit, many) {
  const times = ticks(curve.time.at(-1)).slice(1);
  const row = (when) => {
    const [mean, low, high] = ["survival", "low", "high"].map((name) => percent(at(curve.time, curve[name], when)));
    return h("tr", {}, h("th", { scope: "row" }, count(when)), h("td", {}, mean), many && h("td", {}, `${low} to ${high}`));
  };
  return h(
    "table",
    { class: "numbers" },
    h("thead", {}, h("tr", {},
      h("th", { scope: "col" }, unit ? `After ${unit}` : "After"),
      h("th", { scope: "col" }, "Alive"),
      many && h("th", { scope: "col" }, "Range"))),
    h("tbody", {}, ...times.map(row)),
  );
}
