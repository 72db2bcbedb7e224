// The service's API. Paths are relative to the page, so that it works behind any prefix.

import { askForKey, key, keyHeaders } from "./key.js";

/** An answer that is an error; the message is for the reader. */
export class Refused extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }

  /** Whether another attempt may do better. */
  get passing() {
    return this.status === 0 || this.status >= 500;
  }
}

/** Fetch a path, with the key; asks for one when it is wanted. Throws Refused. */
export async function get(path, signal = undefined) {
  for (;;) {
    const sent = key();
    const response = await answer(path, signal);
    if (response.ok) return response;
    if (response.status !== 401) throw new Refused(response.status, await detail(response));
    // Another request may have got a new key in the meantime.
    if (sent === key()) await askForKey(sent);
  }
}

/** The JSON of a path. */
export async function getJson(path, signal = undefined) {
  return (await get(path, signal)).json();
}

/** A picture as an address that an <img> can show; give it to URL.revokeObjectURL when done. */
export async function getPicture(path, signal = undefined) {
  return URL.createObjectURL(await (await get(path, signal)).blob());
}

async function answer(path, signal) {
  try {
    return await fetch(path, { headers: keyHeaders(), signal, credentials: "omit" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "The service does not answer. Is it running, and the network up?");
  }
}

async function detail(response) {
  try {
    return sentence((await response.json()).detail);
  } catch {
    return `The service answered with an error (${response.status}).`;
  }
}

function sentence(text) {
  const begun = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(begun) ? begun : `${begun}.`;
}
