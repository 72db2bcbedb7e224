// The line over the slide that tells how large things are and where one is.

import { h } from "./dom.js";
import { brief, count } from "./format.js";
import { magnification, scaleBar } from "./scale.js";

/** An element, and `update` for what is seen. `mpp` is level 0's, or null. */
export function scaleLine(mpp) {
  const bar = h("div", { class: "scale-bar" });
  const length = h("span", { class: "scale-length" });
  const power = h("span", { class: "magnification" });
  const place = h("span", { class: "place" });
  const ruler = h("div", { class: "ruler", hidden: !mpp }, length, bar);
  const element = h("div", { class: "scale-line", hidden: true }, ruler, power, place);
  return {
    element,
    update({ x, y, zoom }) {
      element.hidden = false;
      place.textContent = `x ${count(x)}, y ${count(y)} px`;
      if (!mpp) {
        power.textContent = "Microns a pixel are not known";
        return;
      }
      const seen = mpp / zoom;
      const { pixels, label } = scaleBar(seen);
      bar.style.width = `${pixels}px`;
      length.textContent = label;
      power.textContent = `${brief(magnification(seen))}×`;
    },
  };
}
