"use strict";
// A question, two anonymous answers, a vote. The tab keeps the API key, as the chat does; nothing else.
const $ = (id) => document.getElementById(id);
let battle = null; // that waits for its vote

$("key").value = sessionStorage.getItem("stemma-arena-key") || "";
$("key").addEventListener("change", () => {
  sessionStorage.setItem("stemma-arena-key", $("key").value);
  begin();
});

function problem(text) {
  $("problem").textContent = text;
  $("problem").hidden = !text;
}

async function call(path, body) {
  const headers = $("key").value ? { authorization: `Bearer ${$("key").value}` } : {};
  if (body) headers["content-type"] = "application/json";
  const answer = await fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body) });
  const said = await answer.json();
  if (!answer.ok) throw new Error(said.error.message);
  return said;
}

async function busy(work) {
  problem("");
  for (const each of document.querySelectorAll("button")) each.disabled = true;
  try {
    await work();
  } catch (error) {
    problem(error.message);
    $("state").textContent = "That did not work.";
  } finally {
    for (const each of document.querySelectorAll("button")) each.disabled = false;
  }
}

const CHOSEN = {
  disagreement: "Chosen because the reward model and the judge disagree about it. Your vote teaches; it does not count in the ratings.",
  random: "Drawn at random from the prepared questions. Your vote counts in the ratings.",
};

function show(got) {
  battle = got.battle;
  $("asked").hidden = !CHOSEN[got.chosen];
  $("asked-text").textContent = got.question;
  $("chosen").textContent = CHOSEN[got.chosen] || "";
  for (const [place, side] of ["a", "b"].entries()) {
    $(`name-${side}`).textContent = side.toUpperCase();
    $(`answer-${side}`).replaceChildren(markdown(got.answers[place] || "(an empty answer)"));
  }
  $("reason").value = "";
  $("answers").hidden = $("vote").hidden = false;
  $("state").textContent = "Which answer is better? The models are named after your vote.";
}

$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  busy(async () => {
    $("state").textContent = "Both models are answering …";
    $("asked").hidden = $("answers").hidden = $("vote").hidden = true;
    show(await call("/v1/arena/battles", { question: $("question").value }));
  });
});

$("next").addEventListener("click", () => busy(async () => show(await call("/v1/arena/pairs", {}))));

async function showWaiting() {
  const { left } = await call("/v1/arena/pairs");
  $("next").hidden = $("waiting").hidden = !left;
  $("waiting").textContent = `${left} prepared questions wait for a vote, those first about which the reward model and the judge disagree; one in four was drawn at random.`;
}

// What reward model and judge thought of a prepared pair; said after the vote, which it must not lead.
function opinions({ reward, judge }) {
  if (reward === null) return "";
  const side = (value) => (value > 0.5 ? "A" : value < 0.5 ? "B" : "neither");
  const sure = Math.round(100 * Math.max(reward, 1 - reward));
  return ` The reward model prefers ${side(reward)} (${sure} %), the judge ${judge === null ? "gave no verdict" : `prefers ${side(judge)}`}.`;
}

$("vote").addEventListener("submit", (event) => event.preventDefault()); // Enter in the reason is no vote
for (const button of document.querySelectorAll("#vote button")) {
  button.addEventListener("click", () =>
    busy(async () => {
      const said = await call("/v1/arena/votes", {
        battle, choice: button.value, reason: $("reason").value, training: $("training").checked,
      });
      $("name-a").textContent = `A: ${said.a}`;
      $("name-b").textContent = `B: ${said.b}`;
      $("vote").hidden = true;
      $("state").textContent = `Recorded. A was ${said.a}, B was ${said.b}.${opinions(said)}`;
      await Promise.all([showBoard(), showWaiting()]);
      ($("asked").hidden || $("next").hidden ? $("question") : $("next")).focus();
    }),
  );
}

async function showBoard() {
  const board = await call("/v1/arena/leaderboard");
  const rows = board.ratings.map((each) => {
    const row = document.createElement("tr");
    const interval = `${Math.round(each.low)} to ${Math.round(each.high)}`;
    const cells = [each.model, Math.round(each.rating), interval, Math.round(each.elo), each.battles, `${each.wins} : ${each.ties} : ${each.losses}`];
    for (const cell of cells) row.append(Object.assign(document.createElement("td"), { textContent: cell }));
    return row;
  });
  $("board").tBodies[0].replaceChildren(...rows);
  $("board").hidden = !rows.length;
  $("board-note").textContent = rows.length
    ? `${board.votes} votes. Bradley-Terry ratings: 400 points are odds of ten to one; a tie is half a win for each.${board.connected ? "" : " Some versions were never compared with the others: do not compare their ratings."}${leftOut(board)}`
    : `No votes yet.${leftOut(board)}`;
}

function leftOut(board) {
  return board.left_out ? ` ${board.left_out} votes on questions that were chosen for a disagreement do not count.` : "";
}

async function showDays() {
  const { days } = await call("/v1/feedback");
  $("days").textContent = days ? `; the texts for ${days} days, the vote for good` : " until they are asked to be deleted";
}

async function begin() {
  problem("");
  try {
    await Promise.all([showBoard(), showWaiting(), showDays()]);
  } catch (error) {
    problem(error.message);
  }
}

begin();
