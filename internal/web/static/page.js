"use strict";
const list = document.querySelector("[data-follow]");
if (list) {
  const stream = new EventSource(list.dataset.follow);
  stream.addEventListener("progress", (e) => {
    const item = document.createElement("li");
    item.textContent = e.data;
    list.append(item);
  });
  stream.addEventListener("end", () => { stream.close(); location.reload(); });
}
