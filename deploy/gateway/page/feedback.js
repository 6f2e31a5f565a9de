"use strict";
// What a person allows to be kept, and says of an answer: thumbs, stars, an edit. Used by the chat and by /rate.

let keepDays = 0; // how long this gateway keeps answers; 0: not at all
let talkName = newTalkName(); // names this conversation to the gateway, so that it can be deleted as a whole

function newTalkName() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

// Ask the gateway what it keeps, and show the question that goes with it.
async function loadKeeping(headers) {
  const response = await fetch("/v1/feedback", { headers });
  keepDays = response.ok ? (await response.json()).days : 0;
  document.getElementById("consent").hidden = !keepDays;
  showKeeping();
}

function showKeeping() {
  document.getElementById("kept").textContent =
    `Kept for ${keepDays} days, with the name of your API key. E-mail addresses, phone, card and account numbers and keys are ` +
    `replaced first; names are not recognised, so leave them out. This conversation is ${talkName}: ` +
    "whoever runs this gateway can delete it by that name.";
}

function wantsKeeping() {
  return keepDays > 0 && document.getElementById("keep").checked;
}

// The fields of a request whose answer is to be kept; none where it is not.
function keeping() {
  if (!wantsKeeping()) return {};
  const training = document.getElementById("training").checked ? { training: "yes" } : {};
  return { store: true, metadata: { conversation: talkName, ...training } };
}

document.getElementById("keep").addEventListener("change", () => {
  if (!document.getElementById("keep").checked) document.getElementById("training").checked = false;
});
document.getElementById("training").addEventListener("change", () => {
  if (document.getElementById("training").checked) document.getElementById("keep").checked = true;
});

// Buttons below an answer that was kept.
//
// answer: {id, text, thumb}, changed by what is said; headers: of a request; edited: called with the new text.
function feedbackBar(answer, headers, edited) {
  const bar = element("div");
  const state = element("span");
  bar.className = "said";
  bar.setAttribute("role", "group");
  bar.setAttribute("aria-label", "Your feedback");
  state.setAttribute("aria-live", "polite");

  async function send(said) {
    try {
      const response = await fetch("/v1/feedback", {
        method: "POST", headers: headers(), body: JSON.stringify({ answer: answer.id, ...said }),
      });
      if (!response.ok) throw new Error((await response.json()).error.message);
      state.textContent = "Recorded.";
      return true;
    } catch (error) {
      state.textContent = error.message;
      return false;
    }
  }

  const thumbs = [["up", "Good answer"], ["down", "Bad answer"]].map(([thumb, label]) => {
    const button = element("button", label);
    button.type = "button";
    button.setAttribute("aria-pressed", answer.thumb === thumb);
    button.addEventListener("click", async () => {
      if (!(await send({ thumb }))) return;
      answer.thumb = thumb;
      for (const each of thumbs) each.setAttribute("aria-pressed", each === button);
      edited(null);
    });
    return button;
  });

  const open = element("button", "Edit the answer");
  open.type = "button";
  open.addEventListener("click", () => {
    const text = element("textarea");
    const save = element("button", "Save");
    const cancel = element("button", "Cancel");
    text.value = answer.text;
    text.rows = 5;
    text.maxLength = 32768;
    text.setAttribute("aria-label", "The answer as it should have been");
    save.type = cancel.type = "button";
    const close = () => {
      for (const each of [text, save, cancel]) each.remove();
      open.hidden = false;
      open.focus();
    };
    cancel.addEventListener("click", close);
    save.addEventListener("click", async () => {
      if (!text.value.trim() || !(await send({ edit: text.value }))) return;
      answer.text = text.value;
      edited(text.value);
      close();
    });
    open.hidden = true;
    bar.append(text, save, cancel);
    text.focus();
  });
  bar.append(...thumbs, open, state);
  return { bar, send };
}
