// Handling of a batch: read what the attack needs from the server, attack, forward.
import { levelOne } from "./attack.js";
import { decodeBatch, decodeTensors, encodeBatch } from "./formats.js";
import { Answer, Problem } from "./problem.js";

const PATH = /^\/v1\/runs\/([a-z0-9][a-z0-9._-]{0,99})\/batches\/(\d{1,15})$/;

export class Batches {
  #last = Promise.resolve();

  /**
   * @param {URL} upstream the training server
   * @param {Memory} memory of batches that were forwarded before
   */
  constructor(upstream, memory) {
    this.upstream = upstream;
    this.memory = memory;
  }

  /** Attack one minibatch, forward it and return the server's answer. If it throws a problem, nothing was forwarded. */
  async put(request) {
    const [, run, number] = PATH.exec(request.url) ?? [];
    if (!run)
      throw new Problem(404, "Not a batch", `a batch is PUT to /v1/runs/{run}/batches/{seq}, not to ${request.url}`);
    const seq = Number(number);
    const ask = this.#asking(request.headers.authorization);
    const { role } = await json(ask("/v1/role"));
    if (role === "observer") {
      throw new Problem(403, "Another role is needed", "a batch needs the provider's token", { needed: "provider" });
    }
    const [game, model] = await Promise.all([json(ask(`/v1/runs/${run}`)), json(ask(`/v1/runs/${run}/model`))]);
    if (model.model !== "logistic") {
      throw new Problem(501, "Not attacked", `run '${run}' trains ${model.model}; this attacker knows logistic alone`);
    }
    const rules = rulesOf(game, model, seq);
    const came = await bodyOf(request, rules.largestBody);
    return this.inTurn(async () => {
      const goesOn = this.memory.sent(game.id, seq, came) ?? (await this.#attack(came, { game, rules, run, seq, ask }));
      const headers = { "Content-Type": request.headers["content-type"] ?? "" };
      const answer = await ask(request.url, { method: "PUT", body: goesOn, headers });
      this.memory.forget(game.id, answer.json().kept_from ?? 0);
      return answer;
    });
  }

  /** Run tasks one after another, so that a batch that arrives twice at once is attacked once. */
  inTurn(work) {
    const done = this.#last.then(work);
    this.#last = done.catch(() => {});
    return done;
  }

  async #attack(came, { game, rules, run, seq, ask }) {
    const { fields, pixels, labels } = decodeBatch(came, rules);
    const path = `/v1/runs/${run}`;
    const reading = Promise.all([ask(`${path}/parameters?version=${seq}`), ask(`${path}/validation-gradient/${seq}`)]);
    const [theta, v] = (await reading.catch(sayWhichIsNext(seq))).map(layerOf);
    const size = pixels.length / labels.length;
    const moved = new Float32Array(pixels.length);
    let largest = 0;
    labels.forEach((label, i) => {
      const x = pixels.subarray(i * size, (i + 1) * size);
      const attacked = levelOne(x, label, theta, v, game.specification);
      largest = Math.max(largest, Math.hypot(...x.map((pixel, j) => attacked[j] - pixel)));
      moved.set(attacked, i * size);
    });
    return this.memory.store(game.id, seq, came, encodeBatch(fields, moved, { largest_move: largest }));
  }

  // Read from the server with the current request's `Authorization`; throw any answer that is not a success.
  #asking(authorization) {
    return async (path, { headers = {}, ...options } = {}) => {
      const shown = authorization === undefined ? {} : { Authorization: authorization };
      try {
        const response = await fetch(new URL(path, this.upstream), { ...options, headers: { ...shown, ...headers } });
        const answer = new Answer(response.status, Buffer.from(await response.arrayBuffer()), response.headers);
        if (response.ok) return answer;
        throw Object.assign(new Problem(response.status, "", ""), { answer });
      } catch (error) {
        if (error instanceof Problem) throw error;
        const why = error.cause?.message ?? error.message;
        throw new Problem(502, "The training server does not answer", `${this.upstream.origin}: ${why}`);
      }
    };
  }
}

async function json(answering) {
  return (await answering).json();
}

// Return the shape and limits that this batch of the run must have.
function rulesOf({ specification, train_size: trainSize }, { input_shape: inputShape, classes }, seq) {
  const batchSize = Math.min(specification.batch_size, trainSize);
  const place = seq % Math.ceil(trainSize / batchSize);
  const values = inputShape.reduce((product, side) => product * side, 1);
  return {
    seq,
    shape: [Math.min(batchSize, trainSize - place * batchSize), ...inputShape],
    classes: classes.length,
    largestBody: batchSize * (4 * values + 8) + 4096,
  };
}

function layerOf(answer) {
  const { "1.weight": weight, "1.bias": bias } = decodeTensors(answer.body);
  return { weight, bias };
}

// θ is not at version `seq`: the run waits for another batch, and the answer names it.
function sayWhichIsNext(seq) {
  return (problem) => {
    const next = [404, 410].includes(problem.answer?.status) && problem.answer.json().parameters_version;
    if (!Number.isInteger(next)) throw problem;
    throw new Problem(409, "Not the next batch", `batch ${seq} came, batch ${next} is next`, { next_seq: next });
  };
}

async function bodyOf(request, limit) {
  const pieces = [];
  let length = 0;
  for await (const piece of request) {
    length += piece.length;
    if (length > limit)
      throw new Problem(413, "The body is too large", `a batch of this run has at most ${limit} bytes`);
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}
