// What the user chose to see, in the page's address: a shared link shows the same.

/** Return `{explain, hidden, run}` as the address has them. */
export function readView() {
  const found = new URLSearchParams(location.hash.slice(1));
  return { explain: found.has("explain"), hidden: found.getAll("hide"), run: found.get("run") };
}

/** Write them to the address, without a new entry in the browser's history. */
export function writeView({ explain, hidden, run }) {
  const kept = new URLSearchParams();
  if (explain) kept.set("explain", "");
  for (const name of hidden) kept.append("hide", name);
  if (run) kept.set("run", run);
  const hash = kept.toString().replace("explain=", "explain");
  if (hash !== location.hash.slice(1)) history.replaceState(null, "", hash ? `#${hash}` : location.pathname);
}
