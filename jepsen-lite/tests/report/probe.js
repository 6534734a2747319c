// Runs in the page after its own script, tries what can be tried, and writes down what it finds.
"use strict";
(() => {
  const found = {};
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const visible = (element) => element.getClientRects().length > 0;
  const shown = (element) => element.getBoundingClientRect();

  found.wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  found.sections = all("main > section").map((section) => section.id);
  found.fetched = performance.getEntriesByType("resource").map((entry) => entry.name);
  found.images = all("img, iframe, link, script[src]").length;
  found.charts = all("figure.chart").length;
  found.empty = all(".plot").filter((plot) => shown(plot).width < 300 || shown(plot).height < 30).length;

  // Bands that can be seen: those drawn here, and those used from the definitions.
  const defined = all("#bands rect").length;
  found.bands = all("figure.chart").map((figure) =>
    all("rect.band", figure).length + all('use[href="#bands"]', figure).length * defined);

  // Words must neither be cut off at an edge nor lie upon each other.
  const words = (plot) => all("text", plot).filter(visible);
  found.clipped = all(".plot, .gutter").flatMap((plot) => words(plot).filter((text) => {
    const [inner, outer] = [shown(text), shown(plot)];
    const across = inner.left < outer.left - 2 || inner.right > outer.right + 2;
    return across || inner.top < outer.top - 2 || inner.bottom > outer.bottom + 2;
  }).map((text) => text.textContent));
  found.overlapping = all(".plot, .gutter").flatMap((plot) => {
    const boxes = words(plot).map((text) => [shown(text), text.textContent]);
    const hidden = [];
    boxes.forEach(([a, first], place) => boxes.slice(place + 1).forEach(([b, second]) => {
      const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (across > 2 && down > 4) hidden.push(`${first} / ${second}`);
    }));
    return hidden;
  });
  found.operations = all(".anomaly [data-op]").length;
  found.invisible = all(".anomaly [data-op]").filter((bar) => shown(bar).width <= 0).length;
  found.culprits = all(".anomaly rect.culprit").length;

  // Zoom in, see a fault, filter, and see all again.
  const operations = document.querySelector("figure.operations");
  if (operations) {
    const box = () => operations.querySelector(".shapes").getAttribute("viewBox");
    const press = (label) => operations.querySelector(`[aria-label="${label}"]`).click();
    found.whole = box();
    press("zoom in");
    found.zoomed = box();
    press("later");
    found.later = box();
    found.ticks = all(".tick", operations.querySelector(".plot")).filter(visible).length;
    press("show all");
    found.again = box();
    all(".faults tbody button")[0]?.click();
    found.fault = box();
    press("show all");
    const refused = operations.querySelector('input[value="f"]');
    refused.click();
    found.dim = all("rect.f.dim", operations).length - all("rect.f", operations).length;
    refused.click();
    found.dimAgain = all(".dim", operations).length;
  }
  found.ready = document.documentElement.dataset.ready ?? null;
  found.error = document.documentElement.dataset.error ?? null;
  const out = document.createElement("pre");
  out.id = "probe";
  out.textContent = JSON.stringify(found);
  document.body.append(out);
})();
