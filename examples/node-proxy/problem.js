// Answers to the provider.
const PASSED_ON = ["content-type", "retry-after", "www-authenticate"];

/** An answer to the provider. */
export class Answer {
  constructor(status, body, headers) {
    this.status = status;
    this.body = body;
    this.headers = headers;
  }

  json() {
    return JSON.parse(this.body);
  }

  send(response) {
    const kept = PASSED_ON.filter((name) => this.headers.has(name)).map((name) => [name, this.headers.get(name)]);
    response.writeHead(this.status, { ...Object.fromEntries(kept), "content-length": this.body.length }).end(this.body);
  }
}

/** The reason why a batch was not forwarded. */
export class Problem extends Error {
  constructor(status, title, detail, more = {}) {
    super(detail);
    const body = Buffer.from(JSON.stringify({ title, status, detail, ...more }));
    this.answer = new Answer(status, body, new Headers({ "content-type": "application/problem+json" }));
  }
}

/** Return the answer for an error. */
export function problemOf(error) {
  if (error instanceof Problem) return error.answer;
  console.error(error);
  return new Problem(500, "The attack failed", `${error.message}; the batch was not passed on`).answer;
}
