// How large things on the screen are.

import { brief, niceBelow } from "./format.js";

/** Microns per pixel of a nominal 1x objective: 40x is 0.25. */
const MPP_AT_1X = 10;

/** The nominal objective of so many microns a screen pixel. */
export function magnification(mpp) {
  return MPP_AT_1X / mpp;
}

/** Microns a screen pixel under a nominal objective. */
export function mppOf(objective) {
  return MPP_AT_1X / objective;
}

/** A bar of a round length: its screen pixels, at most `longest`, and its label. */
export function scaleBar(mpp, longest = 160) {
  const microns = niceBelow(mpp * longest);
  const label = microns < 1000 ? `${brief(microns)} µm` : `${brief(microns / 1000)} mm`;
  return { pixels: microns / mpp, label };
}
