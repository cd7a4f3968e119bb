// The page: it listens to /api/v1/live, and shows what it is told. Whatever comes from a peer is set as text, never as HTML.

const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const TOKEN = "maitred-token";
const MOST_EVENTS = 500; // kept by this page
const LEAST_SAMPLES = 30; // a chart is at least a minute wide, and grows to the ten that are kept
const SHOWN_EVENTS = 60;
const STALE_MS = 4000; // without news for so long, what is shown is said to be old

const state = { right: "look", told: null, history: {}, fields: [], interval: 2, look: -1, events: [], heardAt: 0, kept: 300 };

// --- how things are written ---

export const seconds = (it) => {
  if (it === null || it === undefined) return "–";
  if (it < 1e-9) return "0 s";
  if (it < 0.001) return `${(it * 1e6).toFixed(0)} µs`;
  if (it < 1) return `${(it * 1e3).toFixed(it < 0.01 ? 1 : 0)} ms`;
  if (it < 60) return `${it.toFixed(it < 10 ? 1 : 0)} s`;
  if (it < 3600) return `${Math.floor(it / 60)} min ${Math.floor(it % 60)} s`;
  if (it < 172800) return `${Math.floor(it / 3600)} h ${Math.floor((it % 3600) / 60)} min`;
  return `${Math.floor(it / 86400)} d`;
};
export const bytes = (it) => {
  if (it === null || it === undefined) return "–";
  let unit = 0;
  for (; it >= 1000 && unit < 4; unit++) it /= 1000;
  return `${it.toFixed(unit && it < 10 ? 1 : 0)} ${["B", "kB", "MB", "GB", "TB"][unit]}`;
};
export const rate = (it) => (it === null || it === undefined ? "–" : `${it >= 100 || it === 0 ? it.toFixed(0) : it.toFixed(1)}/s`);
const percent = (it) => (it === null || it === undefined ? "–" : `${Math.round(100 * it)} %`);
const short = (id) => (id ? id.slice(0, 8) : "–");
const clock = (at) => new Date(at * 1000).toLocaleTimeString([], { hour12: false });

// --- elements ---

const h = (tag, props = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name === "class") element.className = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
};
const say = (element, text) => {
  if (element.textContent !== text) element.textContent = text;
};
const chip = (text, mood = "") => h("span", { class: `chip ${mood}` }, text);

// Rows are kept by their key, so that what is selected or focused stays so while values change.
class Table {
  constructor(table, columns, empty) {
    this.columns = columns;
    this.body = h("tbody");
    this.rows = new Map();
    const none = h("td", { class: "none", colspan: String(columns.length) });
    none.append(...(typeof empty === "string" ? [empty] : empty));
    this.none = h("tr", {}, none);
    const heads = columns.map(([title, , kind]) => h("th", { scope: "col", class: kind === "number" ? "number" : "" }, title));
    table.replaceChildren(h("thead", {}, h("tr", {}, ...heads)), this.body);
  }

  show(rows, keyOf) {
    const kept = new Map();
    let place = this.body.firstChild;
    for (const row of rows) {
      const key = keyOf(row);
      let line = this.rows.get(key);
      if (!line) line = h("tr", {}, ...this.columns.map(([title, , kind]) => h("td", { class: kind ?? "", "data-label": title })));
      kept.set(key, line);
      this.columns.forEach(([, value], column) => this.fill(line.children[column], value(row)));
      if (line === place) place = place.nextSibling;
      else this.body.insertBefore(line, place);
    }
    for (const line of [...this.body.children]) if (![...kept.values()].includes(line) && line !== this.none) line.remove();
    this.rows = kept;
    if (!rows.length) this.body.append(this.none);
    else this.none.remove();
  }

  fill(cell, value) {
    const text = value === null || value === undefined || value === "" ? "–" : value;
    cell.classList.toggle("empty", text === "–");
    if (typeof text === "string" || typeof text === "number") return say(cell, String(text));
    const key = text.dataset.key;
    if (cell.firstElementChild?.dataset.key !== key) cell.replaceChildren(text);
  }
}
const keyed = (key, element) => {
  element.dataset.key = key;
  return element;
};
const workerLink = (id) => (id ? keyed(`w${id}`, h("a", { href: `#/workers/${encodeURIComponent(id)}`, class: "id" }, short(id))) : null);
const stateChip = (it) => keyed(`s${it}`, chip(it, { suspect: "warn", busy: "good" }[it] ?? ""));

