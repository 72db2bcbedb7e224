// The tools above the slide: magnification, attention on or off, its opacity, its colours.

import { h } from "./dom.js";
import { mppOf } from "./scale.js";

const OBJECTIVES = [2, 5, 10, 20, 40];
const STEP = 1.5;

/** Buttons; `act` is given what to do with the slide's view. `mpp` is level 0's, or null. */
export function zoomControls(mpp, act) {
  const finest = mpp ? OBJECTIVES.filter((objective) => mpp / mppOf(objective) < 1.5) : [];
  return h("div", { class: "tool-group", role: "group", "aria-label": "Magnification" },
    button("Fit", "Show the whole slide (0)", () => act((view) => view.fit())),
    ...finest.map((objective) => button(`${objective}×`, `As under a ${objective}× objective`,
      () => act((view) => view.zoomTo(mpp / mppOf(objective))))),
    button("−", "Zoom out (−)", () => act((view) => view.zoomBy(1 / STEP))),
    button("+", "Zoom in (+)", () => act((view) => view.zoomBy(STEP))));
}

function button(label, title, onclick) {
  return h("button", { type: "button", title, "aria-label": title, onclick }, label);
}

/** The attention layer's controls: `change` gets its opacity, 0 when it is off. Key H. */
export function attentionControls(change, signal) {
  const shown = h("input", { type: "checkbox", id: "attention", checked: true, "aria-keyshortcuts": "h" });
  const slider = h("input", { type: "range", id: "opacity", min: 0, max: 100, value: 35 });
  const opacity = () => (shown.checked ? slider.value / 100 : 0);
  const changed = () => {
    slider.disabled = !shown.checked;
    change(opacity());
  };
  shown.addEventListener("change", changed);
  slider.addEventListener("input", changed);
  document.addEventListener("keydown", (event) => {
    const typing = event.target.matches?.("input[type=password], input[type=search]");
    const held = event.ctrlKey || event.metaKey || event.altKey || event.repeat;
    if (event.key.toLowerCase() !== "h" || typing || held) return;
    shown.checked = !shown.checked;
    changed();
  }, { signal });
  const element = h("div", { class: "tool-group attention-tools", role: "group", "aria-label": "Attention" },
    shown, h("label", { for: "attention" }, "Attention ", h("kbd", {}, "H")),
    slider, h("label", { for: "opacity", class: "hidden-label" }, "Opacity of attention"),
    legend());
  return { element, opacity };
}

function legend() {
  const meaning = "Attention percentile: the share of this slide's tiles that weighed less in the prediction";
  return h("figure", { class: "legend", title: meaning },
    h("figcaption", {}, "Attention percentile"),
    h("span", {}, "0"),
    h("div", { class: "colours", role: "img", "aria-label": `${meaning}. From blue, 0, over green to red, 100.` }),
    h("span", {}, "100"));
}
