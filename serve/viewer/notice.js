// One line above the page for what went wrong.

const notice = document.getElementById("notice");

/** Say what went wrong. */
export function tell(message) {
  notice.textContent = message;
  notice.hidden = false;
}

/** Nothing is wrong. */
export function untell() {
  notice.hidden = true;
}