// --- pools ---

const WORKERS = [["busy", "busy"], ["available", "idle"], ["starting", "starting"], ["retiring", "draining"], ["suspect", "suspect"]];

const poolState = (pool) => {
  if (pool.degraded) return ["degraded", "bad"];
  if (pool.paused) return ["paused", "warn"];
  if (pool.draining) return ["draining", "warn"];
  if (!pool.ready) return ["not ready", "bad"];
  if (pool.level === "full") return ["full", "bad"];
  if (pool.level === "high") return ["filling up", "warn"];
  return ["ready", "good"];
};

class Chart {
  constructor(title, names) {
    this.names = names;
    this.title = title;
    this.now = h("span");
    this.svg = document.createElementNS(SVG, "svg");
    this.svg.setAttribute("viewBox", "0 0 300 38");
    this.svg.setAttribute("preserveAspectRatio", "none");
    this.svg.setAttribute("role", "img");
    this.paths = names.map((_, place) => {
      const path = document.createElementNS(SVG, "path");
      if (place) path.setAttribute("class", "second");
      this.svg.append(path);
      return path;
    });
    this.element = h("figure", { class: "chart" }, h("figcaption", {}, h("span", {}, title), this.now), this.svg);
  }

  draw(samples, write, least) {
    const series = this.names.map((name) => samples?.[name] ?? []);
    const top = Math.max(least, ...series.flat().map((it) => it ?? 0));
    series.forEach((values, place) => {
      let path = "", pen = "M";
      values.forEach((value, index) => {
        if (value === null) return (pen = "M");
        const x = 300 - (values.length - 1 - index) * (300 / (Math.max(values.length, LEAST_SAMPLES) - 1));
        path += `${pen}${x.toFixed(1)} ${(36 - (34 * value) / top).toFixed(1)}`;
        pen = "L";
      });
      this.paths[place].setAttribute("d", path);
    });
    say(this.now, `max ${write(top === least && !series.flat().some(Boolean) ? 0 : top)}`);
    const last = series.map((values, place) => `${this.names[place]} ${write(values.at(-1) ?? null)}`).join(", ");
    this.svg.setAttribute("aria-label", `${this.title}, the last minutes, ten at most; now: ${last}`);
  }
}

const FACTS = [
  ["arrivals", (pool) => rate(pool.now.arrivals), "requests that came, in a second"],
  ["completed", (pool) => rate(pool.now.completions), "requests that were answered well, in a second"],
  ["shed", (pool) => rate(pool.now.shed), "requests refused for want of room, in a second"],
  ["p50", (pool) => seconds(pool.now.p50), "half of the requests that ended in the last two seconds took no longer"],
  ["p99", (pool) => seconds(pool.now.p99), "99 of 100 took no longer"],
  ["oldest wait", (pool) => seconds(pool.oldest_wait), "how long the oldest request in the queue has waited"],
  ["retry after", (pool) => seconds(pool.retry_after), "what a caller who is refused now is told to wait"],
  ["utilisation", (pool) => percent(pool.utilisation), "share of its workers' time that was busy, as of its last health interval"],
  ["sessions", (pool) => `${pool.sessions}`, "open sessions"],
];

class Card {
  constructor(name) {
    this.name = name;
    this.title = h("h3", {}, name);
    this.mood = h("span", { class: "chip" });
    this.why = h("p", { class: "why" });
    this.counts = h("span");
    this.bar = h("div", { class: "bar", "aria-hidden": "true" }, ...WORKERS.map(([, css]) => h("i", { class: css })));
    this.queued = h("span");
    this.queue = h("i", { class: "queue" });
    this.facts = FACTS.map(([, , meaning]) => h("dd", { title: meaning }));
    this.restarts = h("span");
    this.charts = [new Chart("requests/s", ["arrivals", "completions"]), new Chart("p99", ["p99"]), new Chart("queue", ["queued"])];
    this.hold = h("button", { type: "button", onclick: () => this.act(this.held ? "resume" : "pause") });
    const act = (verb, text) => h("button", { type: "button", onclick: () => this.act(verb) }, text);
    this.acts = h("p", { class: "acts" }, this.hold, act("drain", "Drain"), act("recycle", "Recycle"), act("scale", "Scale"));
    this.element = h(
      "article", { class: "card", "data-pool": name },
      h("div", { class: "top" }, this.title, this.mood), this.why,
      h("p", { class: "label" }, h("span", {}, "workers"), this.counts), this.bar,
      h("p", { class: "label" }, h("span", {}, "queue"), this.queued), h("div", { class: "bar", "aria-hidden": "true" }, this.queue),
      h("dl", { class: "facts" }, ...FACTS.map(([title], place) => h("div", {}, h("dt", {}, title), this.facts[place]))),
      h("p", { class: "label" }, h("span", {}, "restarts"), this.restarts),
      h("div", { class: "charts" }, ...this.charts.map((chart) => chart.element)),
      this.acts,
    );
  }

