// One prediction: the slide on the left, what the model says on the right.

import { getJson } from "./api.js";
import { facts, h } from "./dom.js";
import { attentionControls, zoomControls } from "./controls.js";
import { moment } from "./format.js";
import { panel } from "./panel.js";
import { scaleLine } from "./scaleline.js";
import { SlideView } from "./slide.js";
import { tell, untell } from "./notice.js";
import { TileStrip } from "./strip.js";
import { underWay } from "./under_way.js";

const LOOK_AGAIN_MS = 1500;

/** Fill `main` with a prediction; returns what to do on leaving. */
export function showPrediction(main, id, title) {
  const leaving = new AbortController();
  const { signal } = leaving;
  title("");
  main.append(h("p", { class: "note loading" }, "Loading…"));
  load(main, id, title, signal).catch((error) => {
    if (error.name === "AbortError") return;
    main.querySelector(".loading, .opening")?.remove();
    tell(error.message);
  });
  return () => leaving.abort();
}

async function load(main, id, title, signal) {
  for (;;) {
    const record = await look(id, signal);
    if (record) {
      title(record.slide.slide_id);
      if (record.status === "done") return show(main, record, signal);
      main.replaceChildren(unfinished(record));
      if (record.status === "failed") return undefined;
    }
    await pause(LOOK_AGAIN_MS, signal);
  }
}

/** The record, or null where the service is away for now. */
async function look(id, signal) {
  try {
    const record = await getJson(`v1/predictions/${encodeURIComponent(id)}`, signal);
    untell();
    return record;
  } catch (error) {
    if (!error.passing) throw error;
    tell(error.message);
    return null;
  }
}

function unfinished(record) {
  const failed = record.status === "failed";
  return h("section", { class: "unfinished" },
    h("h1", {}, record.slide.slide_id),
    h("p", {}, `Model ${record.model}`),
    failed ? h("p", { class: "failed" }, `Failed: ${record.error}`) : underWay(record),
    failed && h("p", { class: "note" }, "Ask for the same prediction again to have it tried again."),
    facts([
      ["Address", record.slide.uri],
      ["Asked for", moment(record.created)],
      ["Failed", failed ? moment(record.finished) : null],
    ]));
}

function show(main, record, signal) {
  const { slide, links, result } = record;
  const stage = h("div", { class: "stage" });
  const wait = h("p", { class: "note opening", role: "status" }, "Opening the slide…");
  const scale = scaleLine(slide.mpp);
  const placed = result.top_tiles.filter((tile) => tile.x !== null);
  // What is done to the slide before it is there waits for it.
  const then = (act) => opening.then(act, () => {});
  const attention = attentionControls((opacity) => then((view) => view.setOpacity(opacity)), signal);
  const zoom = zoomControls(slide.mpp, (act) => then(act));
  const strip = new TileStrip(placed, (index) => then((view) => view.showTile(index)), signal);
  main.replaceChildren(
    h("div", { class: "slide-side" },
      h("div", { class: "tools" }, zoom, attention.element),
      h("div", { class: "stage-frame" }, stage, wait, scale.element),
      strip.element),
    panel(record));
  const opening = SlideView.open(stage, links, slide, {
    onview: (seen) => scale.update(seen),
    onfirst: () => wait.remove(),
    onlost: () => {
      wait.remove();
      tell("Parts of the slide could not be read. Reload the page to try again.");
    },
  }, signal);
  then((view) => {
    view.setOpacity(attention.opacity());
    view.outline(placed);
  });
  return opening;
}

function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(new DOMException("left", "AbortError"));
    });
  });
}
