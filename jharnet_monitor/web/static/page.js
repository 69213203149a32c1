// Renews the live part of a page. Without this script the page is complete but static. The status
// page is sent what changes; other pages, and one whose stream breaks, ask every few seconds.
"use strict";

(() => {
  const live = document.getElementById("live");
  const lost = document.getElementById("lost");
  const pattern = lost.textContent;
  const address = live.dataset.events;
  let stream = null;
  let soon = null;
  let heard = 0;

  async function renew() {
    if (document.hidden) return;
    try {
      const answer = await fetch(location.pathname + location.search, {
        headers: { Accept: "text/html" },
        signal: AbortSignal.timeout(10000),
      });
      if (!answer.ok) throw new Error(answer.statusText);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const next = page.getElementById("live");
      if (!next) throw new Error("no such part");
      keepingFocus(() => {
        for (const group of live.querySelectorAll("details[open]")) {
          const same = group.id && next.querySelector(`#${CSS.escape(group.id)}`);
          if (same) same.open = true;
        }
        live.dataset.time = next.dataset.time;
        live.replaceChildren(...next.childNodes);
      });
      document.title = page.title;
      lost.hidden = true;
      watch();
    } catch {
      lost.textContent = pattern.replace("{time}", live.dataset.time);
      lost.hidden = false;
    }
  }

  // While something runs that the reader started, look more often.
  function watch() {
    clearTimeout(soon);
    if (live.querySelector("[data-poll]")) soon = setTimeout(renew, 2000);
  }

  // Keep the focus on the reader's link.
  function keepingFocus(change) {
    const active = document.activeElement;
    const focused = live.contains(active) && active.getAttribute("href");
    change();
    if (focused) live.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  }

  function apply(message) {
    const rows = document.getElementById("rows");
    keepingFocus(() => {
      for (const [id, html] of Object.entries(message.parts)) {
        const template = document.createElement("template");
        template.innerHTML = html;
        const old = document.getElementById(id);
        if (old) old.replaceWith(template.content);
        else if (rows && id.startsWith("row-")) rows.append(template.content);
      }
      for (const row of [...(rows?.children ?? [])]) {
        if (!message.order.includes(row.id)) row.remove();
      }
      for (const [place, id] of message.order.entries()) {
        const row = document.getElementById(id);
        if (row && rows.children[place] !== row) rows.insertBefore(row, rows.children[place]);
      }
    });
    live.dataset.time = message.time;
    document.title = `${message.title} · ${document.title.split(" · ").at(-1)}`;
    if (message.order.length && !rows) renew();
  }

  function listen() {
    stream?.close();
    if (!address || !window.EventSource || document.hidden) return;
    stream = new EventSource(address);
    stream.onmessage = (event) => {
      heard = Date.now();
      apply(JSON.parse(event.data));
      lost.hidden = true;
    };
  }

  setInterval(() => {
    if (Date.now() - heard > 1500 * Number(live.dataset.seconds)) renew();
  }, Number(live.dataset.seconds) * 1000);
  document.addEventListener("visibilitychange", () => {
    renew();
    listen();
  });
  listen();
  watch();
})();
