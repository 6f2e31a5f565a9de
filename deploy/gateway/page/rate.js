"use strict";
// A question, one answer, stars by a rubric and an edit. The tab keeps the API key, as the arena does; nothing else.
const $ = (id) => document.getElementById(id);

$("key").value = sessionStorage.getItem("stemma-arena-key") || "";
$("key").addEventListener("change", () => {
  sessionStorage.setItem("stemma-arena-key", $("key").value);
  begin();
});

function headers() {
  const key = $("key").value.trim();
  return { "content-type": "application/json", ...(key ? { authorization: `Bearer ${key}` } : {}) };
}

function problem(text) {
  $("problem").textContent = text;
  $("problem").hidden = !text;
}

async function call(path, body) {
  const response = await fetch(path, { method: body ? "POST" : "GET", headers: headers(), body: body && JSON.stringify(body) });
  const said = await response.json();
  if (!response.ok) throw new Error(said.error.message);
  return said;
}

async function begin() {
  problem("");
  try {
    const models = (await call("/v1/models")).data.filter((model) => model.chat);
    $("model").replaceChildren(...models.map((model) => Object.assign(element("option", model.id), { value: model.id })));
    await loadKeeping(headers());
    $("send").disabled = !models.length || !keepDays;
    const { left } = await call("/v1/arena/pairs");
    $("next").hidden = !left || !keepDays;
    if (!keepDays) problem("This gateway keeps no answers, so none can be rated: start it with --feedback-days.");
    else if (!models.length) problem("No model that chats is served yet; see /health");
  } catch (error) {
    problem(error.message);
  }
}

$("ask").addEventListener("submit", async (event) => {
  event.preventDefault();
  problem("");
  if (!wantsKeeping()) return problem("To be rated an answer has to be kept: tick that it may be.");
  const question = $("question").value;
  talkName = newTalkName(); // every question here is a conversation of its own
  showKeeping();
  $("send").disabled = true;
  $("answer").hidden = true;
  $("state").textContent = "The model is answering …";
  try {
    const made = await call("/v1/chat/completions", {
      model: $("model").value, messages: [{ role: "user", content: question }], max_tokens: 1024, ...keeping(),
    });
    show(made);
    $("state").textContent = "How good is the answer? You can edit it too.";
  } catch (error) {
    problem(error.message);
    $("state").textContent = "That did not work.";
  } finally {
    $("send").disabled = false;
  }
});

$("next").addEventListener("click", async () => {
  problem("");
  if (!wantsKeeping()) return problem("To be rated an answer has to be kept: tick that it may be.");
  try {
    const got = await call("/v1/feedback/next", { training: $("training").checked });
    show({ id: got.answer, model: got.model, choices: [{ message: { content: got.text } }] });
    $("chosen").textContent = `Question: ${got.question} (${got.chosen === "random" ? "drawn at random" : "chosen because the reward model and the judge disagree about its answers"})`;
    $("chosen").hidden = false;
    $("state").textContent = "How good is the answer? You can edit it too.";
  } catch (error) {
    problem(error.message);
  }
});

// The answer with its stars and what can be said of it.
function show(made) {
  $("chosen").hidden = true;
  const answer = { id: made.id, text: made.choices[0].message.content || "", thumb: null };
  $("name").textContent = `Answer of ${made.model}`;
  $("text").replaceChildren(markdown(answer.text || "(an empty answer)"));
  const said = feedbackBar(answer, headers, (text) => {
    if (text !== null) $("text").replaceChildren(markdown(text));
  });
  for (const each of $("answer").querySelectorAll(".said")) each.remove();
  for (const each of document.querySelectorAll("[name=stars]")) {
    each.checked = false;
    each.onchange = () => said.send({ stars: Number(each.value) });
  }
  $("answer").append(said.bar);
  $("answer").hidden = false;
}

begin();
