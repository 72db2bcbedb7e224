// The bearer key: asked for once, kept for this tab alone, never part of an address.

const KEPT = "pathray.key";
const dialog = document.getElementById("key-dialog");
const input = document.getElementById("key");
const refusal = document.getElementById("key-refused");
const forget = document.getElementById("forget-key");
let asking = null;

/** The key that is kept, or null. */
export function key() {
  return sessionStorage.getItem(KEPT);
}

/** Headers that carry the key, if there is one. */
export function keyHeaders() {
  return key() ? { Authorization: `Bearer ${key()}` } : {};
}

/** Ask for a key, once however many requests wait for it; `refused` is the one that failed. */
export function askForKey(refused) {
  asking ??= new Promise((resolve) => {
    refusal.textContent = refused
      ? "This key was not accepted. It may be mistyped or revoked."
      : "";
    input.value = "";
    dialog.addEventListener("close", () => resolve(), { once: true });
    dialog.showModal();
  }).finally(() => {
    asking = null;
  });
  return asking;
}

/** Show the button that forgets the key while there is one. */
function showForgetKey() {
  forget.hidden = !key();
}

dialog.addEventListener("cancel", (event) => event.preventDefault());

dialog.querySelector("form").addEventListener("submit", (event) => {
  const given = input.value.trim();
  if (!/^[\x21-\x7e]+$/.test(given)) {
    event.preventDefault();
    refusal.textContent = "A key has letters, digits and signs, without spaces.";
    return;
  }
  sessionStorage.setItem(KEPT, given);
  input.value = "";
  showForgetKey();
});

forget.addEventListener("click", () => {
  sessionStorage.removeItem(KEPT);
  location.reload();
});

showForgetKey();
