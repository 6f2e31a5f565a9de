"use strict";
// What a decision does, while it is made; then the page of its outcome.
const list = document.getElementById("lines");

async function look() {
  const answer = await fetch(`${location.pathname}/state`);
  const { at_work, lines } = await answer.json();
  list.replaceChildren(...lines.map((line) => Object.assign(document.createElement("li"), { textContent: line })));
  if (at_work) setTimeout(() => look().catch(again), 1000);
  else location.reload();
}

// The console may be busy, or begin anew: its page says so once it answers.
function again() {
  setTimeout(() => location.reload(), 5000);
}

if (list.dataset.atWork) look().catch(again);
