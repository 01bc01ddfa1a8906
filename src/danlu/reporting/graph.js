// The graph of a network as a tree of modules in the order in which they run, with what flows between them in the margin.
// Everything comes from the page itself; nothing is loaded or kept.
{
  const read = document.getElementById("graph-data");
  const { nodes, edges, modules, failed, words } = JSON.parse(read.textContent);
  const tree = document.getElementById("tree");
  const details = document.getElementById("details");
  const depthBox = document.getElementById("depth");
  const measureBox = document.getElementById("measure");
  const find = document.getElementById("find");
  const found = document.getElementById("found");
  const MOST_LINES = 40; // shown at first
  const LANE = 9; // pixels between two lanes of the margin
  const MOST_LANES = 12; // further ones share the outermost

  // The tree: a module holds modules and nodes, in the order of its first node.
  const items = new Map();
  for (const module of modules) {
    items.set("m:" + module.id, { ...module, key: "m:" + module.id, of: module.parent === null ? null : "m:" + module.parent, children: [], open: false, first: Infinity });
  }
  nodes.forEach((node, place) => {
    const item = { ...node, key: "n:" + node.id, of: "m:" + node.module, children: null, first: place };
    items.set(item.key, item);
    for (let up = items.get(item.of); up; up = items.get(up.of)) up.first = Math.min(up.first, place);
  });
  for (const item of items.values()) if (item.of !== null && item.first < Infinity) items.get(item.of).children.push(item);
  const top = items.get("m:");
  const sums = ["parameters", "flops", "ms"];
  const settle = (item, level) => {
    item.level = level;
    if (!item.children) return 0;
    item.children.sort((a, b) => a.first - b.first);
    const below = Math.max(0, ...item.children.map((child) => settle(child, level + 1)));
    for (const key of sums) item[key] = item.children.reduce((sum, child) => sum + (child[key] || 0), 0);
    item.bytes = Math.max(0, ...item.children.map((child) => child.bytes || 0));
    return below + 1;
  };
  const deepest = settle(top, 0);
  const edgesOut = new Map(), edgesIn = new Map();
  const add = (map, key, value) => map.set(key, [...(map.get(key) || []), value]);
  for (const [from, to] of edges) {
    add(edgesOut, from, to);
    add(edgesIn, to, from);
  }

  const shapeText = (shapes) => (shapes && shapes.length ? shapes.map((shape) => shape.join("×") || "1").join(", ") : "–");
  const scaled = (value, units) => {
    let place = 0;
    while (value >= 1000 && place < units.length - 1) { value /= 1000; place += 1; }
    return `${Number(value.toPrecision(3))} ${units[place]}`.trim();
  };
  const shown = {
    parameters: (value) => scaled(value, ["", "k", "M", "G"]),
    flops: (value) => scaled(value, ["", "k", "M", "G", "T"]),
    ms: (value) => (value === null ? "–" : value >= 1000 ? `${Number((value / 1000).toPrecision(3))} s` : `${Number(value.toPrecision(3))} ms`),
    bytes: (value) => (value === null ? "–" : scaled(value, ["B", "kB", "MB", "GB"])),
  };

  const visible = () => {
    const lines = [];
    const walk = (item) => {
      for (const child of item.children) {
        lines.push(child);
        if (child.children && child.open) walk(child);
      }
    };
    walk(top);
    return lines;
  };
  const openTo = (depth) => {
    for (const item of items.values()) if (item.children) item.open = item.level < depth;
    top.open = true;
  };
  let depth = 1;
  for (let tried = 1; tried <= deepest; tried += 1) {
    openTo(tried);
    if (visible().length <= MOST_LINES || tried === 1) depth = tried;
    depthBox.append(new Option(tried === deepest ? words.all : String(tried), String(tried)));
  }
  depthBox.value = String(depth);
  openTo(depth);

  let lines = [];
  let chosen = null;
  const element = (tag, name, text) => {
    const made = document.createElement(tag);
    if (name) made.className = name;
    if (text !== undefined) made.textContent = text;
    return made;
  };

  const draw = (focus) => {
    lines = visible();
    if (!lines.includes(chosen)) chosen = lines.find((line) => chosen && chosen.key.startsWith(line.key)) || lines[0];
    const measure = measureBox.value;
    const largest = Math.max(...lines.filter((line) => !line.open).map((line) => line[measure] || 0), 0) || 1;
    document.getElementById("scale").textContent = words.scale.replace("{most}", shown[measure](largest));
    const lanes = route();
    const margin = (Math.min(lanes.count, MOST_LANES) + 1) * LANE + 14;
    const rows = lines.map((line) => {
      const row = element("div", "line");
      row.id = "line-" + line.key;
      row.setAttribute("role", "treeitem");
      row.setAttribute("aria-level", String(line.level));
      row.setAttribute("aria-selected", String(line === chosen));
      const siblings = items.get(line.of).children;
      row.setAttribute("aria-setsize", String(siblings.length));
      row.setAttribute("aria-posinset", String(siblings.indexOf(line) + 1));
      row.tabIndex = line === chosen ? 0 : -1;
      const isFailed = failed && line.id === failed.node && !line.children;
      if (isFailed) row.classList.add("failed");
      const name = element("span", "name");
      name.style.paddingLeft = `${margin + (line.level - 1) * 14}px`;
      const fold = element("span", "fold", line.children ? (line.open ? "▾" : "▸") : "");
      fold.setAttribute("aria-hidden", "true");
      name.append(fold, line.name);
      if (line.children) row.setAttribute("aria-expanded", String(line.open));
      const type = element("span", "type", line.type);
      if (innerWidth <= 544) type.style.paddingLeft = `${margin + (line.level - 1) * 14 + 16}px`;
      const shape = element("span", "shape", isFailed ? failed.shapes.map((each) => shapeText([each.shape])).join(" ↔ ") : shapeText(line.outputs));
      const bar = element("span", "bar", line.open ? "" : shown[measure](line[measure] ?? null));
      if (!line.open && line[measure]) {
        const filled = element("i");
        filled.style.width = `${(100 * line[measure]) / largest}%`;
        bar.append(filled);
      }
      row.append(name, type, shape, bar);
      row.addEventListener("click", (event) => {
        choose(line, true);
        if (line.children && event.target === fold) toggle(line, !line.open);
      });
      row.addEventListener("dblclick", () => line.children && toggle(line, !line.open));
      return row;
    });
    tree.replaceChildren(...rows);
    tree.append(margins(lanes, rows, margin));
    describe();
    if (focus) place(chosen).focus({ preventScroll: false });
  };
  const place = (line) => document.getElementById("line-" + line.key);

  // What flows between the lines that are shown: every source has one lane, down to the last line that reads it.
  const route = () => {
    const at = new Map(lines.map((line, row) => [line.key, row]));
    const rowOf = (id) => {
      let item = items.get("n:" + id), row = null;
      for (; item; item = items.get(item.of)) if (at.has(item.key) && (!item.children || !item.open)) row = at.get(item.key);
      return row;
    };
    const reads = new Map();
    for (const [from, to] of edges) {
      const start = rowOf(from), end = rowOf(to);
      if (start === null || end === null || start === end) continue;
      if (!reads.has(start)) reads.set(start, new Set());
      reads.get(start).add(end);
    }
    const next = (row) => { do row += 1; while (row < lines.length && lines[row].open); return row; };
    const nets = [], straight = [];
    for (const [start, ends] of [...reads].sort((a, b) => a[0] - b[0])) {
      if (ends.has(next(start))) straight.push([start, next(start)]);
      const far = [...ends].filter((end) => end !== next(start));
      if (far.length) nets.push({ start, ends: far, from: Math.min(start, ...far), to: Math.max(start, ...far) });
    }
    const busy = [];
    for (const net of [...nets].sort((a, b) => a.to - a.from - (b.to - b.from))) {
      let lane = 0;
      while ((busy[lane] || []).some((other) => other.from < net.to && net.from < other.to)) lane += 1;
      net.lane = Math.min(lane, MOST_LANES - 1);
      (busy[lane] = busy[lane] || []).push(net);
    }
    return { nets, straight, count: busy.length };
  };
  const margins = (lanes, rows, margin) => {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const height = rows.length ? rows[0].offsetHeight || 32 : 0;
    svg.setAttribute("width", String(margin));
    svg.setAttribute("height", String(height * rows.length));
    svg.setAttribute("aria-hidden", "true");
    const x = margin - 8, middle = (row) => height * row + height / 2;
    const path = (d, name) => {
      const made = document.createElementNS(svg.namespaceURI, "path");
      made.setAttribute("d", d);
      if (name) made.setAttribute("class", name);
      svg.append(made);
    };
    const here = lines.indexOf(chosen);
    const role = (start, end) => (start === here ? "out" : end === here ? "in" : "");
    const tip = (row) => path(`M${x - 9} ${middle(row) - 3.5}l6 3.5l-6 3.5z`, "tip");
    for (const [start, end] of lanes.straight) path(`M${x} ${middle(start)}V${middle(end)}`, role(start, end));
    for (const net of lanes.nets) {
      const lane = x - 12 - net.lane * LANE;
      for (const end of net.ends) {
        path(`M${x} ${middle(net.start)}H${lane}V${middle(end)}H${x - 4}`, role(net.start, end));
        tip(end);
      }
    }
    lines.forEach((line, row) => {
      if (line.open) return;
      const dot = document.createElementNS(svg.namespaceURI, "circle");
      dot.setAttribute("cx", String(x));
      dot.setAttribute("cy", String(middle(row)));
      dot.setAttribute("r", "3.2");
      svg.append(dot);
    });
    return svg;
  };

  const within = (item, node) => {
    for (let up = items.get("n:" + node); up; up = items.get(up.of)) if (up === item) return true;
    return false;
  };
  const neighbours = (item, map) => {
    if (!item.children) return [...new Set(map.get(item.id) || [])];
    const ends = new Set();
    for (const node of nodes) if (within(item, node.id)) for (const end of map.get(node.id) || []) if (!within(item, end)) ends.add(end);
    return [...ends];
  };
  const describe = () => {
    const item = chosen;
    const parts = [element("h2", "", item.id || item.name), element("p", "", item.type)];
    const list = element("dl");
    const say = (word, value) => list.append(element("dt", "", word), element("dd", "", value));
    say(words.inputs, shapeText(item.inputs));
    say(words.outputs, shapeText(item.outputs));
    for (const key of ["parameters", "flops", "ms", "bytes"]) {
      const value = item[key] ?? null;
      say(words[key], key === "parameters" ? Number(value).toLocaleString("en-US") : shown[key](value));
    }
    parts.push(list);
    for (const [word, map] of [[words.from, edgesIn], [words.to, edgesOut]]) {
      const ends = neighbours(item, map);
      if (!ends.length) continue;
      const all = element("ul");
      for (const end of ends.slice(0, 30)) {
        const button = element("button", "", end);
        button.type = "button";
        button.addEventListener("click", () => reveal(items.get("n:" + end)));
        const entry = element("li");
        entry.append(button);
        all.append(entry);
      }
      parts.push(element("h3", "", word), all);
    }
    details.replaceChildren(...parts);
  };

  const choose = (line, focus) => { chosen = line; draw(focus); };
  const toggle = (line, open) => { line.open = open; draw(true); };
  const reveal = (item, focus = true) => {
    for (let up = items.get(item.of); up; up = items.get(up.of)) up.open = true;
    choose(item, focus);
    place(item).scrollIntoView({ block: "nearest" });
  };

  tree.addEventListener("keydown", (event) => {
    const row = lines.indexOf(chosen);
    const go = (target) => target && choose(target, true);
    const actions = {
      ArrowDown: () => go(lines[row + 1]),
      ArrowUp: () => go(lines[row - 1]),
      Home: () => go(lines[0]),
      End: () => go(lines[lines.length - 1]),
      ArrowRight: () => chosen.children && (chosen.open ? go(chosen.children[0]) : toggle(chosen, true)),
      ArrowLeft: () => (chosen.children && chosen.open ? toggle(chosen, false) : items.get(chosen.of) !== top && go(items.get(chosen.of))),
      Enter: () => chosen.children && toggle(chosen, !chosen.open),
      " ": () => chosen.children && toggle(chosen, !chosen.open),
    };
    if (!actions[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    actions[event.key]();
  });
  measureBox.addEventListener("change", () => draw(false));
  depthBox.addEventListener("change", () => { openTo(Number(depthBox.value)); draw(false); });
  const seek = (step) => {
    const word = find.value.trim().toLowerCase();
    const hits = word ? [...items.values()].filter((item) => item !== top && item.first < Infinity && `${item.id} ${item.type}`.toLowerCase().includes(word)) : [];
    found.textContent = word ? words.found.replace("{count}", hits.length) : "";
    if (!hits.length) return;
    const now = step ? (hits.indexOf(chosen) + 1) % hits.length : 0;
    reveal(hits[now], false);
  };
  find.addEventListener("input", () => seek(false));
  document.getElementById("tools").addEventListener("submit", (event) => { event.preventDefault(); seek(true); });
  let width = innerWidth;
  addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; draw(false); } });
  document.getElementById("graph").hidden = false;
  if (failed && items.has("n:" + failed.node)) reveal(items.get("n:" + failed.node), false);
  else draw(false);
}
