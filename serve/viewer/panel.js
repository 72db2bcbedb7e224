// What the model says of the slide, and which slide, model and encoder that was.

import { facts, h } from "./dom.js";
import { brief, count, moment, short } from "./format.js";
import { probabilities } from "./probabilities.js";
import { survival } from "./survival.js";

/** The panel of a finished prediction. */
export function panel(record) {
  const { slide, result, model } = record;
  return h("aside", { class: "panel", "aria-label": "Prediction" },
    h("h1", {}, slide.slide_id),
    h("p", { class: "note" }, asked(model, result.model.target)),
    result.classification && probabilities(result.classification),
    result.survival && survival(result.survival),
    h("p", { class: "caution-text" },
      "For research use only. Not for diagnosis, and not for decisions about treatment. Attention shows",
      " which tiles weighed in this prediction; it does not outline tumour."),
    h("h2", {}, "Slide"),
    facts([
      ["Tiles", tiles(record)],
      ["Size", `${count(slide.width)} × ${count(slide.height)} px`],
      ["Resolution", slide.mpp && `${slide.mpp.toFixed(4).replace(/0+$/, "")} µm/px`],
      ["Area", slide.mpp && area(slide)],
      ["Address", slide.uri],
      ["Predicted", moment(record.finished)],
    ]),
    h("h2", {}, "Model and encoder"),
    facts([
      ["Model", result.model.uri],
      ["Model digest", short(result.model.digest)],
      ["Models in it", count(result.model.heads)],
      ["Encoder", result.encoder.name],
      ["Encoder digest", short(result.encoder.digest)],
      ["Precision", result.encoder.precision],
      ["Pathray", result.software_version],
    ]));
}

function asked(model, target) {
  return model === target ? `Model ${model}` : `Model ${model}, for ${target}`;
}

function tiles({ result, tiles_lost: lost }) {
  const read = count(result.tiles);
  return lost ? `${read}, and ${count(lost)} that could not be read` : read;
}

function area({ width, height, mpp }) {
  const mm = (pixels) => brief((pixels * mpp) / 1000);
  return `${mm(width)} × ${mm(height)} mm`;
}
