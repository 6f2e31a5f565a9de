"use strict";
// A question, two anonymous answers, a vote. The tab keeps the API key, as the chat does; nothing else.
const $ = (id) => document.getElementById(id);
let battle = null; // that waits for its vote

$("key").value = sessionStorage.getItem("stemma-arena-key") || "";
$("key").addEventListener("change", () => sessionStorage.setItem("stemma-arena-key", $("key").value));

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

$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  busy(async () => {
    $("state").textContent = "Both models are answering …";
    $("answers").hidden = $("vote").hidden = true;
    const got = await call("/v1/arena/battles", { question: $("question").value });
    battle = got.battle;
    for (const [place, side] of ["a", "b"].entries()) {
      $(`name-${side}`).textContent = side.toUpperCase();
      $(`answer-${side}`).replaceChildren(markdown(got.answers[place] || "(an empty answer)"));
    }
    $("reason").value = "";
    $("answers").hidden = $("vote").hidden = false;
    $("state").textContent = "Which answer is better? The models are named after your vote.";
  });
});

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
      $("state").textContent = `Recorded. A was ${said.a}, B was ${said.b}.`;
      await showBoard();
      $("question").focus();
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
    ? `${board.votes} votes. Bradley-Terry ratings: 400 points are odds of ten to one; a tie is half a win for each.${board.connected ? "" : " Some versions were never compared with the others: do not compare their ratings."}`
    : "No votes yet.";
}

async function showDays() {
  const { days } = await call("/v1/feedback");
  $("days").textContent = days ? `; the texts for ${days} days, the vote for good` : " until they are asked to be deleted";
}

Promise.all([showBoard(), showDays()]).catch((error) => problem(error.message));
