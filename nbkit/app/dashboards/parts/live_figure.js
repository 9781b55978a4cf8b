// Draws one plotly figure and redraws it in place when its arrays change.

// How many times as long as a redraw took a figure rests before the next.
const REST = 3;

const shared = (globalThis.__nbkit ??= {});

// plotly.js comes from the kernel, once for all figures of a page, compressed.
function loadPlotly(model) {
  shared.plotly ??= importPlotly(model).catch((error) => {
    delete shared.plotly;
    throw error;
  });
  return shared.plotly;
}

async function importPlotly(model) {
  const id = model.get("library").replace("IPY_MODEL_", "");
  const library = await model.widget_manager.get_model(id);
  const packed = new Blob([library.get("packed")]).stream();
  const source = await new Response(packed.pipeThrough(new DecompressionStream("gzip"))).text();
  // A module of its own scope, in which plotly finds the CommonJS names and no AMD loader.
  const wrapped = `const module = {exports: {}}, exports = module.exports, define = undefined;
${source}
export default module.exports;`;
  const url = URL.createObjectURL(new Blob([wrapped], { type: "text/javascript" }));
  try {
    return (await import(url)).default;
  } finally {
    URL.revokeObjectURL(url);
  }
}

// The page's own colours, so that figures fit a light and a dark theme.
function themeOf(element) {
  const style = getComputedStyle(element);
  const named = (name) => style.getPropertyValue(name).trim();
  const text = named("--jp-ui-font-color1") || style.color;
  const grid = "rgba(128, 128, 128, 0.25)";
  return { text, grid, card: named("--jp-layout-color1") || "#ffffff" };
}

function layoutFor(element, model) {
  const theme = themeOf(element);
  const given = structuredClone(model.get("figure").layout ?? {});
  const layout = { ...given, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)" };
  layout.font = { ...layout.font, color: theme.text };
  layout.title = { ...layout.title, text: model.get("title") };
  layout.hoverlabel = { bgcolor: theme.card, font: { color: theme.text } };
  for (const name of Object.keys(layout).filter((key) => /^[xy]axis\d*$/.test(key))) {
    layout[name] = { ...layout[name], gridcolor: theme.grid, zerolinecolor: theme.grid, linecolor: theme.grid };
  }
  return layout;
}

function tracesFor(model) {
  const arrays = model.get("arrays");
  const traces = structuredClone(model.get("figure").data ?? []);
  return traces.map((trace, number) => ({ ...trace, ...(arrays[number] ?? {}) }));
}

function render({ model, el }) {
  el.classList.add("nbkit-figure");
  el.setAttribute("role", "img");
  el.setAttribute("aria-label", model.get("title") || "figure");
  const drawing = document.createElement("div");
  const problem = document.createElement("div");
  problem.className = "nbkit-figure-problem";
  problem.hidden = true;
  const empty = document.createElement("div");
  empty.className = "nbkit-figure-empty";
  empty.hidden = true;
  const heading = document.createElement("b");
  empty.append(heading, "Nothing to draw yet.");
  el.append(drawing, empty, problem);

  let isWaiting = false;
  let isGone = false;
  let isListening = false;
  let restUntil = 0;

  // In the place of empty axes; as high as the figure once it was drawn, so that the page does not jump.
  function showEmpty(isEmpty) {
    if (isEmpty && !drawing.hidden && el.dataset.drawn) empty.style.minHeight = `${drawing.offsetHeight}px`;
    heading.textContent = model.get("title");
    drawing.hidden = isEmpty;
    empty.hidden = !isEmpty;
  }

  async function draw() {
    isWaiting = false;
    if (isGone || !drawing.isConnected) return;
    let began = performance.now();
    try {
      const plotly = await loadPlotly(model);
      began = performance.now(); // the wait for plotly.js, once a page, asks for no rest
      const options = { responsive: false, displaylogo: false, displayModeBar: false };
      const traces = tracesFor(model);
      showEmpty(model.get("is_empty"));
      if (!drawing.hidden) {
        await plotly.react(drawing, traces, layoutFor(el, model), options);
        listen();
      }
      problem.hidden = true;
      el.setAttribute("aria-label", model.get("title") || "figure");
      el.dataset.drawn = model.get("version");
      el.dataset.points = traces.reduce((sum, trace) => sum + (trace.x?.length ?? 0), 0);
    } catch (error) {
      problem.textContent = `This figure cannot be drawn: ${error.message ?? error}`;
      problem.hidden = false;
    }
    const ended = performance.now();
    restUntil = ended + REST * (ended - began);
  }

  // Plotly makes a drawing's events when it draws it first.
  function listen() {
    if (isListening) return;
    isListening = true;
    drawing.on("plotly_click", (event) => {
      const clicked = event.points[0]?.customdata;
      if (Number.isInteger(clicked)) model.send({ clicked });
    });
  }

  // However many changes arrive, one redraw a frame; none while the page is hidden. After a
  // rest the next change is drawn at once; in a row, redraws leave the browser time.
  function drawSoon() {
    if (isWaiting) return;
    isWaiting = true;
    const rest = restUntil - performance.now();
    if (rest > 0) setTimeout(() => requestAnimationFrame(draw), rest);
    else requestAnimationFrame(draw);
  }

  const sized = new ResizeObserver(drawSoon);
  sized.observe(el);
  const themed = new MutationObserver(drawSoon);
  themed.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-name", "class"] });
  model.on("change:version", drawSoon);
  drawSoon();
  return () => {
    isGone = true;
    sized.disconnect();
    themed.disconnect();
    model.off("change:version", drawSoon);
    shared.plotly?.then((plotly) => plotly.purge(drawing));
  };
}

export default { render };
