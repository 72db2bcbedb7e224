// When there is no prediction yet: how to make one.

import { getJson } from "./api.js";
import { h } from "./dom.js";
import { key } from "./key.js";

/** A paragraph and a command that can be copied, with a model of this service. */
export function howToAsk(signal) {
  const command = h("code", {}, curl("MODEL"));
  const models = h("p", { class: "note" });
  getJson("v1/models", signal).then(({ models: found }) => {
    const usable = found.filter((model) => model.usable).map((model) => model.name);
    if (usable.length) command.textContent = curl(usable[0]);
    models.textContent = usable.length
      ? `Models of this service: ${usable.join(", ")}.`
      : "This service has no model that its encoder can serve.";
  }, () => {});
  return h("section", { class: "empty" },
    h("h1", {}, "No predictions yet"),
    h("p", {}, "Ask for one by a slide's address. It appears here while it is worked on."),
    h("pre", {}, command),
    models);
}

function curl(model) {
  const address = new URL("v1/predict", document.baseURI);
  return [
    `curl ${address.origin}${address.pathname} \\`,
    ...(key() ? ['  -H "Authorization: Bearer $PATHRAY_KEY" \\'] : []),
    '  -H "Content-Type: application/json" \\',
    `  -d '{"model": "${model}", "slide": "s3://bucket/slide.svs"}'`,
  ].join("\n");
}
