// Plays batch grids back on one clock, or shows the live one. Needs batch_canvas.js in the same scope, and nothing else.

const SPEEDS = [["10", "10x"], ["2", "2x"], ["1", "its own speed"], ["0.5", "1/2"], ["0.25", "1/4"], ["0.1", "1/10"], ["0.01", "1/100"]];
const CALM_FRAME_MS = 500;
const STYLE = `
.nbkit-player { font: 13px/1.4 system-ui, sans-serif; min-width: 0; margin-bottom: 10px; max-width: 100%; color: inherit; outline-offset: 2px; }
.nbkit-player * { box-sizing: border-box; }
.nbkit-player-controls { display: flex; flex-wrap: wrap; gap: 4px 10px; align-items: center; margin: 2px 0 6px; }
.nbkit-player-controls button { min-width: 76px; padding: 4px 10px; font: inherit; font-weight: 600; color: #fff; background: #0072B2;
  border: 1px solid transparent; border-radius: 4px; cursor: pointer; }
.nbkit-player-controls button:focus-visible, .nbkit-player canvas:focus-visible { outline: 2px solid #CC79A7; outline-offset: 2px; }
.nbkit-player-controls input { flex: 1 1 160px; min-width: 120px; margin: 0; accent-color: #0072B2; }
.nbkit-player-controls select { font: inherit; color: inherit; background: transparent; border: 1px solid rgba(128,128,128,.6); border-radius: 4px; padding: 3px; }
.nbkit-player-controls option { color: #222; background: #fff; }
.nbkit-player-clock { font-variant-numeric: tabular-nums; min-width: 128px; }
.nbkit-player-runs { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(360px, 100%), 1fr)); gap: 12px 22px; }
.nbkit-player-run { min-width: 0; }
.nbkit-player-run h4 { margin: 0; font-size: 14px; line-height: 1.35; font-weight: 600; overflow-wrap: anywhere; }
.nbkit-player-said { font-variant-numeric: tabular-nums; min-height: 1.9em; }
.nbkit-player-said b { font-size: 17px; }
.nbkit-player-finish { font-weight: 600; }
.nbkit-player-ranks { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(320px, 100%), 1fr)); gap: 8px 16px; margin: 4px 0; }
.nbkit-player-rank { min-width: 0; }
.nbkit-player-rank > div { display: flex; flex-wrap: wrap; gap: 0 10px; justify-content: space-between; font-size: 12px; font-variant-numeric: tabular-nums; }
.nbkit-player-cache { position: relative; height: 7px; margin: 1px 0 4px; border-radius: 3px; overflow: hidden; background: rgba(128,128,128,.2); }
.nbkit-player-cache > i { position: absolute; inset: 0 auto 0 0; background: #A22DF6; }
.nbkit-player canvas { display: block; width: 100%; }
.nbkit-player-strip { position: relative; margin-top: 6px; cursor: pointer; touch-action: none; }
.nbkit-player-strip > i { position: absolute; top: -2px; bottom: -2px; width: 2px; margin-left: -1px; background: currentColor; pointer-events: none; }
.nbkit-player-axis .nbkit-player-finish { position: absolute; transform: translateX(-100%); padding-right: 3px; }
.nbkit-player-axis { position: relative; display: flex; justify-content: space-between; font-size: 11px; opacity: .8; }
.nbkit-player-legend { display: flex; flex-wrap: wrap; gap: 2px 14px; margin: 6px 0 0; padding: 0; list-style: none; font-size: 12px; }
.nbkit-player-legend li { display: flex; gap: 5px; align-items: center; margin: 0; }
.nbkit-player-legend canvas { width: 22px; height: 11px; flex: none; }
.nbkit-player-notes { margin: 4px 0 0; font-size: 12px; opacity: .85; }
.nbkit-player-heard { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.nbkit-player [hidden] { display: none !important; }
`;

const number = (value) => Math.round(value).toLocaleString("en-US");
const seconds = (value) => (value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value >= 0.1 ? value.toFixed(2) : value.toFixed(3));

function element(tag, name, text) {
  const made = document.createElement(tag);
  if (name) made.className = `nbkit-player-${name}`;
  if (text !== undefined) made.textContent = text;
  return made;
}

// What stands in a row, for who points at it.
function titleAt(canvas, y) {
  const at = canvas.shown?.rows.find((row) => row.seat === Math.floor(y / canvas.shown.height));
  if (!at) return "";
  const padding = at.padding ? ` and ${at.padding} of padding` : "";
  const wasted = at.wasted ? `, ${at.wasted} in vain` : "";
  return `prompt ${at.index}: ${at.prompt} tokens${padding}, ${at.tokens} new${wasted}; ${at.isOver ? "ended" : at.phase}`;
}

