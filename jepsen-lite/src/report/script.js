// Zoom, filters, and a line that reads out what the mouse points at. The page says everything without it.
"use strict";
(() => {
  const root = document.documentElement;
  addEventListener("error", (event) => { root.dataset.error = event.message; });

  const WIDE = 100000;
  const make = (name, properties, ...children) => {
    const element = Object.assign(document.createElement(name), properties);
    element.append(...children);
    return element;
  };

  // What a drawing shows: from where on, and how much, in the units of its shapes.
  class Zoom {
    constructor(figure) {
      this.figure = figure;
      this.plot = figure.querySelector(".plot");
      this.shapes = figure.querySelector(".shapes");
      const words = [...figure.querySelectorAll(".words text")];
      this.words = words.map((text) => ({ text, x: parseFloat(text.getAttribute("x")) }));
      this.height = this.plot.getAttribute("height");
      this.from = Number(figure.dataset.from);
      this.until = Number(figure.dataset.until);
      this.own = [];
      this.out = make("output", {});
      this.show(0, WIDE);
      const button = (text, label, act) => {
        const made = make("button", { type: "button", textContent: text, onclick: act });
        made.setAttribute("aria-label", label);
        return made;
      };
      const part = (share, factor) => () => {
        const width = this.width * factor;
        this.show(this.x + this.width * share + (this.width - width) / 2, width);
      };
      this.tools = make("div", { className: "tools" },
        button("+", "zoom in", part(0, 1 / 3)), button("−", "zoom out", part(0, 3)),
        button("◀", "earlier", part(-0.5, 1)), button("▶", "later", part(0.5, 1)),
        button("all", "show all", () => this.show(0, WIDE)));
      figure.querySelector(".sheet").before(this.tools);
      this.tools.append(this.out);
      this.listen();
    }

    // Another part. It stays inside of what there is.
    show(x, width) {
      this.width = Math.min(WIDE, Math.max(width, 1));
      this.x = Math.min(Math.max(x, 0), WIDE - this.width);
      this.shapes.setAttribute("viewBox", `${this.x} 0 ${this.width} ${this.height}`);
      const whole = this.width === WIDE;
      for (const { text, x } of this.words) {
        const place = (x * WIDE / 100 - this.x) / this.width * 100;
        text.setAttribute("x", `${place}%`);
        const tick = text.classList.contains("tick");
        text.style.display = (whole || !tick) && place >= -0.01 && place <= 100.01 ? "" : "none";
      }
      this.own.forEach((text) => text.remove());
      this.own = [];
      if (!whole) this.ticks();
      this.labels();
    }

    word(text, className, x, y, anchor) {
      const made = document.createElementNS("http://www.w3.org/2000/svg", "text");
      for (const [name, value] of Object.entries({ class: className, x: `${x}%`, y, "text-anchor": anchor })) {
        made.setAttribute(name, value);
      }
      if (anchor === "start") made.setAttribute("dx", 4);
      made.textContent = text;
      this.plot.querySelector(".words").append(made);
      this.own.push(made);
    }

    // Round times, while only a part is shown.
    ticks() {
      const span = (this.until - this.from) / 1e9;
      const from = this.from / 1e9 + this.x / WIDE * span;
      const shown = this.width / WIDE * span;
      const power = 10 ** Math.floor(Math.log10(shown / 6));
      const step = [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= shown / 6);
      const decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
      for (let n = Math.ceil(from / step); n * step <= from + shown; n++) {
        const place = (n * step - from) / shown * 100;
        if (place < 4 || place > 96) continue;
        this.word(`${(n * step).toFixed(decimals)} s`, "tick", place, this.height - 3, "middle");
      }
    }

    // What was asked, on bars that have become wide enough.
    labels() {
      if (!this.figure.classList.contains("operations") || this.width > WIDE / 4) return;
      const pixels = this.plot.clientWidth / this.width;
      for (const bar of this.shapes.querySelectorAll("rect.o, rect.f, rect.u")) {
        const [x, width] = [bar.x.baseVal.value, bar.width.baseVal.value];
        if (this.own.length > 300 || width * pixels < 60 || x + width < this.x || x > this.x + this.width) continue;
        const begin = Math.max(x, this.x);
        const room = Math.floor((x + width - begin) * pixels / 6.5) - 1;
        const said = bar.textContent.replace(/^\d+: /, "").replace(/, \S+ s \+.*$/, "");
        if (room < 4 || bar.classList.contains("dim")) continue;
        const shown = said.length > room ? `${said.slice(0, room - 1)}…` : said;
        const place = (begin - this.x) / this.width * 100;
        const ink = bar.classList.contains("o") ? "inscribed" : "in-bar";
        this.word(shown, ink, place, bar.y.baseVal.value + 9.5, "start");
      }
    }

    // The times that are asked for, if there are any of them here.
    times(from, until) {
      const units = (ns) => (ns - this.from) / (this.until - this.from) * WIDE;
      if (until >= this.from && from <= this.until) this.show(units(from), units(until) - units(from));
    }

    // Drag over a part to see it; twice a click for all. Whatever is pointed at is read out.
    listen() {
      let begun = null;
      let choice = null;
      const place = (event) => {
        const box = this.plot.getBoundingClientRect();
        return this.x + Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1) * this.width;
      };
      this.plot.addEventListener("pointerdown", (event) => {
        if (event.button !== 0) return;
        begun = place(event);
        this.plot.setPointerCapture(event.pointerId);
      });
      this.plot.addEventListener("pointermove", (event) => {
        const title = event.target.closest("rect")?.querySelector("title") ?? null;
        this.out.textContent = title ? title.textContent : "";
        if (begun === null) return;
        const now = place(event);
        if (!choice) {
          choice = document.createElementNS("http://www.w3.org/2000/svg", "rect");
          choice.setAttribute("class", "choice");
          choice.setAttribute("height", this.height);
          this.shapes.append(choice);
        }
        choice.setAttribute("x", Math.min(begun, now));
        choice.setAttribute("width", Math.abs(now - begun));
      });
      const end = (event) => {
        const from = begun;
        begun = null;
        choice?.remove();
        choice = null;
        if (from === null || event.type !== "pointerup") return;
        const until = place(event);
        if (Math.abs(until - from) > this.width / 100) this.show(Math.min(from, until), Math.abs(until - from));
      };
      this.plot.addEventListener("pointerup", end);
      this.plot.addEventListener("pointercancel", end);
      this.plot.addEventListener("dblclick", () => this.show(0, WIDE));
    }

    // Only these outcomes, and only bars whose words have this in them.
    filter(outcomes, words) {
      for (const bar of this.shapes.querySelectorAll("rect.o, rect.f, rect.u")) {
        const wanted = outcomes.some((outcome) => bar.classList.contains(outcome));
        const said = words === "" || bar.textContent.toLowerCase().includes(words);
        bar.classList.toggle("dim", !(wanted && said));
      }
      this.show(this.x, this.width);
    }

    offerFilters() {
      const boxes = { o: "ok", f: "refused", u: "unknown" };
      const search = make("input", { type: "search", placeholder: "key, value, process:" });
      search.setAttribute("aria-label", "show only operations with these words");
      const checks = Object.entries(boxes).map(([value, word]) => {
        const box = make("input", { type: "checkbox", checked: true, value });
        return { box, label: make("label", {}, box, ` ${word}`) };
      });
      const apply = () => {
        const outcomes = checks.filter(({ box }) => box.checked).map(({ box }) => box.value);
        this.filter(outcomes, search.value.toLowerCase());
      };
      checks.forEach(({ box }) => { box.onchange = apply; });
      search.oninput = apply;
      this.out.before(...checks.map(({ label }) => label), search);
    }
  }

  const zooms = [...document.querySelectorAll(".zooms")].map((figure) => {
    const zoom = new Zoom(figure);
    if (figure.classList.contains("operations")) zoom.offerFilters();
    return zoom;
  });

  for (const row of document.querySelectorAll(".faults tbody tr")) {
    const [from, until] = [Number(row.dataset.from), Number(row.dataset.until)];
    const room = Math.max((until - from) / 2, 2e8);
    const show = make("button", { type: "button", textContent: "show", title: "zoom all drawings to this fault" });
    show.onclick = () => zooms.forEach((zoom) => zoom.times(from - room, until + room));
    row.cells[0].append(" ", show);
  }
  root.dataset.ready = "yes";
})();
