// Refreshes the live part of the page. Without this script the page is complete but static.
"use strict";

(() => {
  const live = document.getElementById("live");
  const lost = document.getElementById("lost");
  const pattern = lost.textContent;
  const seconds = Number(live.dataset.seconds);

  async function renew() {
    if (document.hidden) return;
    try {
      const answer = await fetch(location.pathname, {
        headers: { Accept: "text/html" },
        signal: AbortSignal.timeout(10000),
      });
      if (!answer.ok) throw new Error(answer.statusText);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const next = page.getElementById("live");
      if (!next) throw new Error("no such part");
      replace(next);
      document.title = page.title;
      lost.hidden = true;
    } catch {
      lost.textContent = pattern.replace("{time}", live.dataset.time);
      lost.hidden = false;
    }
  }

  // Keep the focus on the reader's link.
  function replace(next) {
    const active = document.activeElement;
    const held = live.contains(active) && active.getAttribute("href");
    live.dataset.time = next.dataset.time;
    live.replaceChildren(...next.childNodes);
    if (held) live.querySelector(`a[href="${CSS.escape(held)}"]`)?.focus({ preventScroll: true });
  }

  setInterval(renew, seconds * 1000);
  document.addEventListener("visibilitychange", renew);
})();