  show(pool, lastDeath) {
    const [text, mood] = poolState(pool);
    this.pool = pool;
    this.held = pool.paused || pool.draining || Boolean(pool.degraded);
    say(this.mood, text);
    this.mood.className = `chip ${mood}`;
    this.element.classList.toggle("full", pool.level === "full");
    const none = pool.total || pool.starting ? "" : `no workers: \`maitred scale ${pool.name}=N\`, or start an agent: \`maitred pool ${pool.name}\``;
    say(this.why, pool.reason ?? none);
    this.why.hidden = !this.why.textContent;
    const all = WORKERS.reduce((sum, [key]) => sum + pool[key], 0);
    WORKERS.forEach(([key], place) => (this.bar.children[place].style.width = all ? `${(100 * pool[key]) / all}%` : "0"));
    say(this.counts, WORKERS.filter(([key]) => pool[key]).map(([key, word]) => `${pool[key]} ${word}`).join(" · ") || "none");
    const filled = pool.queued + pool.busy;
    this.queue.style.width = `${Math.min(100, (100 * filled) / (pool.max_queue || 1))}%`;
    this.queue.className = `queue ${pool.level}`;
    say(this.queued, `${pool.queued} waiting · bound ${pool.max_queue}`);
    FACTS.forEach(([, value], place) => say(this.facts[place], value(pool)));
    const last = lastDeath ? ` · last: ${lastDeath.cause}${lastDeath.signal ? ` (${lastDeath.signal})` : ""}, ${seconds(lastDeath.ended)} ago` : "";
    say(this.restarts, `${pool.restarts}${pool.restarts ? last : ""}`);
    const samples = state.history[pool.name];
    this.charts[0].draw(samples, rate, 1);
    this.charts[1].draw(samples, seconds, 0.001);
    this.charts[2].draw(samples, (it) => `${it ?? 0}`, 1);
    say(this.hold, this.held ? "Resume" : "Pause");
    this.acts.hidden = state.right !== "operate";
  }

  act(verb) {
    const { name, size } = this.pool;
    const asks = {
      drain: ["Drain", `New requests to ${name} are refused until it is resumed; what is there is finished.`],
      recycle: ["Recycle", `Each worker of ${name} is replaced once another one is ready. Sessions move by their snapshots, or are lost.`],
      scale: ["Scale", `How many workers ${name} is to keep.`, size],
    };
    operate(`pools/${encodeURIComponent(name)}/${verb}`, `${verb} ${name}`, asks[verb]);
  }
}

const cards = new Map();
const showPools = (told) => {
  const lastDeath = {};
  for (const death of told.deaths) if (death.cause !== "drain") lastDeath[death.pool] ??= death;
  const names = told.pools.map((pool) => pool.name);
  for (const [name, card] of cards) if (!names.includes(name)) card.element.remove(), cards.delete(name);
  told.pools.forEach((pool, place) => {
    if (!cards.has(pool.name)) cards.set(pool.name, new Card(pool.name));
    const card = cards.get(pool.name);
    if ($("pools").children[place] !== card.element) $("pools").insertBefore(card.element, $("pools").children[place] ?? null);
    card.show(pool, lastDeath[pool.name]);
  });
  if (!names.length) $("pools").replaceChildren(h("p", {}, "No pool yet: an agent or a worker makes one (maitred pool NAME)."));
};

// --- tables ---

