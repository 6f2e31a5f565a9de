"use strict";
// Markdown as DOM nodes. Every text goes through textContent and only http(s) and mailto links become links, so that
// nothing a model writes can become markup, a script or a request: images stay text.

const BULLET = /^ {0,8}[-*+] +/;
const NUMBER = /^ {0,8}\d{1,9}[.)] +/;
const FENCE = /^ {0,3}(```+|~~~+)/;

// The blocks of a text, as one DocumentFragment.
function markdown(text) {
  const made = document.createDocumentFragment();
  const lines = text.split("\n");
  for (let at = 0; at < lines.length;) {
    const line = lines[at];
    const fence = line.match(FENCE);
    if (!line.trim()) at += 1;
    else if (fence) {
      const code = [];
      for (at += 1; at < lines.length && !lines[at].trim().startsWith(fence[1]); at += 1) code.push(lines[at]);
      at += 1; // the closing fence; an answer that is still written has none
      const pre = element("pre");
      pre.append(element("code", code.join("\n")));
      made.append(pre);
    } else if (/^#{1,6} /.test(line)) {
      // The page has its own first two levels.
      made.append(inlined(element(`h${Math.min(6, line.indexOf(" ") + 2)}`), line.replace(/^#+ +/, "").replace(/ +#+ *$/, "")));
      at += 1;
    } else if (/^ {0,3}([-*_])( *\1){2,} *$/.test(line)) {
      made.append(element("hr"));
      at += 1;
    } else if (BULLET.test(line) || NUMBER.test(line)) {
      const marker = BULLET.test(line) ? BULLET : NUMBER;
      const list = element(marker === BULLET ? "ul" : "ol");
      if (marker === NUMBER) list.start = parseInt(line, 10);
      while (at < lines.length && marker.test(lines[at])) {
        const item = [lines[at].replace(marker, "")];
        for (at += 1; at < lines.length && /^ {2,}\S/.test(lines[at]) && !marker.test(lines[at]); at += 1) item.push(lines[at].trim());
        list.append(inlined(element("li"), item.join("\n")));
      }
      made.append(list);
    } else if (/^ {0,3}>/.test(line)) {
      const quoted = [];
      for (; at < lines.length && /^ {0,3}>/.test(lines[at]); at += 1) quoted.push(lines[at].replace(/^ {0,3}> ?/, ""));
      const quote = element("blockquote");
      quote.append(markdown(quoted.join("\n")));
      made.append(quote);
    } else {
      const paragraph = [];
      for (; at < lines.length && lines[at].trim() && !beginsBlock(lines[at], paragraph.length); at += 1) paragraph.push(lines[at]);
      made.append(inlined(element("p"), paragraph.join("\n")));
    }
  }
  return made;
}

function beginsBlock(line, before) {
  return before > 0 && (FENCE.test(line) || /^#{1,6} /.test(line) || BULLET.test(line) || /^ {0,3}>/.test(line));
}

// Code, bold, italic and links inside a line; the first that begins wins.
const INLINE = /(`+)([^`]|[^`][\s\S]*?[^`])\1(?!`)|\*\*(?=\S)([\s\S]*?\S)\*\*|\*(?=\S)([^*\n]*?[^\s*])\*|\[([^\]\n]+)\]\((https?:\/\/[^\s()<>]+|mailto:[^\s()<>]+)\)/;

function inlined(parent, text) {
  let rest = text;
  for (let found = INLINE.exec(rest); found; found = INLINE.exec(rest)) {
    parent.append(rest.slice(0, found.index));
    const [whole, , code, bold, italic, label, address] = found;
    if (code !== undefined) parent.append(element("code", code));
    else if (bold !== undefined) parent.append(inlined(element("strong"), bold));
    else if (italic !== undefined) parent.append(inlined(element("em"), italic));
    else {
      const link = element("a", label);
      link.href = address;
      link.target = "_blank";
      link.rel = "noopener noreferrer";
      parent.append(link);
    }
    rest = rest.slice(found.index + whole.length);
  }
  parent.append(rest);
  return parent;
}

function element(name, text) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  return made;
}
