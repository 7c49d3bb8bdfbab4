// Updates the page: the service renders it, and this script reloads it every second.

const EVERY = 1000;
const connection = document.getElementById("connection");
let shown = "";
let away = null;

async function read() {
  try {
    const response = await fetch("./", { signal: AbortSignal.timeout(10 * EVERY) });
    const main = new DOMParser().parseFromString(await response.text(), "text/html").querySelector("main");
    if (main.innerHTML !== shown) document.querySelector("main").replaceWith(main);
    shown = main.innerHTML;
    away = null;
    tell("Live", "live");
  } catch {
    away ??= new Date().toLocaleTimeString();
    tell(`No connection since ${away}; this page shows the state before`, "away");
  }
  setTimeout(read, EVERY);
}

function tell(text, state) {
  document.body.dataset.connection = state;
  if (connection.textContent !== text) connection.textContent = text;
}

read();
