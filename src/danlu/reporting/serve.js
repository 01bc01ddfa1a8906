// What the page of a server does: sends the form's row, shows the answer, its explanation and the drift. Keeps nothing.
"use strict";
const dataElement = document.getElementById("serve-data");
if (dataElement) {
  const { model, path, columns, words } = JSON.parse(dataElement.textContent);
  const one = (id) => document.getElementById(id);
  const fields = [...document.querySelectorAll("[data-column]")];
  const number = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;
  let file = null;
  let answered = null;

  const element = (kind, text, name) => {
    const made = document.createElement(kind);
    if (text !== undefined) made.textContent = text;
    if (name) made.className = name;
    return made;
  };
  const shown = (value) =>
    typeof value !== "number" || Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(4)));
  const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);

  const asBase64 = (blob) =>
    new Promise((resolve, reject) => {
      const reader = new FileReader();
      reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
      reader.onerror = () => reject(reader.error);
      reader.readAsDataURL(blob);
    });

  const isOther = (field) => field.selectedOptions?.[0]?.hasAttribute("data-other") ?? false;
  for (const field of fields.filter((each) => each.tagName === "SELECT")) {
    field.addEventListener("change", () => {
      field.nextElementSibling.hidden = !isOther(field); // a word that the training did not have
      if (isOther(field)) field.nextElementSibling.focus();
    });
  }

  const cell = async (field) => {
    const column = columns[field.dataset.column];
    if (column.type === "image") return file === null ? null : asBase64(file);
    const text = isOther(field) ? field.nextElementSibling.value : field.value;
    if (column.type === "tokens") return text.split(/\s+/).filter(Boolean);
    if (column.type === "nested") return /^\s*[[{]/.test(text) ? JSON.parse(text) : text;
    if (column.wide) return text;
    const bare = text.trim();
    if (bare === "") return null;
    return column.type === "number" && number.test(bare) ? Number(bare) : text;
  };

  const send = async (explain) => {
    const row = {};
    for (const field of fields) row[columns[field.dataset.column].name] = await cell(field);
    const headers = { "content-type": "application/json" };
    if (one("secret").value) headers.authorization = `Bearer ${one("secret").value}`;
    const began = performance.now();
    const body = JSON.stringify({ rows: [row], explain });
    const response = await fetch(path, { method: "POST", headers, body });
    if (response.status === 401) one("key").hidden = false;
    const told = await response.json();
    return { told, ms: performance.now() - began };
  };

  const bar = (name, share, text, isSigned) => {
    const line = element("div", undefined, "share");
    const track = element("div", undefined, isSigned ? "bar two" : "bar");
    const filled = element("i");
    const width = Math.min(1, Math.abs(share)) * (isSigned ? 50 : 100);
    filled.style.width = `${width}%`;
    filled.style.left = isSigned ? `${share < 0 ? 50 - width : 50}%` : "0";
    if (share < 0) filled.className = "less";
    track.append(filled);
    line.append(element("span", name), track, element("span", text, "n"));
    return line;
  };

  const showShares = (shares) => {
    const sorted = Object.entries(shares).sort((a, b) => b[1] - a[1]);
    one("shares").replaceChildren(
      ...sorted.slice(0, 20).map(([name, share]) => bar(name, share, `${(100 * share).toFixed(1)} %`, false)),
    );
  };

  const showExplanation = (values) => {
    const largest = Math.max(...values.map((each) => Math.abs(each.value ?? 0)), 1e-12);
    const sorted = [...values].sort((a, b) => Math.abs(b.value ?? 0) - Math.abs(a.value ?? 0));
    const digits = Math.max(0, 2 - Math.floor(Math.log10(largest))); // of all alike, three of the largest
    const text = (each) => (each.value === null ? "–" : (each.value > 0 ? "+" : "") + each.value.toFixed(digits));
    one("shap").replaceChildren(
      element("h3", words.explained),
      element("p", words.meaning),
      ...sorted.slice(0, 30).map((each) => bar(each.name, (each.value ?? 0) / largest, text(each), true)),
    );
  };

  const refuse = (message, column) => {
    one("problem").textContent = message;
    one("problem").hidden = false;
    for (const field of fields) {
      const isWrong = columns[field.dataset.column].name === column;
      field.closest(".field").classList.toggle("wrong", isWrong);
      field.setAttribute("aria-invalid", String(isWrong));
    }
  };

  const show = ({ told, ms }) => {
    for (const id of ["shares", "others", "shap"]) one(id).replaceChildren();
    one("prediction").textContent = "";
    one("source").textContent = "";
    one("answer").hidden = false;
    refuse("", null);
    one("problem").hidden = true;
    answered = null;
    if (!told.answers) return refuse(told.error ?? words.failed, told.field ?? null);
    const answer = told.answers[0];
    one("source").textContent = fill(words.source, { version: told.version, digest: told.digest.slice(0, 12), ms: ms.toFixed(0) });
    if (answer.error) return refuse(answer.error.message, answer.error.column);
    const { prediction, probabilities, explanation, ...others } = answer;
    if (prediction !== undefined) {
      one("prediction").textContent = Array.isArray(prediction) ? prediction.join(", ") || "–" : shown(prediction);
    }
    if (probabilities) showShares(probabilities);
    const list = element("dl");
    for (const [name, value] of Object.entries(others)) {
      const text = Array.isArray(value) ? value.join(", ") : shown(value);
      list.append(element("dt", words.names[name] ?? name), element("dd", text));
    }
    if (list.children.length) one("others").append(list);
    if (explanation) showExplanation(explanation);
    answered = answer;
  };

  const ask = async (explain) => {
    const buttons = [one("send"), one("explain")].filter(Boolean);
    for (const button of buttons) button.disabled = true;
    one("state").textContent = explain ? words.explaining : words.sending;
    try {
      show(await send(explain));
    } catch (error) {
      show({ told: { error: error instanceof SyntaxError ? String(error.message) : words.failed }, ms: 0 });
    }
    one("state").textContent = "";
    for (const button of buttons) button.disabled = false;
    if (one("explain")) one("explain").hidden = answered === null;
  };

  one("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    ask(false);
  });
  if (one("explain")) one("explain").addEventListener("click", () => ask(true));

  const drop = one("drop");
  if (drop) {
    const input = drop.querySelector("input");
    const take = async (chosen) => {
      if (!chosen) return;
      file = chosen;
      one("preview").src = `data:${chosen.type || "image/png"};base64,${await asBase64(chosen)}`;
      one("preview").hidden = false;
      ask(false);
    };
    input.addEventListener("change", () => take(input.files[0]));
    for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
      drop.addEventListener(kind, (event) => {
        event.preventDefault();
        drop.classList.toggle("over", kind === "dragenter" || kind === "dragover");
      });
    }
    drop.addEventListener("drop", (event) => take(event.dataTransfer.files[0]));
  }

  one("compare").addEventListener("click", async () => {
    const headers = one("secret").value ? { authorization: `Bearer ${one("secret").value}` } : {};
    const list = one("findings");
    try {
      const response = await fetch(`/drift?model=${encodeURIComponent(model)}&lang=${document.documentElement.lang.slice(0, 2)}`, { headers });
      if (response.status === 401) one("key").hidden = false;
      const told = await response.json();
      const found = (told.findings ?? []).map((each) => element("li", each.text ?? `${each.subject}: ${each.message}`));
      list.replaceChildren(
        element("li", told.error ?? fill(words.compared, { rows: told.rows, seen: told.seen, errors: told.errors })),
        ...found,
        ...(told.error || found.length || !told.rows ? [] : [element("li", words.same)]),
      );
    } catch {
      list.replaceChildren(element("li", words.failed));
    }
  });
}
