// Class probabilities: the ensemble's mean as a bar, its range as a line, each model as a dot.

import { h, s } from "./dom.js";
import { percent } from "./format.js";

const WIDTH = 300;
const HEIGHT = 18;

/** A classifier's answer, most probable class first. */
export function probabilities({ classes, heads, predicted }) {
  const order = classes.map((_, i) => i).sort((a, b) => classes[b].probability - classes[a].probability);
  return h(
    "section",
    { class: "result", "aria-label": "Class probabilities" },
    h("p", { class: "answer" }, predicted),
    ...order.map((i) => classRow(classes[i], heads.map((head) => head[i]), classes[i].name === predicted)),
    h("p", { class: "note" }, explained(heads.length)),
  );
}

function classRow({ name, probability, low, high }, models, best) {
  const range = models.length > 1 ? `${percent(low)} to ${percent(high)}` : null;
  return h(
    "div",
    { class: best ? "class best" : "class" },
    h("span", { class: "class-name" }, name),
    h("span", { class: "number" }, percent(probability)),
    bar(probability, low, high, models),
    range && h("span", { class: "range" }, range),
  );
}

function bar(mean, low, high, models) {
  const many = models.length > 1;
  const middle = HEIGHT / 2;
  return s(
    "svg",
    { class: "bar", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, "aria-hidden": "true" },
    s("rect", { class: "bar-whole", width: WIDTH, height: 8, y: middle - 4, rx: 2 }),
    s("rect", { class: "bar-mean", width: WIDTH * mean, height: 8, y: middle - 4, rx: 2 }),
    many && s("path", { class: "bar-range", d: whisker(WIDTH * low, WIDTH * high, middle) }),
    ...(many ? models : []).map((p) => s("circle", { class: "bar-model", cx: WIDTH * p, cy: middle, r: 2.5 })),
  );
}

function whisker(from, to, y) {
  return `M${from} ${y - 6}v12M${to} ${y - 6}v12M${from} ${y}H${to}`;
}

function explained(models) {
  return models > 1
    ? `Mean of ${models} models; dots are the models, the line their range.`
    : "One model; its range is not known.";
}
