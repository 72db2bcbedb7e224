// The most attended tiles, highest first; one that is chosen is shown on the slide.

import { getPicture } from "./api.js";
import { h } from "./dom.js";
import { roughly } from "./format.js";

export class TileStrip {
  /** `choose(index)` is called with a tile's place in `tiles`. */
  constructor(tiles, choose, signal) {
    this.buttons = tiles.map((tile, index) => this.#button(tile, index, choose, signal));
    this.element = h("section", { class: "strip", "aria-label": "Most attended tiles" },
      h("h2", {}, "Most attended tiles, and their share of all attention"),
      h("div", { class: "strip-tiles" }, ...this.buttons));
  }

  #button(tile, index, choose, signal) {
    const picture = h("img", { alt: "" });
    const share = `${roughly(tile.attention * 100)} %`;
    if (tile.image) load(picture, tile.image, signal);
    return h("button", {
      type: "button",
      class: "tile",
      "aria-pressed": "false",
      title: `Tile ${index + 1}: ${share} of all attention; x ${tile.x}, y ${tile.y}`,
      onclick: () => {
        this.buttons.forEach((each, i) => each.setAttribute("aria-pressed", i === index));
        choose(index);
      },
    }, picture, h("span", { class: "rank" }, `${index + 1}`), h("span", { class: "share" }, share));
  }
}

async function load(picture, path, signal) {
  try {
    picture.src = await getPicture(path, signal);
    signal.addEventListener("abort", () => URL.revokeObjectURL(picture.src));
  } catch {
    picture.alt = "Not readable";
  }
}
