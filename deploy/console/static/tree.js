// Draws the family tree, and shows the card of the artifact that is chosen. Without it the list below does the same.
"use strict";

const box = document.getElementById("tree");
const panel = document.getElementById("card");
const colour = name => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
let drawing = null;

function styles() {
  return [
    { selector: "node", style: {
      shape: "round-rectangle", width: 190, height: 66, label: "data(label)", "text-wrap": "wrap", "text-max-width": 178,
      "text-valign": "center", "font-size": 12, color: colour("text"), "background-color": colour("box"),
      "border-width": 1, "border-color": colour("soft"),
    } },
    { selector: "node[type = 'model']", style: { "border-width": 3, "border-color": colour("good") } },
    { selector: "node[type = 'raw']", style: { "border-style": "dashed" } },
    { selector: "node:selected", style: { "border-width": 4, "border-color": colour("act") } },
    { selector: "edge", style: {
      width: 1.5, "curve-style": "bezier", "target-arrow-shape": "triangle", "line-color": colour("soft"),
      "target-arrow-color": colour("soft"),
    } },
  ];
}

async function show(node) {
  const address = `/artifacts/${encodeURIComponent(node.digest)}?type=${encodeURIComponent(node.type)}`;
  const answer = await fetch(address);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  panel.replaceChildren(...page.querySelectorAll("article.card, [role=alert]"));
}

function zoom(factor) {
  drawing.zoom({ level: drawing.zoom() * factor, renderedPosition: { x: drawing.width() / 2, y: drawing.height() / 2 } });
}

async function start() {
  const answer = await fetch(box.dataset.graph);
  if (!answer.ok) return; // the list below has all of it
  const { nodes, edges } = await answer.json();
  box.hidden = false;
  drawing = cytoscape({
    container: document.getElementById("drawing"),
    elements: { nodes: nodes.map(data => ({ data })), edges: edges.map(data => ({ data })) },
    style: styles(), layout: { name: "dagre", rankDir: "LR", nodeSep: 20, rankSep: 50 },
    minZoom: 0.05, maxZoom: 3, boxSelectionEnabled: false, autoungrabify: true,
  });
  drawing.on("select", "node", event => show(event.target.data()));
  document.getElementById("nearer").addEventListener("click", () => zoom(1.3));
  document.getElementById("farther").addEventListener("click", () => zoom(1 / 1.3));
  document.getElementById("whole").addEventListener("click", () => drawing.fit(undefined, 20));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawing.style(styles()));
  drawing.getElementById(nodes[0].id).select(); // the model
  box.dataset.drawn = nodes.length;
  window.familyTree = drawing;
}

start();
