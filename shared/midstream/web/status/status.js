// Keeps the page up to date: the server writes it, this reads it again and shows what changed.

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
    tell(`Away since ${away}: what is shown is from before`, "away");
  }
  setTimeout(read, EVERY);
}

function tell(text, state) {
  document.body.dataset.connection = state;
  if (connection.textContent !== text) connection.textContent = text;
}

read();
