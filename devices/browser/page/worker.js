// One worker runs one file in one runtime: it imports the runtime, loads the file, and runs it when it is asked to.
// It is a classic worker, since LiteRT.js loads its WebAssembly with importScripts there.
"use strict";

const SPIN_MS = 30, FIRST_MS = 200, TICKS = 50, WARM_RUNS = 100, STEADY = 0.02, STEADY_RUNS = 8, LONGEST_WARMUP = 10;
const TYPES = {
  float32: Float32Array, float64: Float64Array, int32: Int32Array, uint32: Uint32Array, int16: Int16Array,
  uint16: Uint16Array, int8: Int8Array, uint8: Uint8Array, bool: Uint8Array, int64: self.BigInt64Array,
  uint64: self.BigUint64Array, float16: Uint16Array,
};
const memories = new Set();
let session = null, content = null, samples = [], group = 1;

class Unsupported extends Error {}

// WebAssembly's memories never shrink: what they have taken is the peak.
function watchMemories() {
  const keep = (instance, imports) => {
    for (const part of [instance.exports, ...Object.values(imports ?? {})]) {
      for (const value of Object.values(part ?? {})) if (value instanceof WebAssembly.Memory) memories.add(value);
    }
  };
  for (const name of ["instantiate", "instantiateStreaming"]) {
    const original = WebAssembly[name].bind(WebAssembly);
    WebAssembly[name] = async (source, imports, ...more) => {
      const result = await original(source, imports, ...more);
      keep(result.instance ?? result, imports);
      return result;
    };
  }
}

const memory = () => [...memories].reduce((sum, one) => sum + one.buffer.byteLength, 0);
const words = (error) => String(error?.message ?? error).slice(0, 2000) || "no words";
const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];

function resolution() {
  let smallest = Infinity;
  for (const end = performance.now() + SPIN_MS, state = {last: performance.now()}; state.last < end;) {
    const now = performance.now();
    if (now > state.last) smallest = Math.min(smallest, now - state.last);
    state.last = now;
  }
  return smallest;
}

