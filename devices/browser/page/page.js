// The page: claims its link, asks what to do, hands each request to a worker, and sends the worker's answer back.
// A request is {id, worker, do, …}; "end" ends a worker. Answers are {status, reason, data}, as devices/remote/replies.py has them.
"use strict";

const LINES = 6;
const workers = new Map();
const element = (id) => document.getElementById(id);
let closed = false;

function say(state, doing = "") {
  element("state").textContent = state;
  element("doing").textContent = doing;
}

function note(text) {
  const line = document.createElement("li");
  line.textContent = `${new Date().toLocaleTimeString()}  ${text}`;
  element("log").prepend(line);
  while (element("log").children.length > LINES) element("log").lastChild.remove();
}

function progress(share) {
  element("bar").hidden = share === null;
  element("bar").firstElementChild.style.width = `${Math.round(100 * (share ?? 0))}%`;
}

function post(path, body) {
  return fetch(path, {method: "POST", body, credentials: "same-origin", cache: "no-store"});
}

async function adapter() {
  if (!navigator.gpu) return null;
  try {
    const found = await navigator.gpu.requestAdapter();
    if (!found) return null;
    const {vendor = "", architecture = "", device = "", description = "", isFallbackAdapter} = found.info ?? {};
    return {name: [vendor, architecture, device, description].filter(Boolean).join(" "),
            fallback: Boolean(isFallbackAdapter ?? found.isFallbackAdapter)};
  } catch { return null; }
}

async function battery() {
  try {
    const {level, charging} = await navigator.getBattery();
    return {percent: 100 * level, charging};
  } catch { return null; }
}

async function about() {
  return {
    agent: navigator.userAgent,
    platform: navigator.userAgentData?.platform ?? navigator.platform ?? "",
    model: (await navigator.userAgentData?.getHighEntropyValues?.(["model"]).catch(() => ({})))?.model ?? "",
    cores: navigator.hardwareConcurrency || 1,
    memory_gb: navigator.deviceMemory ?? null,
    isolated: self.crossOriginIsolated === true,
    secure: self.isSecureContext === true,
    battery: await battery(),
    adapter: await adapter(),
  };
}

async function stayAwake() {
  try {
    await navigator.wakeLock.request("screen");
    return true;
  } catch { return false; }
}

function show(facts, awake) {
  const rows = {
    "browser": facts.agent,
    "device": [facts.model, facts.platform].filter(Boolean).join(", ") || "not told",
    "cores": String(facts.cores),
    "memory": facts.memory_gb ? `${facts.memory_gb} GB or more` : "not told",
    "battery": facts.battery ? `${Math.round(facts.battery.percent)} %` : "not told",
    "threads": facts.isolated ? "as many as asked for" : "one: this address is not isolated (plain http)",
    "WebGPU": facts.adapter ? facts.adapter.name || "there" : "not there",
    "screen": awake ? "kept on while this page is open" : "keep it on: a locked screen stops the page",
  };
  for (const [name, text] of Object.entries(rows)) {
    const [term, definition] = [document.createElement("dt"), document.createElement("dd")];
    term.textContent = name;
    definition.textContent = text;
    element("facts").append(term, definition);
  }
}

function begin(number) {
  const worker = new Worker("worker.js");
  const waiting = new Map();
  worker.onmessage = ({data}) => {
    if ("progress" in data) return progress(data.progress);
    waiting.delete(data.id);
    reply(data.id, data.answer);
  };
  worker.onerror = (event) => {
    for (const id of waiting.keys()) reply(id, {status: "crashed", reason: event.message || "the worker ended", data: {}});
    waiting.clear();
  };
  const entry = {worker, waiting};
  workers.set(number, entry);
  return entry;
}

async function reply(id, answer) {
  progress(null);
  try {
    await post(`reply/${id}`, JSON.stringify(answer));
  } catch (error) { note(`not sent: ${error.message}`); }
}

function handle(request) {
  const {id, worker: number} = request;
  if (request.do === "end") {
    workers.get(number)?.worker.terminate();
    workers.delete(number);
    if (!workers.size) say("Connected", "waiting for work");
    return;
  }
  const entry = workers.get(number) ?? begin(number);
  entry.waiting.set(id, request);
  if (request.what) {
    say(request.what, request.detail ?? "");
    note(`${request.what}${request.detail ? `, ${request.detail}` : ""}`);
  }
  entry.worker.postMessage({...request, base: new URL(".", location.href).href});
}

async function main() {
  const facts = await about();
  const claim = await post("claim", JSON.stringify(facts));
  if (!claim.ok) {
    say("This link has been used", "Each link is for one page. Ask for a new one: edgeproof devices link");
    return;
  }
  const {name} = await claim.json();
  document.title = `Edgeproof: ${name}`;
  show(facts, await stayAwake());
  document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && stayAwake());
  addEventListener("pagehide", () => { closed = true; navigator.sendBeacon("bye"); });
  say("Connected", "waiting for work");
  for (let failures = 0; !closed && failures < 20;) {
    try {
      const answer = await post("poll", "");
      if (answer.status === 403) return location.reload();
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      for (const request of await answer.json()) handle(request);
      failures = 0;
    } catch {
      failures += 1;
      if (failures > 2) say("Disconnected", "trying again");
      await new Promise((done) => setTimeout(done, 500));
    }
  }
  for (const {worker} of workers.values()) worker.terminate();
  workers.clear();
  say("The connection has ended", "You can close this page.");
}

main().catch((error) => say("This page does not work here", error.message));
