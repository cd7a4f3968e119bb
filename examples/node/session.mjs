// A session, as its caller holds it.

/** A lease on one worker. Its requests run there one after another, in the order in which they were sent. */
export class Session {
  #client;
  #do;

  /** Use `client.open`. */
  constructor(client, pool, id, act) {
    Object.assign(this, { pool, id, epoch: 1, ended: undefined });
    this.#client = client;
    this.#do = act;
  }

  /** As `client.call`; `session_lost` where its worker died, and its state with it. */
  call(command, args, options) {
    return this.#client.call(this.pool, command, args, { ...options, session: this.id });
  }

  /** As `client.stream`. */
  stream(command, args, options) {
    return this.#client.stream(this.pool, command, args, { ...options, session: this.id });
  }

  /** Let its time to live begin anew. */
  renew() {
    return this.#do("renew");
  }

  /** End it, and free what it holds. */
  close() {
    return this.#do("close");
  }

  /** @internal `ended`: {reason, details} of one that ended by itself */
  _ended(reason, details) {
    this.ended = { reason, details };
  }

  /** @internal `epoch`: counts its owners; higher than before: another worker has its last snapshot */
  _moved(epoch) {
    this.epoch = epoch;
  }
}
