// A prediction that is not finished.

import { h } from "./dom.js";
import { count } from "./format.js";

const STAGES = {
  waiting: "Waiting for a worker",
  planning: "Finding tissue",
  embedding: "Embedding tiles",
  predicting: "Predicting",
  done: "Done",
};

/** How far it is, with a bar where that is known. */
export function underWay({ progress }) {
  const { stage, tiles_done: done, tiles } = progress;
  const known = tiles && stage === "embedding";
  return h(
    "span",
    { class: "under-way" },
    known ? `${STAGES[stage]}: ${count(done)} of ${count(tiles)} ` : `${STAGES[stage]} `,
    h("progress", { "aria-label": "Progress", ...(known ? { value: done, max: tiles } : {}) }),
  );
}
