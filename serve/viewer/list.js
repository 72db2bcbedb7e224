// All predictions: those under way, then finished ones, newest first, a page at a time.

import { getJson } from "./api.js";
import { h } from "./dom.js";
import { moment, percent, risk } from "./format.js";
import { howToAsk } from "./howto.js";
import { tell, untell } from "./notice.js";
import { underWay } from "./under_way.js";

const LIST = "v1/predictions";
const LOOK_AGAIN_MS = 3000;

// Kept while a prediction is looked at, so that one comes back to the same rows.
const kept = { records: new Map(), underWay: [], next: null, filter: "" };

/** Fill `main`; returns what to do on leaving. */
export function showList(main, title) {
  const leaving = new AbortController();
  title("");
  const page = new ListPage(main, leaving.signal);
  page.refresh();
  return () => leaving.abort();
}

class ListPage {
  constructor(main, signal) {
    this.signal = signal;
    this.rows = h("tbody");
    this.status = h("p", { class: "note", role: "status" });
    this.older = h("button", { type: "button", hidden: true, onclick: () => this.loadOlder() });
    this.filter = h("input", {
      type: "search",
      id: "filter",
      placeholder: "Slide, model or result",
      value: kept.filter,
      oninput: () => {
        kept.filter = this.filter.value;
        this.draw();
      },
    });
    this.content = h("div", { class: "predictions" }, h("p", { class: "note" }, "Loading…"));
    main.append(this.content);
  }

  /** Load the first page again, and later again while something is under way. */
  async refresh() {
    try {
      const page = await getJson(LIST, this.signal);
      const now = new Set([...page.items, ...page.under_way].map(({ id }) => id));
      const older = [...kept.records].filter(([id]) => !now.has(id));
      const joined = page.items.some(({ id }) => kept.records.has(id));
      if (!joined) kept.next = page.next;
      kept.records = new Map([...page.items.map((r) => [r.id, r]), ...(joined ? older : [])]);
      kept.underWay = page.under_way;
      this.draw();
      untell();
      if (page.under_way.length) this.later();
    } catch (error) {
      this.refuse(error);
      if (error.passing) this.later();
    }
  }

  later() {
    const timer = setTimeout(() => this.refresh(), LOOK_AGAIN_MS);
    this.signal.addEventListener("abort", () => clearTimeout(timer));
  }

  async loadOlder() {
    try {
      const page = await getJson(`${LIST}?after=${kept.next}`, this.signal);
      for (const record of page.items) kept.records.set(record.id, record);
      kept.next = page.next;
      this.draw();
    } catch (error) {
      this.refuse(error);
    }
  }

  refuse(error) {
    if (error.name === "AbortError") return;
    this.content.querySelector(".note")?.remove();
    tell(error.message);
  }

  draw() {
    const all = [...kept.underWay, ...kept.records.values()];
    if (!all.length) {
      this.content.replaceChildren(howToAsk(this.signal));
      return;
    }
    if (!this.rows.isConnected) this.content.replaceChildren(...this.frame());
    const wanted = kept.filter.trim().toLowerCase();
    const shown = all.filter((record) => words(record).includes(wanted));
    this.rows.replaceChildren(...shown.map(row));
    const loaded = kept.next ? `${all.length} newest predictions` : `${all.length} predictions`;
    this.status.textContent = wanted ? `${shown.length} of the ${loaded}` : loaded;
    this.older.hidden = !kept.next;
    this.older.textContent = wanted ? "Search older predictions" : "Show older predictions";
  }

  frame() {
    const columns = ["Slide", "Result", "Model", "Finished"];
    return [
      h("div", { class: "list-head" },
        h("h1", {}, "Predictions"),
        h("label", { for: "filter" }, "Filter"),
        this.filter,
        this.status),
      h("table", { class: "list" },
        h("thead", {}, h("tr", {}, ...columns.map((name) => h("th", { scope: "col" }, name)))),
        this.rows),
      this.older,
    ];
  }
}

function words(record) {
  return `${record.slide.slide_id} ${record.model} ${result(record)}`.toLowerCase();
}

function row(record) {
  const answer = record.status === "failed" ? h("span", { class: "failed" }, result(record))
    : record.finished ? result(record) : underWay(record);
  return h("tr", {},
    h("th", { scope: "row" }, h("a", { href: `#/${record.id}` }, record.slide.slide_id)),
    h("td", { class: "result-cell" }, answer),
    h("td", { class: "model" }, record.model),
    h("td", { class: "when" }, record.finished ? moment(record.finished) : ""));
}

/** A record's result in a few words. */
function result({ status, error, result: found }) {
  if (status === "failed") return `Failed: ${error}`;
  if (found?.classification) {
    const { predicted, classes } = found.classification;
    return `${predicted}, ${percent(classes.find(({ name }) => name === predicted).probability)}`;
  }
  if (found?.survival) return `Risk ${risk(found.survival.risk)}`;
  return "";
}
