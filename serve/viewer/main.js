// Which page is shown: `#/` the list, `#/ID` a prediction.

import { untell } from "./notice.js";
import { showList } from "./list.js";
import { showPrediction } from "./prediction.js";

const main = document.getElementById("main");
const crumb = document.getElementById("crumb");
let leave = () => {};

function route() {
  leave();
  untell();
  main.replaceChildren();
  const id = location.hash.slice(2);
  const title = (text) => {
    crumb.textContent = text && `› ${text}`;
    document.title = text ? `${text} · Pathray` : "Pathray";
  };
  main.className = id ? "prediction-page" : "list-page";
  leave = id ? showPrediction(main, id, title) : showList(main, title);
}

addEventListener("hashchange", route);
route();