async function fetched(name, bytes) {
  const answer = await fetch(`file/${name}`, {credentials: "same-origin"});
  if (!answer.ok) throw new Error(`a file did not arrive (status ${answer.status})`);
  const content = await answer.arrayBuffer();
  if (content.byteLength !== bytes) throw new Error("a file did not arrive whole");
  if (self.crypto?.subtle) {
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
    const found = [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    if (found !== name) throw new Error("a file was damaged on its way");
  }
  return content;
}

class LiteRt {
  constructor({threads, accelerator}) {
    this.threads = threads;
    this.accelerator = accelerator;
  }

  async load() {
    this.api = await import(new URL("runtime/litert-js/index.js", location.href).href);
    const folder = new URL("runtime/litert-js/wasm/", location.href).href;
    // In a worker, Emscripten looks for files beside the worker, and starts threads from its script.
    self.Module = {locateFile: (file) => folder + file,
                   mainScriptUrlOrBlob: `${folder}litert_wasm_threaded_internal.js`};
    this.litert = await this.api.loadLiteRt(folder, {threads: this.threads > 1});
    if (this.accelerator !== "webgpu") return;
    const adapter = await navigator.gpu?.requestAdapter();
    if (!adapter) throw new Unsupported("the browser finds no GPU");
    const wanted = ["maxBufferSize", "maxStorageBufferBindingSize", "maxStorageBuffersPerShaderStage"];
    const limits = Object.fromEntries(wanted.map((name) => [name, adapter.limits[name]]));
    const features = ["shader-f16"].filter((name) => adapter.features.has(name));
    this.litert.setWebGpuDevice(await adapter.requestDevice({requiredFeatures: features, requiredLimits: limits}));
  }

  async open(content) {
    this.model = await this.api.loadAndCompile(new Uint8Array(content), {
      accelerator: this.accelerator || "wasm", cpuOptions: {numThreads: this.threads},
    });
    const told = (list) => list.map(({name, dtype, shape}) => ({name, dtype, shape: [...shape]}));
    const inputs = told(this.model.getInputDetails()), outputs = told(this.model.getOutputDetails());
    for (const {name, shape} of inputs) {
      if (shape.some((size) => size < 0)) throw new Unsupported(`the input ${name} has no fixed shape: [${shape.join(", ")}]`);
    }
    return {inputs, outputs, whole: this.model.isFullyAccelerated === true};
  }

  prepared(values) { return values; }

  async run(values) {
    const fed = [];
    let outputs = [];
    try {
      for (const {array, shape} of values) fed.push(new this.api.Tensor(array, shape));
      if (this.accelerator === "webgpu") {
        for (let i = 0; i < fed.length; i++) fed[i] = await fed[i].moveTo("webgpu");
      }
      outputs = await this.model.run(fed);
      return await outputs[this.output].data();
    } finally {
      for (const tensor of [...fed, ...outputs]) if (!tensor.deleted) tensor.delete();
    }
  }
}

class OnnxRuntime {
  constructor({threads}) { this.threads = threads; }

  async load() {
    const base = new URL("runtime/onnxruntime-web/", location.href);
    this.api = await import(new URL("ort.wasm.min.mjs", base).href);
    this.api.env.wasm.wasmPaths = base.href;
    this.api.env.wasm.numThreads = this.threads;
    this.api.env.wasm.proxy = false;
    this.api.env.logLevel = "error";
  }

  async open(content) {
    this.session = await this.api.InferenceSession.create(new Uint8Array(content), {
      executionProviders: ["wasm"], graphOptimizationLevel: "all",
    });
    const told = (list) => list.map(({name, type, shape}) => {
      if (type === undefined) throw new Unsupported(`${name} is no tensor`);
      return {name, dtype: type, shape: shape.map((size) => typeof size === "number" ? size : -1)};
    });
    return {inputs: told(this.session.inputMetadata), outputs: told(this.session.outputMetadata), whole: true};
  }

  prepared(values) {
    const names = this.session.inputNames;
    return Object.fromEntries(values.map(({array, shape, dtype}, i) =>
      [names[i], new this.api.Tensor(dtype, array, shape)]));
  }

  async run(feeds) {
    const name = this.session.outputNames[this.output];
    return (await this.session.run(feeds, [name]))[name].data;
  }
}

const RUNTIMES = {"litert-js": LiteRt, "onnxruntime-web": OnnxRuntime};

function unpack(content, inputs, count) {
  const unpacked = [];
  let offset = 0;
  for (let i = 0; i < count; i++) {
    unpacked.push(inputs.map(({dtype, shape, bytes}) => {
      const array = new TYPES[dtype](content.slice(offset, offset + bytes));
      offset += bytes;
      return {array, shape, dtype};
    }));
  }
  if (offset !== content.byteLength) throw new Error("the samples do not have the length that was told");
  return unpacked;
}

function base64(parts) {
  let text = "";
  for (const part of parts) {
    const bytes = new Uint8Array(part.buffer, part.byteOffset, part.byteLength);
    for (let i = 0; i < bytes.length; i += 0x8000) text += String.fromCharCode(...bytes.subarray(i, i + 0x8000));
  }
  return btoa(text);
}

function typeOf(array) {
  for (const [name, kind] of Object.entries(TYPES)) if (array instanceof kind) return name;
  throw new Unsupported("the answer holds no numbers");
}

async function timed(runs, index, whole) {
  const times = [], groups = Math.max(1, Math.floor(runs / whole));
  for (let g = 0; g < groups; g++) {
    const count = Math.floor(runs * (g + 1) / groups) - Math.floor(runs * g / groups);
    const started = performance.now();
    for (let i = 0; i < count; i++) await session.run(samples[index % samples.length]);
    const each = (performance.now() - started) / count;
    for (let i = 0; i < count; i++) times.push(each);
  }
  return times;
}

const DO = {
  async import({session: name, threads, accelerator}) {
    watchMemories();
    const started = performance.now();
    session = new RUNTIMES[name]({threads, accelerator});
    await session.load();
    return {import_ms: performance.now() - started, import_memory_bytes: memory()};
  },

  async open({file, bytes}) {
    content = await fetched(file, bytes);
    const started = performance.now();
    const told = await session.open(content).catch((error) => { throw new Unsupported(words(error)); });
    return {...told, load_ms: performance.now() - started};
  },

  async feed({file, bytes, inputs, count, output}) {
    session.output = output;
    samples = unpack(await fetched(file, bytes), inputs, count).map((values) => session.prepared(values));
    return {};
  },

  async first() {
    const times = [];
    let answer;
    // The first runs are slow: WebAssembly is compiled for speed while it runs.
    for (const end = performance.now() + FIRST_MS; times.length < 2 || (times.length < 10 && performance.now() < end);) {
      const started = performance.now();
      answer = await session.run(samples[0]);
      times.push(performance.now() - started);
    }
    return {first_ms: times[0], run_ms: times.at(-1), dtype: typeOf(answer), answers: base64([answer]),
            timer_us: 1000 * resolution(), peak_memory_bytes: memory()};
  },

  async answer({stateful}) {
    const parts = [];
    for (let i = 0; i < samples.length; i++) {
      if (stateful) await session.open(content); // so that no answer depends on earlier samples
      const answer = await session.run(samples[i]);
      parts.push(answer.slice());
      if (i % 16 === 0) postMessage({progress: i / samples.length});
    }
    return {dtype: typeOf(parts[0]), answers: base64(parts), peak_memory_bytes: memory()};
  },

  // At least 100 runs: browsers compile WebAssembly anew for speed while it runs.
  async warm({seconds}) {
    const runs = [], tick = resolution(), started = performance.now();
    let steady = false, passed = 0;
    group = 1;
    while (!steady) {
      const turn = performance.now();
      runs.push(...await timed(group, runs.length, group));
      if (performance.now() - turn < TICKS * tick) group *= 2;
      passed = (performance.now() - started) / 1000;
      if (passed > Math.max(LONGEST_WARMUP * seconds, 0.05)) break;
      if (passed < seconds || runs.length < WARM_RUNS) continue;
      const late = runs.slice(-STEADY_RUNS), early = runs.slice(-2 * STEADY_RUNS, -STEADY_RUNS);
      steady = early.length === STEADY_RUNS && median(late) > median(early) * (1 - STEADY);
    }
    const usual = median(runs.slice(-WARM_RUNS));
    group = Math.max(1, Math.ceil(TICKS * tick / Math.max(usual, tick / 100)));
    return {warmup_ms: runs.filter((ms) => ms > 0), steady, runs_per_timing: group};
  },

  async burst({runs, sample}) {
    return {runs_ms: await timed(runs, sample, group)};
  },

  async state() {
    return {peak_memory_bytes: memory(), at: performance.now() / 1000};
  },
};

let turn = Promise.resolve();
onmessage = ({data: request}) => {
  turn = turn.then(async () => {
    let answer;
    try {
      answer = {status: "ok", reason: "", data: await DO[request.do](request)};
    } catch (error) {
      answer = {status: error instanceof Unsupported ? "unsupported" : "failed", reason: words(error), data: {}};
    }
    postMessage({id: request.id, answer});
  });
};
