// What a report lets its reader do: choose light or dark, and move the threshold. Loads and keeps nothing.
"use strict";
const root = document.documentElement;
const theme = document.getElementById("theme");
const isDark = () =>
  root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
const showTheme = () => theme.setAttribute("aria-pressed", String(isDark()));
theme.hidden = false;
theme.addEventListener("click", () => {
  root.dataset.theme = isDark() ? "light" : "dark";
  showTheme();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", showTheme);
showTheme();

const explorer = document.getElementById("explorer");
if (explorer) {
  const table = JSON.parse(explorer.dataset.table);
  const slider = document.getElementById("threshold-slider");
  const mark = document.getElementById("threshold-mark");
  // As the page writes its numbers: four significant digits, thousands apart.
  const told = (value) => {
    if (value === null) return "–";
    if (Number.isInteger(value)) return value.toLocaleString("en-US");
    return String(Number(value.toPrecision(4)));
  };
  const show = () => {
    const place = Number(slider.value);
    const threshold = table.threshold[place];
    for (const output of explorer.querySelectorAll("[data-column]")) {
      output.textContent = told(table[output.dataset.column][place]);
    }
    document.getElementById("threshold-value").textContent = threshold.toFixed(2);
    slider.setAttribute("aria-valuetext", threshold.toFixed(2));
    if (mark) mark.setAttribute("transform", `translate(${mark.dataset.span * threshold} 0)`);
  };
  slider.addEventListener("input", show);
  document.getElementById("threshold-reset").addEventListener("click", () => {
    slider.value = slider.defaultValue;
    show();
  });
  explorer.hidden = false;
  show();
}

// On a narrow screen such a table is a list: what stands above a column is said beside each of its figures.
const roles = { TABLE: "table", THEAD: "rowgroup", TBODY: "rowgroup", TR: "row", TD: "cell" };
for (const table of document.querySelectorAll("table.stacked")) {
  const heads = [...table.tHead.rows[0].cells].map((cell) => cell.textContent);
  for (const cell of table.querySelectorAll("tbody td")) cell.dataset.label = heads[cell.cellIndex];
  for (const part of [table, ...table.querySelectorAll("thead, tbody, tr, td")]) part.role = roles[part.tagName];
  for (const cell of table.querySelectorAll("th")) cell.role = cell.scope === "row" ? "rowheader" : "columnheader";
  table.classList.add("labelled");
}

// Paper has no folded parts.
let folded = [];
addEventListener("beforeprint", () => {
  folded = [...document.querySelectorAll("details:not([open])")];
  for (const part of folded) part.open = true;
});
addEventListener("afterprint", () => {
  for (const part of folded) part.open = false;
});