function createBatchPlayer(root) {
  const player = element("div");
  player.className = "nbkit-player";
  player.tabIndex = -1;
  player.dataset.lmSuppressShortcuts = "true"; // JupyterLab's own keys rest while this has the focus
  const style = document.createElement("style");
  style.textContent = STYLE;
  const controls = element("div", "controls");
  const button = element("button");
  button.type = "button";
  const scrubber = document.createElement("input");
  Object.assign(scrubber, { type: "range", min: 0, max: 1000, step: 1, value: 0 });
  scrubber.setAttribute("aria-label", "time of the playback");
  const clock = element("span", "clock");
  const speedLabel = element("label", "", "speed ");
  const speed = document.createElement("select");
  for (const [value, text] of SPEEDS) speed.add(new Option(text, value, value === "1", value === "1"));
  speedLabel.append(speed);
  controls.append(button, scrubber, clock, speedLabel);
  const area = element("div", "runs");
  const legend = element("ul", "legend");
  const notes = element("p", "notes");
  const heard = element("div", "heard");
  heard.setAttribute("aria-live", "polite");
  player.append(style, controls, area, legend, notes, heard);
  root.append(player);

  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  let grids = [];
  let parts = [];
  let time = 0;
  let until = 1;
  let longest = 1;
  let tick = 1;
  let isPlaying = false;
  let frame = 0;
  let before = 0;
  let isGone = false;
  let isFresh = true;

  function partOf(grid) {
    const run = element("section", "run");
    const said = element("div", "said");
    const ranks = element("div", "ranks");
    if (grids.length > 1) ranks.style.gridTemplateColumns = "minmax(0, 1fr)";
    const drawn = grid.ranks.map((rank) => {
      const own = element("div", "rank");
      const line = element("div");
      const words = element("span");
      const cacheWords = element("span");
      line.append(words, cacheWords);
      const bar = element("div", "cache");
      const filled = document.createElement("i");
      bar.append(filled);
      const canvas = document.createElement("canvas");
      canvas.setAttribute("role", "img");
      own.append(line, bar, canvas);
      canvas.addEventListener("pointermove", (event) => (canvas.title = titleAt(canvas, event.offsetY)));
      ranks.append(own);
      return { own, words, cacheWords, filled, canvas };
    });
    run.append(element("h4", "", grid.name), said, ranks);
    const part = { run, said, drawn };
    if (!grid.is_live) {
      const strip = element("div", "strip");
      const canvas = document.createElement("canvas");
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", `${grid.name}: the whole run over time, a line a sequence's place`);
      const head = document.createElement("i");
      strip.append(canvas, head);
      const axis = element("div", "axis");
      axis.append(element("span", "", "0 s"));
      if (grid.is_whole && grid.end < longest) {
        const finish = element("span", "finish", `finish ${seconds(grid.end * tick)} s`);
        finish.style.left = `${(100 * grid.end) / longest}%`;
        axis.append(finish);
      }
      axis.append(element("span", "", `${grid.is_whole && grid.end === longest ? "finish " : ""}${seconds(longest * tick)} s`));
      run.append(strip, axis);
      Object.assign(part, { strip, stripCanvas: canvas, head });
      const scrub = (event) => {
        const box = strip.getBoundingClientRect();
        pause();
        moveTo(((event.clientX - box.left) / box.width) * longest);
      };
      strip.addEventListener("pointerdown", (event) => {
        strip.setPointerCapture(event.pointerId);
        scrub(event);
      });
      strip.addEventListener("pointermove", (event) => event.buttons && scrub(event));
    }
    area.append(run);
    return part;
  }

  function show(given) {
    const wasLive = grids[0]?.is_live;
    grids = given.map((grid) => (grid.is_live ? grid : readable(grid)));
    const isLive = grids[0]?.is_live ?? false;
    const isSame = isLive && wasLive && parts[0]?.drawn.length === grids[0].ranks.length;
    tick = grids[0]?.tick_s ?? 1;
    longest = Math.max(1, ...grids.map((grid) => grid.end ?? 1));
    until = Math.max(1, ...grids.map((grid) => (grid.is_whole ? grid.end : grid.until) ?? 1));
    controls.hidden = isLive;
    player.hidden = !grids.length;
    if (!isSame) {
      pause();
      area.replaceChildren();
      parts = grids.map(partOf);
      // A run is first seen as it was in its middle: a still picture says something, too.
      time = isLive ? 0 : until / 2;
      isFresh = true;
    }
    const said = grids.flatMap((grid) => (grid.notes ?? []).map((note) => (grids.length > 1 ? `${grid.name}: ${note}` : note)));
    if (!isLive && !isSameWork()) said.unshift("These runs had other prompts or other numbers of new tokens: who is first says little.");
    notes.textContent = said.join(" ");
    notes.hidden = !said.length;
    player.setAttribute("role", "group");
    player.setAttribute("aria-label", `The batch, token by token: ${grids.map((grid) => grid.name).join(" and ")}`);
    draw(true);
    if (!isLive) tell();
  }

  function sumsAt(rank, now) {
    const place = upTo(rank.at, now) - 1;
    const of = (name) => (place < 0 ? 0 : rank.sums[name][place]);
    return { cache: of("cache"), tokens: of("tokens"), vain: of("vain"), taken: of("taken"), done: of("done") };
  }

  function rowsAt(rank, now) {
    const rows = [];
    for (const sequences of rank.bySeat) {
      let at = null;
      for (const sequence of sequences) {
        if (sequence.taken > now) break;
        at = stateAt(sequence, rank.times, now);
      }
      if (at) rows.push(at);
    }
    return rows;
  }

  function liveRows(rank) {
    return rank.rows.map(([seat, index, prompt, padding, tokens]) => {
      // Whether a prompt without a token is being read is not known: it waits until its first token is there.
      const phase = tokens ? "decoding" : "waiting";
      return { seat, index, prompt, padding, tokens, wasted: 0, left: rank.left, phase, isOver: false };
    });
  }

  function draw(withStrips) {
    if (isGone || !player.isConnected || !area.clientWidth) return;
    const text = getComputedStyle(player).color;
    const columns = Math.max(1, ...grids.map((grid) => Math.max(1, ...grid.ranks.map((rank) => rank.columns))));
    grids.forEach((grid, place) => {
      const part = parts[place];
      const now = grid.is_live ? 0 : Math.min(time, grid.until);
      const total = { tokens: 0, vain: 0, taken: 0, done: 0 };
      grid.ranks.forEach((rank, number_) => {
        const own = part.drawn[number_];
        const sums = grid.is_live ? { cache: rank.cache } : sumsAt(rank, now);
        for (const name of Object.keys(total)) total[name] += sums[name] ?? 0;
        const rows = grid.is_live ? liveRows(rank) : rowsAt(rank, now);
        const heightFor = grid.ranks.length > 4 ? 90 : 240;
        const wide = grid.is_live ? Math.max(columns, (own.columns = Math.max(own.columns ?? 1, rank.columns))) : columns;
        drawRows(own.canvas, own.own.clientWidth, rows, rank.seats, wide, heightFor, text, calm.matches);
        describeRank(own, rank, rows, sums);
      });
      part.said.replaceChildren(...wordsOf(grid, total, now));
      if (part.strip) {
        if (withStrips) drawStrip(part.stripCanvas, part.strip.clientWidth, grid, longest, text);
        part.head.style.left = `${(100 * Math.min(time, longest)) / longest}%`;
      }
    });
    if (withStrips) drawLegend();
    const at = Math.min(time, until) * tick;
    clock.textContent = `${seconds(at)} s of ${seconds(until * tick)} s`;
    scrubber.value = Math.round((1000 * Math.min(time, until)) / until);
    scrubber.setAttribute("aria-valuetext", clock.textContent);
    button.textContent = isPlaying ? "Pause" : "Play";
    player.dataset.time = at.toFixed(5);
    player.dataset.tokens = grids.map((grid, place) => parts[place].tokens).join(" ");
  }

  function describeRank(own, rank, rows, sums) {
    const count = (test) => rows.filter(test).length;
    const decoding = count((at) => at.phase === "decoding" && !at.isOver && !at.wasted);
    const told = [
      [decoding, "decoding"],
      [count((at) => at.phase === "reading"), "being read"],
      [count((at) => at.phase === "waiting" || at.phase === "held"), "waiting"],
      [count((at) => !at.isOver && at.wasted), "going on in vain"],
    ];
    const states = told.filter(([many], place) => many || !place).map(([many, what]) => `${many} ${what}`).join(", ");
    const hidden = (rank.all_seats ?? 0) > rank.seats ? `, first ${rank.seats} of ${rank.all_seats} rows` : "";
    own.words.textContent = `rank ${rank.rank}: ${states}${hidden}`;
    const most = rank.room || rank.peak;
    const limit = rank.room ? ` of ${number(rank.room)} tokens` : rank.peak ? ` tokens (${number(rank.peak)} at most)` : " tokens";
    own.cacheWords.textContent = `KV cache: ${number(sums.cache)}${limit}`;
    own.filled.style.width = most ? `${Math.min(100, (100 * sums.cache) / most)}%` : "0";
    own.filled.parentElement.hidden = !most;
    own.canvas.setAttribute("aria-label", `rank ${rank.rank}, sequences: ${states}; KV cache: ${number(sums.cache)}${limit}`);
  }

  function wordsOf(grid, total, now) {
    const part = parts[grids.indexOf(grid)];
    const tokens = grid.is_live ? grid.tokens : total.tokens;
    const passed = grid.is_live ? grid.seconds : Math.max(0, now * tick);
    const done = grid.is_live ? grid.done : total.done;
    part.tokens = tokens;
    const isFinished = !grid.is_live && grid.is_whole && time >= grid.end;
    const rate = isFinished ? tokens / (grid.end * tick) : passed ? tokens / passed : 0;
    const strong = element("b", "", number(rate));
    const words = [strong, ` tokens/s, ${number(tokens)} tokens${grid.is_live ? " computed" : ""}`];
    if (total.vain) words.push(` and ${number(total.vain)} in vain`);
    words.push(`; ${number(done)} of ${number(grid.prompts)} prompts done`);
    part.run.dataset.done = done;
    if (!grid.is_live) words.push(`, ${number(Math.max(0, grid.prompts - total.taken))} queued`);
    if (isFinished) words.push(element("span", "finish", `; finished in ${seconds(grid.end * tick)} s${place(grid)}`));
    return words;
  }

  function isSameWork() {
    return grids.every((grid) => String(grid.work) === String(grids[0].work));
  }

  // Who came first, in a race.
  function place(grid) {
    const whole = grids.filter((each) => each.is_whole);
    if (whole.length < 2 || !isSameWork()) return "";
    const first = whole.reduce((best, each) => (each.end < best.end ? each : best));
    return grid === first ? ": first" : `, ${(grid.end / first.end).toFixed(1)} times as long as the first`;
  }

  function drawLegend() {
    if (!legend.children.length) {
      for (const [state, words] of STATES) {
        const item = document.createElement("li");
        const swatch = document.createElement("canvas");
        swatch.setAttribute("aria-hidden", "true");
        swatch.dataset.state = state;
        item.append(swatch, words);
        legend.append(item);
      }
    }
    for (const swatch of legend.querySelectorAll("canvas")) {
      const { context, w, h, fills } = sized(swatch, 22, 11);
      context.fillStyle = fills[swatch.dataset.state];
      context.fillRect(0, 0, w, h);
    }
  }

  function tell() {
    const ranks = parts.flatMap((part) => [part.said.textContent, ...part.drawn.map((own) => own.canvas.getAttribute("aria-label"))]);
    heard.textContent = `${clock.textContent}. ${ranks.join(". ")}`;
  }

  function moveTo(to) {
    isFresh = false;
    time = Math.max(0, Math.min(until, to));
    draw(false);
    tell();
  }

  function step(at) {
    if (!isPlaying) return;
    const passed = at - before;
    if (!calm.matches || passed >= CALM_FRAME_MS) {
      before = at;
      time = Math.min(until, time + ((passed / 1000) * Number(speed.value)) / tick);
      draw(false);
      if (time >= until) return pause();
    }
    frame = requestAnimationFrame(step);
  }

  function play() {
    if (time >= until || isFresh) time = 0;
    isFresh = false;
    isPlaying = true;
    before = performance.now();
    frame = requestAnimationFrame(step);
    draw(false);
  }

  function pause() {
    const wasPlaying = isPlaying;
    isPlaying = false;
    cancelAnimationFrame(frame);
    button.textContent = "Play";
    if (wasPlaying) tell();
  }

  button.addEventListener("click", () => {
    if (isPlaying) pause();
    else play();
  });
  scrubber.addEventListener("input", () => {
    pause();
    moveTo((Number(scrubber.value) / 1000) * until);
  });
  player.addEventListener("keydown", (event) => {
    const on = event.target;
    if (on === speed || grids[0]?.is_live || event.altKey || event.ctrlKey || event.metaKey) return;
    const steps = { ArrowLeft: -0.01, ArrowRight: 0.01, Home: -1, End: 1 };
    if (event.key === " ") {
      if (on !== button) button.click();
      else return;
    } else if (event.key in steps) {
      pause();
      moveTo(time + steps[event.key] * until);
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  });
  const redraw = () => requestAnimationFrame(() => draw(true));
  const observed = new ResizeObserver(redraw);
  observed.observe(area);
  const themed = new MutationObserver(redraw);
  themed.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-name", "class"] });
  const dark = matchMedia("(prefers-color-scheme: dark)");
  dark.addEventListener("change", redraw);
  return {
    show,
    destroy() {
      isGone = true;
      pause();
      observed.disconnect();
      themed.disconnect();
      dark.removeEventListener("change", redraw);
      player.remove();
    },
  };
}
