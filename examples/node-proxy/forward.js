// Forward requests that are not batches.
import http from "node:http";
import https from "node:https";
import { pipeline } from "node:stream";
import { Problem } from "./problem.js";

// Hop-by-hop headers (RFC 9110, 7.6.1).
const HOP_BY_HOP = ["connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te"];
HOP_BY_HOP.push("trailer", "transfer-encoding", "upgrade");

export class Forwarder {
  /** @param {URL} upstream the training server */
  constructor(upstream) {
    this.upstream = upstream;
    this.transport = upstream.protocol === "https:" ? https : http;
    this.agent = new this.transport.Agent({ keepAlive: true });
  }

  /** Forward a request, and return the answer, byte for byte. */
  passOn(request, response) {
    const headers = ["Host", this.upstream.host, ...endToEnd(request.rawHeaders, "host")];
    const { method, url: path } = request;
    const outgoing = this.transport.request(this.upstream, { method, path, headers, agent: this.agent });
    outgoing.on("response", (answer) => {
      response.writeHead(answer.statusCode, answer.statusMessage, endToEnd(answer.rawHeaders));
      pipeline(answer, response, () => {}); // if one side closes, close the other
    });
    outgoing.on("error", ({ message }) => {
      if (response.headersSent) response.destroy();
      else
        new Problem(502, "The training server does not answer", `${this.upstream.origin}: ${message}`).answer.send(
          response,
        );
    });
    response.on("close", () => outgoing.destroy());
    request.pipe(outgoing);
  }
}

function endToEnd(raw, without = "") {
  const pairs = Array.from({ length: raw.length / 2 }, (_, i) => raw.slice(2 * i, 2 * i + 2));
  const named = pairs.filter(([name]) => name.toLowerCase() === "connection").map(([, value]) => value);
  const dropped = new Set([
    ...HOP_BY_HOP,
    without,
    ...named
      .join(",")
      .toLowerCase()
      .split(/[\s,]+/),
  ]);
  return pairs.filter(([name]) => !dropped.has(name.toLowerCase())).flat();
}
