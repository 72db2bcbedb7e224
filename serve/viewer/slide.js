// The slide, attention over it, and outlines of tiles. Places are level-0 pixels.

import { get } from "./api.js";
import { h } from "./dom.js";

/* global OpenSeadragon */

const LOWEST_LEVEL = 8; // one square of 256 pixels shows the whole slide
const MOST_ENLARGED = 2; // screen pixels a level-0 pixel
const TILE_IN_VIEW = 4; // a shown tile's surroundings: so many sides across

/** The slide of a finished prediction in an element. */
export class SlideView {
  /** Resolves when it is there, attention still hidden. `links` are the prediction's, `slide` its
   * description. Listeners: `onview(view)` when what is seen changed, `onfirst()` when the first
   * square is there, `onlost()` when one could not be read. */
  static async open(element, links, slide, listeners, signal) {
    const sources = await Promise.all([squares(links.slide_dzi), squares(links.heatmap_dzi)]);
    signal.throwIfAborted();
    const view = new SlideView(element, sources, slide, listeners);
    signal.addEventListener("abort", () => view.viewer.destroy());
    await new Promise((resolve) => view.viewer.addOnceHandler("open", resolve));
    return view;
  }

  constructor(element, [slideSquares, heatmapSquares], slide, { onview, onfirst, onlost }) {
    this.slide = slide;
    this.outlined = [];
    this.viewer = OpenSeadragon({
      ...LOOK,
      element,
      tileSources: [{ tileSource: slideSquares }, { tileSource: heatmapSquares, opacity: 0 }],
    });
    for (const event of ["open", "update-viewport", "resize"])
      this.viewer.addHandler(event, () => onview(this.view()));
    this.viewer.addOnceHandler("tile-loaded", onfirst);
    this.viewer.addHandler("tile-load-failed", ({ maxReached }) => maxReached && onlost());
    this.viewer.addHandler("canvas-key", leaveSlideUpright);
    this.viewer.canvas.setAttribute("role", "application");
    this.viewer.canvas.setAttribute(
      "aria-label",
      "Slide. Arrow keys move it, plus and minus zoom, 0 shows it whole.",
    );
  }

  /** What is seen: the centre in level-0 pixels, and screen pixels a level-0 pixel. */
  view() {
    const image = this.viewer.world.getItemAt(0);
    const centre = image.viewportToImageCoordinates(this.viewer.viewport.getCenter());
    const zoom = image.viewportToImageZoom(this.viewer.viewport.getZoom());
    return { x: centre.x, y: centre.y, zoom };
  }

  /** Lay attention over the slide with this opacity, 0 (none) to 1. */
  setOpacity(opacity) {
    this.viewer.world.getItemAt(1).setOpacity(opacity);
  }

  /** Show the whole slide. */
  fit() {
    this.viewer.viewport.goHome();
  }

  /** Zoom about the centre to so many screen pixels a level-0 pixel. */
  zoomTo(zoom) {
    const image = this.viewer.world.getItemAt(0);
    this.viewer.viewport.zoomTo(image.imageToViewportZoom(zoom)).applyConstraints();
  }

  /** Zoom in (factor > 1) or out about the centre. */
  zoomBy(factor) {
    this.viewer.viewport.zoomBy(factor).applyConstraints();
  }

  /** Draw the outlines of tiles. */
  outline(tiles) {
    this.outlined = tiles.map((tile) => {
      const element = h("div", { class: "tile-outline" });
      this.viewer.addOverlay({ element, location: this.#box(tile.x, tile.y, tile.side) });
      return { ...tile, element };
    });
  }

  /** Move to a tile, by its place in what was outlined, and mark it. */
  showTile(index) {
    const { x, y, side } = this.outlined[index];
    const margin = (side * (TILE_IN_VIEW - 1)) / 2;
    this.outlined.forEach(({ element }, i) => element.classList.toggle("chosen", i === index));
    const box = this.#box(x - margin, y - margin, side * TILE_IN_VIEW);
    this.viewer.viewport.fitBoundsWithConstraints(box);
  }

  #box(x, y, side) {
    const { width } = this.slide; // the slide is one unit wide
    return new OpenSeadragon.Rect(x / width, y / width, side / width, side / width);
  }
}

/** A picture on a canvas, which is what the canvas drawer draws from. */
async function painted(blob) {
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none" });
  const canvas = h("canvas", { width: bitmap.width, height: bitmap.height });
  const context = canvas.getContext("2d");
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return context;
}

const LOOK = {
  drawer: "canvas",
  showNavigationControl: false,
  showNavigator: true,
  navigatorPosition: "TOP_RIGHT",
  navigatorSizeRatio: 0.16,
  navigatorOpacity: 1,
  navigatorAutoFade: false,
  gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: true },
  animationTime: matchMedia("(prefers-reduced-motion: reduce)").matches ? 0 : 0.5,
  minZoomImageRatio: 0.3,
  maxZoomPixelRatio: MOST_ENLARGED,
  visibilityRatio: 0.5,
  imageLoaderLimit: 8,
  timeout: 120_000,
  tileRetryMax: 2,
  tileRetryDelay: 2000,
};

/** Keys that turn or mirror the slide: a mirrored slide misleads. */
function leaveSlideUpright(event) {
  if (["r", "f"].includes(event.originalEvent.key.toLowerCase())) event.preventDefaultAction = true;
}

/** A tile source of a deep-zoom image, its squares fetched with the key. */
async function squares(path) {
  const text = await (await get(path)).text();
  const image = new DOMParser().parseFromString(text, "application/xml").documentElement;
  const size = image.getElementsByTagName("Size")[0];
  const folder = path.replace(/\.dzi$/, "_files");
  const suffix = image.getAttribute("Format");
  return {
    width: Number(size.getAttribute("Width")),
    height: Number(size.getAttribute("Height")),
    tileSize: Number(image.getAttribute("TileSize")),
    tileOverlap: Number(image.getAttribute("Overlap")),
    minLevel: LOWEST_LEVEL,
    getTileUrl: (level, x, y) => `${folder}/${level}/${x}_${y}.${suffix}`,
    downloadTileStart: fetchSquare,
    downloadTileAbort: (job) => job.userData.abort?.abort(),
  };
}

async function fetchSquare(job) {
  job.userData.abort = new AbortController();
  try {
    const response = await get(job.src, job.userData.abort.signal);
    job.finish(await painted(await response.blob()), null, "context2d");
  } catch (error) {
    // A square that is not wanted any more has not failed.
    if (error.name !== "AbortError") job.fail(error.message, null);
  }
}
