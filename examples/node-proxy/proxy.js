#!/usr/bin/env node
// A man in the middle for midstream: attacks each minibatch and forwards everything else unchanged.
import http from "node:http";
import { parseArgs } from "node:util";
import { Batches } from "./batches.js";
import { Forwarder } from "./forward.js";
import { Memory } from "./memory.js";
import { problemOf } from "./problem.js";

const { values: options } = parseArgs({
  options: {
    server: { type: "string", default: "http://127.0.0.1:8000" },
    port: { type: "string", default: "8001" },
    memory: { type: "string", default: "memory" },
  },
});
const upstream = new URL(options.server);
const forwarder = new Forwarder(upstream);
const batches = new Batches(upstream, new Memory(options.memory));

const server = http.createServer((request, response) => {
  response.sendDate = false; // forwarded answers carry the server's date
  // Only batches use PUT. Refuse any other PUT, so that no batch passes under another spelling of its path.
  if (request.method !== "PUT") forwarder.passOn(request, response);
  else
    batches
      .put(request)
      .catch(problemOf)
      .then((answer) => answer.send(response));
});

for (const signal of ["SIGINT", "SIGTERM"]) {
  process.once(signal, () => batches.inTurn(() => setImmediate(() => process.exit(0)))); // after the current batch
}
server.listen(Number(options.port), "127.0.0.1", () => {
  console.error(`listening on http://127.0.0.1:${server.address().port}, passing on to ${upstream.origin}`);
});
