"use strict";
// Everything works without this file: it adds keys and live progress.

// Progress of what is being done to a session.
const list = document.querySelector("[data-follow]");
if (list) {
  const stream = new EventSource(list.dataset.follow);
  stream.addEventListener("progress", (e) => {
    const item = document.createElement("li");
    item.textContent = e.data;
    list.append(item);
    while (list.children.length > 500) list.firstChild.remove();
    list.scrollTop = list.scrollHeight;
  });
  stream.addEventListener("end", () => {
    stream.close();
    location.reload();
  });
}

// Keys: j and k step through what can be opened, and letters reach a form's button,
// which Enter then presses: no letter decides by itself.
const steps = () => [...document.querySelectorAll("[data-step]")].filter((e) => e.offsetParent !== null);
const step = (by) => {
  const all = steps();
  const at = all.indexOf(document.activeElement);
  const to = at < 0 ? (by > 0 ? 0 : all.length - 1) : at + by;
  if (all[to]) {
    all[to].focus();
    all[to].scrollIntoView({ block: "nearest" });
  }
};
const help = () => {
  let box = document.querySelector("dialog");
  if (!box) {
    box = document.createElement("dialog");
    box.setAttribute("aria-label", "Keys");
    const keys = [["j, k", "next, previous"], ["Enter", "open, or press the button"], ["u", "to all sessions"], ["?", "these keys"]];
    for (const b of document.querySelectorAll("[data-key]")) keys.push([b.dataset.key.toLowerCase(), "to “" + b.textContent.trim() + "”"]);
    const table = document.createElement("table");
    for (const [key, what] of keys) {
      const row = table.insertRow();
      const k = document.createElement("kbd");
      k.textContent = key;
      row.insertCell().append(k);
      row.insertCell().textContent = what;
    }
    box.append(table);
    document.body.append(box);
  }
  box.showModal();
};
document.addEventListener("keydown", (e) => {
  if (e.ctrlKey || e.metaKey || e.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(e.target.tagName)) return;
  if (e.key === "j") step(1);
  else if (e.key === "k") step(-1);
  else if (e.key === "u") location.assign("/");
  else if (e.key === "?") help();
  else {
    const button = [...document.querySelectorAll("[data-key]")].find((b) => b.dataset.key.toLowerCase() === e.key.toLowerCase());
    if (!button) return;
    button.focus();
    button.scrollIntoView({ block: "nearest" });
  }
  e.preventDefault();
});
