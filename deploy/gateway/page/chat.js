"use strict";
// A conversation with one of the gateway's models over its own API; nothing is kept when the page is closed, but the
// API key until the tab is.
const $ = (id) => document.getElementById(id);
const talk = $("talk");
let messages = [];
let running = null; // AbortController of the answer that is being written

$("key").value = sessionStorage.getItem("stemma-key") || "";

function headers() {
  const key = $("key").value.trim();
  return { "content-type": "application/json", ...(key ? { authorization: `Bearer ${key}` } : {}) };
}

function tell(problem) {
  $("problem").textContent = problem;
  $("problem").hidden = !problem;
}

function add(mine, text) {
  const item = document.createElement("li");
  const who = document.createElement("b");
  const said = document.createElement("span");
  if (mine) item.className = "mine";
  who.textContent = mine ? "You" : "Model";
  said.textContent = text;
  item.append(who, said);
  talk.append(item);
  item.scrollIntoView({ block: "end" });
  return { item, who, said };
}

async function refusal(response) {
  try {
    return (await response.json()).error.message;
  } catch {
    return `the gateway answered ${response.status}`;
  }
}

async function loadModels() {
  try {
    const response = await fetch("/v1/models", { headers: headers() });
    if (!response.ok) throw new Error(await refusal(response));
    const models = (await response.json()).data.filter((model) => model.kind === "generator");
    const chosen = $("model").value;
    $("model").replaceChildren(...models.map((model) => {
      const option = new Option(model.id, model.id, false, model.id === chosen);
      option.dataset.version = model.version;
      option.dataset.digest = model.digest;
      option.dataset.chat = model.chat;
      return option;
    }));
    tell("");
    showVersion();
  } catch (error) {
    $("version").textContent = "No model";
    tell(`No models: ${error.message}`);
  }
}

function showVersion() {
  const chosen = $("model").selectedOptions[0];
  $("version").textContent = chosen
    ? `Serving ${chosen.dataset.version} · digest ${chosen.dataset.digest}`
    : "No model is served yet: promote one, it appears here by itself";
}

// Server-sent events of a fetch, one parsed object after the other.
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) throw new Error("the answer broke off");
    text += value;
    const parts = text.split("\n\n");
    text = parts.pop();
    for (const part of parts) {
      if (!part.startsWith("data: ")) continue;
      if (part === "data: [DONE]") return;
      yield JSON.parse(part.slice(6));
    }
  }
}

function number(id) {
  const value = $(id).value.trim();
  return value === "" ? undefined : Number(value);
}

function request(question) {
  const model = $("model").selectedOptions[0];
  const common = {
    model: model.value, stream: true, temperature: number("temperature"), top_p: number("top-p"),
    top_k: number("top-k"), max_tokens: number("max-tokens"), seed: number("seed"),
  };
  if (model.dataset.chat !== "true") return ["/v1/completions", { ...common, prompt: question }];
  const system = $("system").value.trim();
  const first = system ? [{ role: "system", content: system }] : [];
  return ["/v1/chat/completions", { ...common, messages: [...first, ...messages, { role: "user", content: question }] }];
}

async function ask(question) {
  tell("");
  add(true, question);
  const shown = add(false, "");
  const [path, body] = request(question);
  running = new AbortController();
  busy(true);
  let answer = "";
  try {
    const response = await fetch(path, { method: "POST", headers: headers(), body: JSON.stringify(body), signal: running.signal });
    if (!response.ok) throw new Error(await refusal(response));
    shown.who.textContent = response.headers.get("x-stemma-model");
    for await (const event of events(response)) {
      if (event.error) throw new Error(event.error.message);
      const choice = event.choices[0];
      answer += choice?.delta?.content ?? choice?.text ?? "";
      shown.said.textContent = answer;
      shown.item.scrollIntoView({ block: "end" });
    }
  } catch (error) {
    if (error.name === "AbortError") {
      const note = document.createElement("small");
      note.textContent = "stopped";
      shown.item.append(note);
    } else {
      if (!answer) shown.item.remove();
      tell(error.message);
    }
  } finally {
    if (answer) messages.push({ role: "user", content: question }, { role: "assistant", content: answer });
    running = null;
    busy(false);
    $("question").focus();
    loadModelsQuietly();
  }
}

// A promotion may have come meanwhile: show what serves now, and leave the conversation's problem as it is.
async function loadModelsQuietly() {
  const problem = $("problem").textContent;
  await loadModels();
  if (problem) tell(problem);
}

function busy(is) {
  $("send").disabled = is;
  $("stop").disabled = !is;
  talk.setAttribute("aria-busy", is);
}

$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const question = $("question").value.trim();
  if (!question || running) return;
  if (!$("model").value) return tell("No model is served yet; see /health");
  $("question").value = "";
  ask(question);
});
$("question").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    $("ask").requestSubmit();
  }
});
$("stop").addEventListener("click", () => running?.abort());
$("reset").addEventListener("click", () => {
  running?.abort();
  messages = [];
  talk.replaceChildren();
  tell("");
  $("question").focus();
});
$("model").addEventListener("change", showVersion);
$("key").addEventListener("change", () => {
  sessionStorage.setItem("stemma-key", $("key").value.trim());
  loadModels();
});
loadModels();
setInterval(() => { if (!running) loadModelsQuietly(); }, 5000);
