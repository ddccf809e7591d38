"use strict";
(() => {
  const ROWS = 100; // rows of the table until "Show all"
  const root = document.documentElement;
  let data = {}, shown = new Set(), sort = { column: -1, down: false }, all = false, watcher = null;

  // --- colours -----------------------------------------------------------------------------------
  const THEMES = ["system", "light", "dark"];
  const remember = (key, value) => { try { localStorage.setItem(key, value); } catch { /* a file may have no storage */ } };
  const recall = (key) => { try { return localStorage.getItem(key); } catch { return null; } };
  const ink = () => getComputedStyle(root).getPropertyValue("--ink").trim();
  const paper = () => getComputedStyle(root).getPropertyValue("--page").trim();
  function colours() {
    return {
      "font.color": ink(), "hoverlabel.bgcolor": paper(), "hoverlabel.font.color": ink(),
      "modebar.bgcolor": "rgba(0,0,0,0)", "modebar.color": "#888888", "modebar.activecolor": ink(),
    };
  }
  function setTheme(name) {
    if (name === "system") root.removeAttribute("data-theme"); else root.dataset.theme = name;
    document.getElementById("theme").textContent = `Colours: ${name}`;
    recolour();
  }
  function recolour() {
    for (const plot of document.querySelectorAll(".plot[data-drawn]")) Plotly.relayout(plot, colours());
  }

  // --- figures -----------------------------------------------------------------------------------
  function draw(plot) {
    if (plot.dataset.drawn) return;
    plot.dataset.drawn = "yes";
    const figure = structuredClone(data.figures[plot.dataset.key]);
    const narrow = plot.clientWidth < 480;
    const layout = figure.layout;
    layout.font = { ...layout.font, color: ink() };
    layout.hoverlabel = { bgcolor: paper(), font: { color: ink() } };
    layout.modebar = { bgcolor: "rgba(0,0,0,0)", color: "#888888", activecolor: ink() };
    layout.autosize = true;
    if (narrow) layout.margin = { ...layout.margin, l: 45, r: 8 };
    Plotly.newPlot(plot, figure.data, layout, {
      responsive: true, displaylogo: false, scrollZoom: false,
      displayModeBar: narrow ? false : "hover",
      modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
      toImageButtonOptions: { format: "svg", filename: `${data.name}-${plot.dataset.key}` },
    });
    filterPlot(plot);
  }
  function filterPlot(plot) {
    if (!document.getElementById("filter")) return;
    const traces = [], visible = [];
    (plot.data || []).forEach((trace, i) => {
      if (!trace.legendgroup) return;
      traces.push(i);
      visible.push(shown.has(trace.legendgroup));
    });
    if (traces.length) Plotly.restyle(plot, { visible }, traces);
  }
  const PAPER = 620; // px, which fit on A4 and on Letter: Plotly does not follow the width of the paper
  function resize(width) {
    for (const plot of document.querySelectorAll(".plot[data-drawn]"))
      Plotly.relayout(plot, width ? { autosize: false, width, height: plot.clientHeight } : { autosize: true, width: null, height: null });
  }
  function drawAll() { document.querySelectorAll(".plot").forEach(draw); }
  function watch() {
    if (watcher) watcher.disconnect();
    watcher = new IntersectionObserver((entries) => {
      for (const entry of entries) if (entry.isIntersecting) { watcher.unobserve(entry.target); draw(entry.target); }
    }, { rootMargin: "300px" });
    document.querySelectorAll(".plot").forEach((plot) => watcher.observe(plot));
  }

  // --- the filter and the table ------------------------------------------------------------------
  function readFilter() {
    const boxes = [...document.querySelectorAll("#filter input")];
    shown = new Set(boxes.filter((box) => box.checked).map((box) => box.value));
    document.body.classList.toggle("filtered", boxes.some((box) => !box.checked));
  }
  function filter() {
    readFilter();
    document.querySelectorAll(".plot[data-drawn]").forEach(filterPlot);
    fill();
  }
  function text(value, name) {
    if (value === null || value === undefined) return "";
    if (Array.isArray(value)) return value.every(Number.isInteger) ? value.join("-") || "none" : value.map((v) => text(v, "")).join(" ");
    if (typeof value === "number" && !Number.isInteger(value) || /(accuracy|loss|f1|auc)$/.test(name)) {
      return /(accuracy|loss|f1|auc)$/.test(name) && Math.abs(value) < 1e4 ? value.toFixed(4) : String(Number(value.toPrecision(4)));
    }
    return String(value);
  }
  function compare(a, b) {
    if (a === null || b === null) return (a === null) - (b === null);
    if (Array.isArray(a)) {
      for (let i = 0; i < Math.min(a.length, b.length); i++) if (a[i] !== b[i]) return a[i] - b[i];
      return a.length - b.length;
    }
    return typeof a === "number" ? a - b : String(a).localeCompare(String(b));
  }
  function fill() {
    const body = document.querySelector("#table tbody");
    if (!body) return;
    const { columns, rows } = data.table;
    const status = columns.indexOf("status"), trial = columns.indexOf("trial");
    const wanted = document.getElementById("find").value.toLowerCase();
    let kept = rows.filter((row) => shown.has(row[status]));
    if (wanted) kept = kept.filter((row) => row.some((value, i) => text(value, columns[i]).toLowerCase().includes(wanted)));
    if (sort.column >= 0) {
      const missing = (row) => row[sort.column] === null;
      kept = [...kept].sort((a, b) => missing(a) || missing(b) ? missing(a) - missing(b)
        : (sort.down ? -1 : 1) * compare(a[sort.column], b[sort.column]));
    }
    const visible = all ? kept : kept.slice(0, ROWS);
    body.replaceChildren(...visible.map((row) => {
      const line = document.createElement("tr");
      if (row[trial] === data.best) line.className = "best";
      row.forEach((value, i) => {
        const cell = line.insertCell();
        cell.textContent = text(value, columns[i]);
        if (typeof value === "number") cell.className = "number";
        else if (cell.textContent.length > 40) cell.title = cell.textContent;
      });
      return line;
    }));
    document.getElementById("found").textContent =
      `${visible.length.toLocaleString("en")} of ${rows.length.toLocaleString("en")} trials`;
    document.getElementById("more").hidden = visible.length === kept.length;
  }
  function sortBy(column) {
    const number = data.table.rows.some((row) => typeof row[column] === "number");
    sort = sort.column === column ? { column, down: !sort.down } : { column, down: number && column > 0 };
    document.querySelectorAll("#table th").forEach((head, i) => head.setAttribute(
      "aria-sort", i !== column ? "none" : sort.down ? "descending" : "ascending"));
    fill();
  }

  // --- live --------------------------------------------------------------------------------------
  const EVERY = 3000; // ms between two questions to the server
  async function refresh() {
    const badge = document.getElementById("live");
    try {
      const answer = await fetch("stamp", { cache: "no-store" });
      if (!answer.ok) throw new Error(String(answer.status));
      const stamp = await answer.text();
      if (stamp !== document.body.dataset.live) {
        const main = await fetch("main", { cache: "no-store" });
        if (!main.ok) throw new Error(String(main.status));
        replace(await main.text());
        document.body.dataset.live = stamp;
      }
      badge.textContent = `live, ${new Date().toLocaleTimeString()}`;
    } catch (error) {
      badge.textContent = "no answer from ffnet report";
    }
    setTimeout(refresh, EVERY);
  }
  function replace(html) {
    const off = [...document.querySelectorAll("#filter input:not(:checked)")].map((box) => box.value);
    const find = document.getElementById("find")?.value ?? "";
    const drawn = [...document.querySelectorAll(".plot[data-drawn]")].map((plot) => plot.dataset.key);
    document.querySelectorAll(".plot[data-drawn]").forEach((plot) => Plotly.purge(plot));
    document.getElementById("main").innerHTML = html; // made by the same template, which escapes all texts
    document.querySelectorAll("#filter input").forEach((box) => { box.checked = !off.includes(box.value); });
    if (find && document.getElementById("find")) document.getElementById("find").value = find;
    begin();
    document.querySelectorAll(".plot").forEach((plot) => { if (drawn.includes(plot.dataset.key)) draw(plot); });
  }

  // --- begin -------------------------------------------------------------------------------------
  function begin() {
    data = JSON.parse(document.getElementById("data").textContent);
    readFilter();
    document.getElementById("filter")?.addEventListener("change", filter);
    document.getElementById("find")?.addEventListener("input", fill);
    document.getElementById("more")?.addEventListener("click", () => { all = true; fill(); });
    document.querySelectorAll("#table th button").forEach((button) =>
      button.addEventListener("click", () => sortBy(Number(button.dataset.column))));
    document.querySelectorAll("#table th").forEach((head, i) =>
      head.classList.toggle("number", data.table.rows.some((row) => typeof row[i] === "number")));
    fill();
    watch();
  }
  document.getElementById("theme").addEventListener("click", () => {
    const now = root.dataset.theme || "system";
    const next = THEMES[(THEMES.indexOf(now) + 1) % THEMES.length];
    remember("ffnet-theme", next);
    setTheme(next);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolour);
  addEventListener("beforeprint", () => { root.dataset.before = root.dataset.theme || "system"; setTheme("light"); all = true; fill(); drawAll(); resize(PAPER); });
  addEventListener("afterprint", () => { setTheme(root.dataset.before); resize(null); });
  window.ffnetDrawAll = drawAll;
  begin();
  const theme = recall("ffnet-theme");
  if (theme && THEMES.includes(theme)) setTheme(theme);
  if (document.body.dataset.live) setTimeout(refresh, EVERY);
})();
