"use strict";
// A conversation with one of the gateway's models over its own API. The tab keeps the conversation, the draft, the
// settings and the API key until it is closed, also over a reload; nothing is kept longer. What the gateway keeps, where a
// person allows it, is feedback.js's.
const $ = (id) => document.getElementById(id);
const talk = $("talk");
const SETTINGS = ["system", "temperature", "top-p", "top-k", "max-tokens", "seed", "key"];
let messages = []; // {role, content, version, id, thumb}: questions and answers in turn; with an id those that are kept
let leftOut = 0; // of them, from the oldest on: how many no longer fit the model's context
let running = null; // AbortController of the answer that is being written
let asking = ""; // its question

// What the tab keeps.

function keep() {
  const settings = Object.fromEntries(SETTINGS.map((id) => [id, $(id).value]));
  sessionStorage.setItem("stemma-chat", JSON.stringify({ messages, leftOut, talkName, draft: $("question").value || asking, settings }));
}

function restore() {
  let kept;
  try {
    kept = JSON.parse(sessionStorage.getItem("stemma-chat"));
  } catch {
    kept = null;
  }
  if (!kept) return;
  messages = kept.messages;
  leftOut = kept.leftOut;
  talkName = kept.talkName || talkName;
  $("question").value = kept.draft;
  for (const id of SETTINGS) if (kept.settings[id] !== undefined) $(id).value = kept.settings[id];
  for (const message of messages) {
    const shown = add(message.role === "user", message.content);
    if (message.version) shown.who.textContent = message.version;
    if (message.id) offerFeedback(shown, message);
  }
  markLeftOut();
}

// What is shown.

function problem(text) {
  $("problem").textContent = text;
  $("problem").hidden = !text;
}

function add(mine, text) {
  const item = element("li");
  const who = element("b", mine ? "You" : "Model");
  const said = element("div");
  item.className = mine ? "mine" : "its";
  item.append(who, said);
  talk.append(item);
  const shown = { item, who, said };
  write(shown, mine, text);
  item.scrollIntoView({ block: "end" });
  return shown;
}

function write(shown, mine, text) {
  if (mine) shown.said.textContent = text;
  else shown.said.replaceChildren(markdown(text));
}

// Thumbs and an edit for an answer that is kept; the conversation goes on from the edited answer.
function offerFeedback(shown, message) {
  const answer = { id: message.id, text: message.content, thumb: message.thumb };
  const edited = (text) => {
    message.thumb = answer.thumb;
    if (text !== null) {
      message.content = text;
      write(shown, false, text);
    }
    keep();
  };
  shown.item.append(feedbackBar(answer, headers, edited).bar);
}

// A line behind the messages that the model no longer sees.
function markLeftOut() {
  document.querySelector("li.mark")?.remove();
  if (!leftOut) return;
  const mark = element("li", `The ${leftOut} messages above are no longer sent: the model's context is full.`);
  mark.className = "mark";
  talk.querySelectorAll("li.mine, li.its")[leftOut - 1].after(mark);
}

function showVersion() {
  const chosen = $("model").selectedOptions[0];
  $("version").textContent = chosen
    ? `Serving ${chosen.dataset.version} · digest ${chosen.dataset.digest}`
    : "No model is served yet: promote one, it appears here by itself";
}

function busy(is) {
  $("send").disabled = is;
  $("stop").disabled = !is;
  talk.setAttribute("aria-busy", is);
}

// The gateway.

function headers() {
  const key = $("key").value.trim();
  return { "content-type": "application/json", ...(key ? { authorization: `Bearer ${key}` } : {}) };
}

// An Error with the gateway's own message and code.
async function refusal(response) {
  const error = new Error(`the gateway answered ${response.status}`);
  try {
    const body = (await response.json()).error;
    error.message = body.message;
    error.code = body.code;
  } catch {
    // not the gateway's: such as a proxy's page
  }
  return error;
}

function loadKeepingQuietly() {
  loadKeeping(headers()).catch(() => {}); // without the gateway nothing is kept either
}