const limits = () => Object.fromEntries((state.told?.pools ?? []).map((pool) => [pool.name, pool.memory_limit]));
const tables = {
  workers: new Table($("workers"), [
    ["worker", (row) => workerLink(row.id)],
    ["pool", (row) => row.pool],
    ["state", (row) => stateChip(row.state)],
    ["pid", (row) => row.pid, "number"],
    ["memory", (row) => memory(row), "number"],
    ["GPU", (row) => (row.gpu ? `${row.gpu} ${row.gpu_bytes ? bytes(row.gpu_bytes) : ""}`.trim() : null)],
    ["request", (row) => row.request, "text"],
    ["for", (row) => (row.request ? seconds(row.request_age) : null), "number"],
    ["served", (row) => row.requests, "number"],
    ["sessions", (row) => row.sessions || null, "number"],
    ["up", (row) => seconds(row.age), "number"],
    ["note", (row) => row.note, "text"],
  ], "No workers. `maitred up` starts those of the configuration; `maitred pool NAME` those of one pool on this host."),
  deaths: new Table($("deaths"), [
    ["worker", (row) => workerLink(row.worker)],
    ["pool", (row) => row.pool],
    ["cause", (row) => keyed(`c${row.cause}`, chip(row.cause, ["drain", "recycle", "operator"].includes(row.cause) ? "" : "bad"))],
    ["signal or code", (row) => row.signal ?? row.exit_code],
    ["ago", (row) => seconds(row.ended), "number"],
    ["served", (row) => row.served, "number"],
    ["peak memory", (row) => bytes(row.peak_rss || null), "number"],
    ["note", (row) => row.note, "text"],
  ], "None has ended since the broker started."),
  sessions: new Table($("sessions"), [
    ["session", (row) => row.id],
    ["pool", (row) => row.pool],
    ["state", (row) => stateChip(row.state)],
    ["owner", (row) => workerLink(row.owner)],
    ["served", (row) => row.requests, "number"],
    ["waiting", (row) => row.queued || null, "number"],
    ["expires in", (row) => seconds(row.left), "number"],
    ["client", (row) => row.principal ?? row.client],
  ], "No session is open."),
  events: new Table($("events"), [
    ["time", (row) => clock(row.at)],
    ["event", (row) => row.name],
    ["", (row) => Object.entries(row.fields).filter(([, value]) => value !== null && value !== "").map(([name, value]) => `${name}=${typeof value === "object" ? JSON.stringify(value) : value}`).join("  "), "text"],
  ], "Nothing has happened yet."),
};
const memory = (row) => {
  if (!row.rss) return null;
  const limit = row.memory_limit ?? limits()[row.pool];
  return limit ? `${bytes(row.rss)} of ${bytes(limit)}` : bytes(row.rss);
};
const counted = (rows, all, what) => (all > rows.length ? `${rows.length} of ${all}; \`maitred ${what}\` lists all` : `${rows.length}`);

const showEvents = () => {
  const wanted = $("events-filter").value.trim().toLowerCase();
  const rows = state.events.filter((row) => !wanted || `${row.name} ${JSON.stringify(row.fields)}`.toLowerCase().includes(wanted));
  tables.events.show(rows.slice(0, SHOWN_EVENTS), (row) => row.number);
  say($("events-count"), wanted ? `${rows.length} of ${state.events.length}` : `the last ${state.events.length}`);
};

const show = () => {
  const told = state.told;
  if (!told) return;
  say($("about"), `${told.broker.software} · up ${seconds(told.broker.uptime)} · ${told.broker.clients} clients · ${told.broker.requests} requests under way${told.broker.draining ? " · shutting down" : ""}`);
  showPools(told);
  tables.workers.show(told.workers, (row) => row.id);
  tables.deaths.show(told.deaths, (row) => row.worker);
  tables.sessions.show(told.sessions, (row) => row.id);
  say($("workers-count"), counted(told.workers, told.totals.workers, "workers"));
  say($("deaths-count"), `${told.deaths.length}`);
  say($("sessions-count"), counted(told.sessions, told.totals.sessions, "sessions"));
  showEvents();
};

// --- a page for each worker ---

