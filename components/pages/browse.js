// Search, filters and paging in the lists of documents of a page. Without this script all documents are shown.
"use strict";
for (const list of document.querySelectorAll(".browser")) {
  const items = [...list.querySelectorAll(".item")];
  const texts = items.map(item => item.textContent.toLowerCase());
  const controls = list.querySelector(".controls");
  const [search, count] = [controls.querySelector("input"), controls.querySelector("output")];
  const selects = [...controls.querySelectorAll("select")];
  const [back, forward] = controls.querySelectorAll("button");
  const size = 10;
  let page = 0;

  function show() {
    const wanted = search.value.trim().toLowerCase();
    const chosen = selects.filter(select => select.value);
    const found = items.filter((item, number) =>
      texts[number].includes(wanted) && chosen.every(select => item.dataset[select.name] === select.value));
    const pages = Math.max(1, Math.ceil(found.length / size));
    page = Math.min(Math.max(page, 0), pages - 1);
    const shown = new Set(found.slice(page * size, page * size + size));
    for (const item of items) item.hidden = !shown.has(item);
    count.textContent = found.length
      ? `${page * size + 1}–${page * size + shown.size} of ${found.length}` : `none of ${items.length}`;
    back.disabled = page === 0;
    forward.disabled = page === pages - 1;
    mark(shown, wanted);
  }

  // The phrase is marked beside the text, not in it, where the browser can.
  function mark(shown, wanted) {
    if (!window.Highlight || !CSS.highlights) return;
    const ranges = [];
    for (const item of wanted ? shown : []) {
      const walker = document.createTreeWalker(item, NodeFilter.SHOW_TEXT);
      while (walker.nextNode()) {
        const text = walker.currentNode.data.toLowerCase();
        if (text.length !== walker.currentNode.data.length) continue;
        for (let at = text.indexOf(wanted); at >= 0; at = text.indexOf(wanted, at + wanted.length)) {
          const range = new Range();
          range.setStart(walker.currentNode, at);
          range.setEnd(walker.currentNode, at + wanted.length);
          ranges.push(range);
        }
      }
    }
    list.ranges = ranges;
    CSS.highlights.set("found", new Highlight(...[...document.querySelectorAll(".browser")].flatMap(l => l.ranges ?? [])));
  }

  function turn(by) {
    page += by;
    show();
    list.scrollIntoView({block: "start"});
  }

  for (const input of [search, ...selects]) input.addEventListener("input", () => { page = 0; show(); });
  back.addEventListener("click", () => turn(-1));
  forward.addEventListener("click", () => turn(1));
  list.addEventListener("keydown", event => {
    if (event.target === search && event.key === "Escape") { search.value = ""; page = 0; show(); }
    if (event.ctrlKey || event.altKey || event.metaKey || event.target.matches("input, select")) return;
    if (event.key === "ArrowLeft" && !back.disabled) turn(-1);
    if (event.key === "ArrowRight" && !forward.disabled) turn(1);
  });
  controls.hidden = false;
  show();
}
addEventListener("keydown", event => {
  if (event.key !== "/" || event.target.matches("input, select, textarea")) return;
  const inputs = [...document.querySelectorAll(".browser input")];
  const next = inputs.find(input => input.getBoundingClientRect().bottom > 0) ?? inputs[0];
  if (next) { event.preventDefault(); next.focus(); }
});