async function loadModels() {
  try {
    const response = await fetch("/v1/models", { headers: headers() });
    if (!response.ok) throw await refusal(response);
    const models = (await response.json()).data.filter((model) => model.kind === "generator");
    const chosen = $("model").value;
    $("model").replaceChildren(...models.map((model) => {
      const option = new Option(model.id, model.id, false, model.id === chosen);
      option.dataset.version = model.version;
      option.dataset.digest = model.digest;
      option.dataset.chat = model.chat;
      return option;
    }));
    problem("");
    showVersion();
  } catch (error) {
    $("version").textContent = "No model";
    problem(`The list of models cannot be read: ${error.message}`);
  }
}

// A promotion may have come meanwhile: show what serves now, and leave the conversation's problem as it is.
async function loadModelsQuietly() {
  const shown = $("problem").textContent;
  await loadModels();
  if (shown) problem(shown);
}

// Server-sent events of a fetch, one parsed object after the other.
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) throw new Error("the answer broke off; send the question again");
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
  const sent = messages.slice(leftOut).map(({ role, content }) => ({ role, content }));
  return ["/v1/chat/completions", {
    ...common, ...keeping(),
    messages: [...(system ? [{ role: "system", content: system }] : []), ...sent, { role: "user", content: question }],
  }];
}

// The response to a question; the oldest questions and answers are left out until the rest fits the context.
async function respond(question, signal) {
  for (;;) {
    const [path, body] = request(question);
    const response = await fetch(path, { method: "POST", headers: headers(), body: JSON.stringify(body), signal });
    if (response.ok) return response;
    const error = await refusal(response);
    if (error.code !== "context_length_exceeded" || !body.messages || leftOut >= messages.length) throw error;
    leftOut += 2;
    markLeftOut();
  }
}

async function ask(question) {
  problem("");
  const conversation = messages;
  asking = question;
  const asked = add(true, question);
  const shown = add(false, "");
  running = new AbortController();
  busy(true);
  let answer = "";
  let id = null; // of an answer that is kept
  let drawing = 0;
  const draw = () => {
    drawing = 0;
    write(shown, false, answer);
    shown.item.scrollIntoView({ block: "end" });
  };
  try {
    const wanted = wantsKeeping() && $("model").selectedOptions[0].dataset.chat === "true";
    const response = await respond(question, running.signal);
    if (wanted) id = response.headers.get("x-request-id");
    shown.who.textContent = response.headers.get("x-stemma-model");
    for await (const event of events(response)) {
      if (event.error) throw new Error(event.error.message);
      const choice = event.choices[0];
      answer += choice?.delta?.content ?? choice?.text ?? "";
      drawing ||= requestAnimationFrame(draw);
    }
  } catch (error) {
    id = null; // what broke off is not kept
    if (error.name === "AbortError") shown.item.append(element("small", "stopped"));
    else problem(error.message);
    if (!answer) {
      // Nothing was said: the question goes back to where it was written.
      asked.item.remove();
      shown.item.remove();
      if (!$("question").value) $("question").value = question;
    }
  } finally {
    cancelAnimationFrame(drawing);
    if (answer && conversation === messages) { // not a new conversation meanwhile
      draw();
      messages.push({ role: "user", content: question });
      const message = { role: "assistant", content: answer, version: shown.who.textContent, ...(id ? { id } : {}) };
      messages.push(message);
      if (id) offerFeedback(shown, message);
    }
    running = null;
    asking = "";
    busy(false);
    keep();
    $("question").focus();
    loadModelsQuietly();
  }
}

$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const question = $("question").value.trim();
  if (!question || running) return;
  if (!$("model").value) return problem("No model is served yet; see /health");
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
  leftOut = 0;
  talkName = newTalkName();
  showKeeping();
  talk.replaceChildren();
  problem("");
  keep();
  $("question").focus();
});
$("model").addEventListener("change", showVersion);
$("key").addEventListener("change", () => {
  loadModels();
  loadKeepingQuietly();
});
addEventListener("pagehide", keep);
restore();
loadModels();
loadKeepingQuietly();
setInterval(() => { if (!running) loadModelsQuietly(); }, 5000);
