// The reader's side of a streamed answer: parts in a line, and grants for more as they are taken.

import { decodeBody } from "./wire.mjs";

/** A streamed answer. Leaving the loop early stops the request; `result` is what the command returned. */
export class Stream {
  #window;
  #parts = [];
  #attempt = 1;
  #taken = 0;
  #done = false;
  #wake = () => {};
  #grant = {};
  #stop;

  /** Use `client.stream`. */
  constructor(window, stop, begin) {
    this.#window = window;
    this.#stop = stop;
    const answer = begin((part, attempt) => this.#take(part, attempt), this.#grant);
    this.result = answer.then(({ body }) => decodeBody(body));
    this.result.catch(() => {}).finally(() => this.#finish()); // who reads the parts need not look at the result
  }

  /** How often the work was begun: where it rises, all parts before were void, and they begin anew. */
  get attempt() {
    return this.#attempt;
  }

  async *[Symbol.asyncIterator]() {
    try {
      while (true) {
        while (!this.#parts.length && !this.#done) await new Promise((go) => (this.#wake = go));
        if (!this.#parts.length) break;
        const lump = Math.max(1, this.#window >> 1);
        if (++this.#taken % lump === 0) this.#grant.parts(lump);
        yield this.#parts.shift();
      }
      await this.result; // throws where it failed
    } finally {
      if (!this.#done) this.#stop.abort();
    }
  }

  #take(part, attempt) {
    if (attempt > this.#attempt) [this.#attempt, this.#taken, this.#parts] = [attempt, 0, []];
    this.#parts.push(part);
    this.#wake();
  }

  #finish() {
    this.#done = true;
    this.#wake();
  }
}