const FOCUSABLE = "a, button, pre";
let workerShown = null;
const route = () => {
  const match = /^#\/workers\/([^/]+)$/.exec(location.hash);
  workerShown = match ? decodeURIComponent(match[1]) : null;
  $("house").hidden = Boolean(workerShown);
  $("worker").hidden = !workerShown;
  $("worker").replaceChildren();
  if (workerShown) showWorker();
};
const fact = (title, value) => h("div", {}, h("dt", {}, title), h("dd", {}, value === null || value === undefined || value === "" ? "–" : String(value)));
const showWorker = async () => {
  const id = workerShown;
  const { ok, body } = await ask(`workers/${encodeURIComponent(id)}`);
  if (id !== workerShown) return;
  const back = h("p", {}, h("a", { href: "#/" }, "← all pools"));
  if (!ok) return $("worker").replaceChildren(back, h("p", { class: "notice bad" }, body.error?.message ?? "it cannot be shown"));
  const { worker, death } = body;
  const parts = [back, h("h2", {}, "Worker ", h("span", { class: "id" }, body.id))];
  if (worker) {
    parts.push(h("div", { class: "card" }, h("div", { class: "top" }, h("h3", {}, worker.pool), stateChip(worker.state)), h("dl", { class: "facts" },
      fact("host", worker.host), fact("pid", worker.pid), fact("up", seconds(worker.age)), fact("memory", memory(worker)),
      fact("GPU", worker.gpu), fact("GPU memory", worker.gpu_bytes ? bytes(worker.gpu_bytes) : null), fact("request", worker.request),
      fact("for", worker.request ? seconds(worker.request_age) : null), fact("served", worker.requests), fact("sessions", worker.sessions),
      fact("late by (its own clock)", seconds(worker.lag)), fact("note", worker.note))));
    if (state.right === "operate")
      parts.push(h("p", { class: "acts" },
        h("button", { type: "button", onclick: () => actOnWorker(body.id, "drain", "It finishes what it has and goes; another one takes its place.") }, "Drain"),
        h("button", { type: "button", onclick: () => actOnWorker(body.id, "recycle", "It goes once another one is ready.") }, "Recycle")));
  }
  if (death) {
    parts.push(h("h2", {}, "Death certificate"), h("div", { class: "card" }, h("div", { class: "top" }, h("h3", {}, death.pool), chip(death.cause, "bad")), h("dl", { class: "facts" },
      fact("signal", death.signal), fact("exit code", death.exit_code), fact("ago", seconds(death.ended)), fact("lived", seconds(death.age)),
      fact("served", death.served), fact("peak memory", bytes(death.peak_rss || null)), fact("memory when found", bytes(death.memory || null)),
      fact("memory limit", bytes(death.memory_limit || null)), fact("host", death.host), fact("pid", death.pid), fact("note", death.note))));
    const words = state.right === "look" ? "What it wrote is shown to whoever has a token." : death.stderr || "It wrote nothing to standard error.";
    parts.push(h("h2", {}, "Its last words (standard error)"), h("pre", { tabindex: "0" }, words));
  }
  const focused = [...$("worker").querySelectorAll(FOCUSABLE)].indexOf(document.activeElement);
  const scrolled = $("worker").querySelector("pre")?.scrollTop ?? 0;
  $("worker").replaceChildren(...parts);
  if (focused >= 0) $("worker").querySelectorAll(FOCUSABLE)[focused]?.focus({ preventScroll: true });
  if (scrolled) $("worker").querySelector("pre").scrollTop = scrolled;
};
const actOnWorker = (id, verb, text) => operate(`workers/${encodeURIComponent(id)}/${verb}`, `${verb} ${short(id)}`, [verb === "drain" ? "Drain" : "Recycle", text]);

// --- asking and operating ---

const headers = () => {
  const token = sessionStorage.getItem(TOKEN);
  return token ? { Authorization: `Bearer ${token}` } : {};
};
const ask = async (path, options = {}) => {
  try {
    const answer = await fetch(`api/v1/${path}`, { ...options, headers: headers() });
    return { ok: answer.ok, body: await answer.json() };
  } catch (error) {
    return { ok: false, body: { error: { message: `the broker does not answer: ${error.message}` } } };
  }
};
const notice = (text, mood = "") => {
  say($("notice"), text);
  $("notice").className = `notice ${mood}`;
  $("notice").hidden = !text;
};
const operate = (path, what, question) => {
  const go = async (query = "") => {
    const { ok, body } = await ask(path + query, { method: "POST" });
    notice(ok ? `${what}: done` : `${what}: ${body.error?.message ?? "it was refused"}`, ok ? "good" : "bad");
    if (ok) setTimeout(() => $("notice").textContent === `${what}: done` && notice(""), 6000);
  };
  if (!question) return go();
  const [title, text, number] = question;
  say($("ask-title"), `${what}?`);
  say($("ask-text"), text);
  say($("ask-yes"), title);
  $("ask-number-label").hidden = number === undefined;
  $("ask-number").value = number ?? "";
  $("ask").returnValue = "no";
  $("ask").onclose = () => $("ask").returnValue === "yes" && go(number === undefined ? "" : `?n=${encodeURIComponent($("ask-number").value)}`);
  $("ask").showModal();
};

