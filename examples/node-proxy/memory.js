// Forwarded batches on disk: a batch that is sent again is forwarded as the same bytes, even after a restart.
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export class Memory {
  /** @param {string} folder parent of one folder per run id */
  constructor(folder) {
    this.folder = folder;
  }

  /** Return the body that was forwarded for `came`, or undefined if `came` is new. */
  sent(id, seq, came) {
    const path = this.#path(id, seq, came);
    return existsSync(path) ? readFileSync(path) : undefined;
  }

  /** Store the body to forward for `came`, and return it. */
  store(id, seq, came, goesOn) {
    const path = this.#path(id, seq, came);
    mkdirSync(join(this.folder, id), { recursive: true });
    writeFileSync(`${path}.new`, goesOn, { flush: true });
    renameSync(`${path}.new`, path);
    return goesOn;
  }

  /** Delete batches that the provider will not send again. */
  forget(id, before) {
    for (const name of readdirSync(join(this.folder, id))) {
      if (parseInt(name, 10) < before) rmSync(join(this.folder, id, name));
    }
  }

  #path(id, seq, came) {
    if (!/^[\w-]+$/.test(id)) throw new Error(`a run's id is ${id}, which names no folder`);
    return join(this.folder, id, `${seq}-${createHash("sha256").update(came).digest("hex")}.msgpack`);
  }
}
