// What would another line change? Two sliders; the hub simulates calls over the line that they give.
"use strict";

(() => {
  const panel = document.getElementById("whatif");
  if (!panel) return;
  const rate = document.getElementById("whatif-rate");
  const loss = document.getElementById("whatif-loss");
  const verdict = panel.querySelector(".verdict");
  const rates = ["", "0.5M", "1M", "2M", "4M", "8M", "10M", "20M"];
  const losses = ["", "0%", "1%", "2%", "5%", "10%"];
  let question = 0;

  const shown = (text) => text.replace("M", " Mbit/s").replace("%", " %");

  function label() {
    for (const [slider, steps] of [[rate, rates], [loss, losses]]) {
      const text = shown(steps[Number(slider.value)]) || panel.dataset.asMeasured;
      slider.nextElementSibling.value = text;
      slider.setAttribute("aria-valuetext", text);
    }
  }

  async function ask() {
    const mine = ++question;
    const query = new URLSearchParams();
    if (rates[rate.value]) query.set("rate", rates[rate.value]);
    if (losses[loss.value]) query.set("loss", losses[loss.value]);
    verdict.textContent = panel.dataset.waiting;
    try {
      const answer = await fetch(`${panel.dataset.address}?${query}`, {
        signal: AbortSignal.timeout(90000),
      });
      if (!answer.ok) throw new Error(answer.statusText);
      const found = await answer.json();
      if (mine === question) draw(found);
    } catch {
      if (mine === question) verdict.textContent = panel.dataset.failed;
    }
  }

  function draw(found) {
    const names = new Map();
    for (const bar of panel.querySelectorAll("rect.share")) {
      const share = found.probabilities[bar.dataset.grade];
      bar.setAttribute("width", `${100 * share}%`);
      panel.querySelector(`text.number[data-grade="${bar.dataset.grade}"]`).textContent =
        `${Math.round(100 * share)} %`;
      names.set(bar.dataset.grade, bar.parentElement.previousElementSibling.textContent);
    }
    const name = names.get(String(found.grade));
    const said = (selector) => panel.querySelector(selector).content.textContent;
    verdict.textContent = found.borderline_grade === null
      ? `${name} · ${said("template[data-certain]")}`
      : panel.dataset.borderline.replace("{text}", name)
        .replace("{other}", said(`template[data-other="${found.borderline_grade}"]`));
  }

  let timer = 0;
  for (const slider of [rate, loss]) {
    slider.addEventListener("input", () => {
      label();
      clearTimeout(timer);
      timer = setTimeout(ask, 400);
    });
  }
  panel.hidden = false;
  label();
})();
