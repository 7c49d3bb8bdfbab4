// What was answered to each batch, on disk: a batch that comes again goes on as the very same bytes, also after a restart.
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export class Memory {
  /** @param {string} folder holds a folder for each run, by its id */
  constructor(folder) {
    this.folder = folder;
  }

  /** Return the body that went on in place of `came`, or undefined where it never came. */
  sent(id, seq, came) {
    const path = this.#path(id, seq, came);
    return existsSync(path) ? readFileSync(path) : undefined;
  }

  /** Keep what goes on in place of `came`; return it. */
  store(id, seq, came, goesOn) {
    const path = this.#path(id, seq, came);
    mkdirSync(join(this.folder, id), { recursive: true });
    writeFileSync(`${path}.new`, goesOn, { flush: true });
    renameSync(`${path}.new`, path);
    return goesOn;
  }

  /** Forget the batches that nobody will ask for again. */
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
