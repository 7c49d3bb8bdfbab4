// Requests to the server, with this tab's token.

const KEY = "midstream token";

/** An error response of the server; `message` is the problem's detail. */
export class Refused extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

export function keepToken(token) {
  sessionStorage.setItem(KEY, token);
}

/** Return a successful response; throw Refused for an error response, and TypeError if no server responds. */
export async function ask(path, { method = "GET", signal, json } = {}) {
  const token = sessionStorage.getItem(KEY);
  if (!token && document.documentElement.dataset.tokens) throw new Refused(401, "");
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  if (json) headers["Content-Type"] = "application/json";
  const body = json && JSON.stringify(json);
  const response = await fetch(path, { method, signal, headers, body, cache: "no-store" });
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  throw new Refused(response.status, problem.detail ?? `${response.status} ${response.statusText}`);
}

export async function askJson(path, options) {
  return (await ask(path, options)).json();
}

export function runPath(name, rest = "") {
  return `v1/runs/${encodeURIComponent(name)}${rest}`;
}