// --- listening ---

const link = (text, mood) => {
  say($("link"), text);
  $("link").className = `chip ${mood}`;
};
const heard = (name, data) => {
  state.heardAt = Date.now();
  document.body.classList.remove("stale");
  if (name === "hello") {
    Object.assign(state, { right: data.right, history: data.history, fields: data.fields, interval: data.interval, look: data.look });
    state.events = data.events.reverse();
    say($("token"), data.right === "operate" ? "Operator" : data.right === "read" ? "Reader" : "Token");
    notice("");
  } else if (name === "events") {
    state.events = [...data.events.reverse(), ...state.events].slice(0, MOST_EVENTS);
  } else if (name === "snapshot") {
    if (data.look !== state.look && state.told) {
      for (const pool of data.pools) {
        const samples = (state.history[pool.name] ??= Object.fromEntries(state.fields.map((field) => [field, []])));
        for (const field of state.fields) {
          samples[field].push(pool.now[field] ?? null);
          if (samples[field].length > state.kept) samples[field].shift();
        }
      }
    }
    state.look = data.look;
    state.told = data;
    link("live", "good");
    show();
    if (workerShown) showWorker();
  }
};
const listen = async () => {
  const answer = await fetch("api/v1/live", { headers: headers(), cache: "no-store" });
  if (!answer.ok) {
    const { error } = await answer.json();
    if (answer.status === 401 || answer.status === 403) notice(`${error.message} (the button Token, above)`, "bad");
    throw new Error(error.message);
  }
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ""; ; ) {
    const { value, done } = await reader.read();
    if (done) throw new Error("the broker has ended the connection");
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const fields = Object.fromEntries(part.split("\n").map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 2)]));
      if (fields.event) heard(fields.event, JSON.parse(fields.data));
    }
  }
};
let listening = null;
const listenForEver = async () => {
  const mine = (listening = {});
  for (let wait = 500; listening === mine; wait = Math.min(2 * wait, 5000)) {
    const since = Date.now();
    try {
      await listen();
    } catch (error) {
      if (listening !== mine) return;
      link("no connection, trying again", "bad");
      document.body.classList.add("stale");
      console.info(error.message);
    }
    if (Date.now() - since > 5000) wait = 500;
    await new Promise((done) => setTimeout(done, wait));
  }
};
setInterval(() => {
  if (state.heardAt && Date.now() - state.heardAt > STALE_MS) {
    link(`no news for ${seconds((Date.now() - state.heardAt) / 1000)}`, "bad");
    document.body.classList.add("stale");
  }
}, 1000);

// --- what a person sets ---

const useToken = (token) => {
  if (token) sessionStorage.setItem(TOKEN, token);
  else sessionStorage.removeItem(TOKEN);
  location.reload();
};
$("token").addEventListener("click", () => $("token-dialog").showModal());
$("token-dialog").addEventListener("close", () => {
  const chosen = $("token-dialog").returnValue;
  if (chosen === "use" && $("token-value").value) useToken($("token-value").value.trim());
  else if (chosen === "forget") useToken("");
});
const THEMES = ["", "light", "dark"];
const theme = (name) => {
  if (name) document.documentElement.dataset.theme = name;
  else delete document.documentElement.dataset.theme;
  say($("theme"), name ? `Theme: ${name}` : "Theme");
};
theme(localStorage.getItem("maitred-theme") ?? "");
$("theme").addEventListener("click", () => {
  const next = THEMES[(THEMES.indexOf(localStorage.getItem("maitred-theme") ?? "") + 1) % THEMES.length];
  localStorage.setItem("maitred-theme", next);
  theme(next);
});
$("events-filter").addEventListener("input", showEvents);
window.addEventListener("hashchange", () => takeToken() || route());
const takeToken = () => {
  const match = /^#token=(.+)$/.exec(location.hash);
  if (!match) return false;
  history.replaceState(null, "", location.pathname);
  useToken(decodeURIComponent(match[1]));
  return true;
};
if (!takeToken()) {
  route();
  listenForEver();
}
