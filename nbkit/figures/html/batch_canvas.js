// Draws the batch of one rank, a row a sequence and a cell a token, and the whole run as a strip of time.

// Okabe and Ito's, as all figures have them; lightness and hatching tell them apart without colour.
const COLOURS = { prefill: "#0072B2", decoded: "#009E73", waste: "#C65300", waiting: "#8A8A8A", newest: "#F0E442" };
const STATES = [
  ["waiting", "waiting: taken, and held up by others"],
  ["prefill", "prompt (prefill)"],
  ["padding", "padding"],
  ["decoded", "decoded token"],
  ["vain", "computed in vain, after the end"],
];
const TALLEST_ROW = 15;
const GUTTER = 30;

function hatching(context, state, ratio) {
  const size = Math.round((state === "prefill" || state === "waiting" ? 4 : 6) * ratio);
  const tile = new OffscreenCanvas(size, size);
  const pen = tile.getContext("2d");
  const line = (width, ...points) => {
    pen.lineWidth = width * ratio;
    pen.beginPath();
    for (const [x0, y0, x1, y1] of points) {
      pen.moveTo(x0 * size, y0 * size);
      pen.lineTo(x1 * size, y1 * size);
    }
    pen.stroke();
  };
  if (state === "waiting") {
    pen.fillStyle = COLOURS.waiting;
    pen.fillRect(0, 0, size / 2, size / 2);
    pen.globalAlpha = 0.2;
    pen.fillRect(0, 0, size, size);
    return context.createPattern(tile, "repeat");
  }
  pen.fillStyle = state === "prefill" ? COLOURS.prefill : COLOURS.waste;
  pen.fillRect(0, 0, size, size);
  pen.strokeStyle = state === "prefill" ? "rgba(255,255,255,.3)" : "rgba(255,255,255,.85)";
  if (state === "prefill") line(1, [0, 0.5, 1, 0.5]);
  if (state === "padding") line(1.1, [-0.5, 0.5, 0.5, -0.5], [0, 1, 1, 0], [0.5, 1.5, 1.5, 0.5]);
  if (state === "vain") line(0.9, [0, 0, 1, 1], [0, 1, 1, 0]);
  return context.createPattern(tile, "repeat");
}

// A canvas in CSS pixels, as sharp as the screen is.
function sized(canvas, width, height) {
  const ratio = globalThis.devicePixelRatio || 1;
  const [w, h] = [Math.max(1, Math.round(width * ratio)), Math.max(1, Math.round(height * ratio))];
  if (canvas.width !== w || canvas.height !== h) {
    canvas.width = w;
    canvas.height = h;
    canvas.style.height = `${height}px`;
  }
  const context = canvas.getContext("2d");
  if (canvas.ratio !== ratio || !canvas.fills) {
    canvas.ratio = ratio;
    canvas.fills = { decoded: COLOURS.decoded };
    for (const state of ["waiting", "prefill", "padding", "vain"]) canvas.fills[state] = hatching(context, state, ratio);
  }
  context.clearRect(0, 0, w, h);
  return { context, ratio, w, h, fills: canvas.fills };
}

function upTo(times, time) {
  let low = 0;
  let high = times.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (times[middle] <= time) low = middle + 1;
    else high = middle;
  }
  return low;
}

function running(deltas) {
  let sum = 0;
  return Float64Array.from(deltas, (delta) => (sum += delta));
}

// A grid with what is looked up while it is played: running times, the sequences of each seat, when each decodes.
function readable(grid) {
  for (const rank of grid.ranks) {
    rank.times = running(rank.steps);
    rank.at = running(rank.sums.at);
    rank.bySeat = Array.from({ length: rank.seats }, () => []);
    const readEnds = Float64Array.from(rank.sequences, (sequence) => sequence.read[1]).sort();
    for (const sequence of rank.sequences) {
      rank.bySeat[sequence.seat].push(sequence);
      // Its first step began when the step before it, or the last prompt that was read before it, had ended.
      const first = sequence.step === undefined ? sequence.spread[0] : rank.times[sequence.step];
      const lastRead = readEnds[upTo(readEnds, first) - 1] ?? sequence.read[1];
      const stepBefore = sequence.step ? rank.times[sequence.step - 1] : 0;
      sequence.decodes = Math.min(first, Math.max(sequence.read[1], lastRead, stepBefore));
    }
    rank.endsOf = (sequence) =>
      sequence.step === undefined
        ? sequence.spread.slice(1)
        : [rank.times[sequence.step + sequence.new - 1], rank.times[sequence.step + sequence.new + sequence.vain - 1]];
  }
  return grid;
}

// How far a sequence is at a time: waiting, reading or decoding, with its tokens and those in vain.
function stateAt(sequence, steps, time) {
  if (time < sequence.taken) return null;
  const at = { ...sequence, phase: "decoding", tokens: 0, wasted: 0, isOver: false };
  if (time < sequence.read[0]) return { ...at, phase: "waiting" };
  if (time < sequence.read[1]) return { ...at, phase: sequence.is_read_told ? "reading" : "waiting" };
  if (time < sequence.decodes) return { ...at, phase: "held" };
  let reached;
  if (sequence.step !== undefined) {
    reached = Math.max(0, upTo(steps, time) - sequence.step);
  } else {
    const [first, last, leaves] = sequence.spread;
    const gap = sequence.new > 1 ? (last - first) / (sequence.new - 1) : 0;
    reached = time < first ? 0 : gap ? Math.min(sequence.new, 1 + Math.floor((time - first) / gap)) : sequence.new;
    if (sequence.vain && time >= last) {
      const share = leaves > last ? Math.min(1, (time - last) / (leaves - last)) : 1;
      reached = sequence.new + Math.floor(share * sequence.vain);
    }
  }
  at.tokens = Math.min(sequence.new, reached);
  at.wasted = Math.max(0, Math.min(sequence.vain, reached - sequence.new));
  at.isOver = reached >= sequence.new + sequence.vain;
  return at;
}

// Spans of a row in cells: [state, from, to].
function spansOf(at) {
  const left = at.left ? at.padding : 0;
  const end = left + at.prompt;
  if (at.phase === "waiting") return [["waiting", 0, at.prompt]];
  const spans = [
    ["padding", 0, left],
    ["prefill", left, end],
    ["decoded", end, end + at.tokens],
    ["vain", end + at.tokens, end + at.tokens + at.wasted],
  ];
  if (!at.left && at.phase === "reading") spans.push(["padding", end, end + at.padding]);
  return spans;
}

// Rows of one rank. `rows` are states with a seat; `columns` cells fit across.
function drawRows(canvas, width, rows, seats, columns, heightFor, textColour, isCalm) {
  const height = Math.min(TALLEST_ROW, Math.max(2, heightFor / seats));
  const { context, ratio, w, h, fills } = sized(canvas, width, Math.ceil(height * seats) + 1);
  canvas.shown = { rows, height };
  const gutter = height >= 9 ? GUTTER * ratio : 0;
  const rowHeight = height * ratio;
  const cell = (w - gutter) / columns;
  const hasRowGaps = rowHeight >= 4;
  const thick = rowHeight - (hasRowGaps ? ratio : 0);
  context.textBaseline = "middle";
  context.textAlign = "right";
  context.font = `${Math.round(10 * ratio)}px system-ui, sans-serif`;
  context.fillStyle = "rgba(128,128,128,.13)";
  for (let seat = 0; seat < seats; seat++) context.fillRect(gutter, seat * rowHeight, w - gutter, thick);
  for (const at of rows) {
    const y = at.seat * rowHeight;
    context.globalAlpha = at.isOver ? 0.3 : at.phase === "reading" ? 0.65 : 1;
    for (const [state, from, to] of spansOf(at)) {
      if (to <= from) continue;
      context.fillStyle = fills[state];
      context.fillRect(gutter + from * cell, y, (to - from) * cell, thick);
    }
    context.globalAlpha = at.isOver ? 0.5 : 1;
    if (gutter) {
      context.fillStyle = textColour;
      context.fillText(String(at.index), gutter - 4 * ratio, y + thick / 2);
    }
    const newest = (at.left ? at.padding : 0) + at.prompt + at.tokens + at.wasted - 1;
    if (at.phase === "decoding" && at.tokens && !at.isOver && !isCalm) {
      context.fillStyle = at.wasted ? "#FFFFFF" : COLOURS.newest;
      context.fillRect(gutter + newest * cell, y, Math.max(cell, 1.5 * ratio), thick);
    }
    if (at.phase === "reading" && thick > 4) {
      context.strokeStyle = COLOURS.prefill;
      context.lineWidth = 1.5 * ratio;
      const width_ = ((at.left ? at.padding : 0) + at.prompt) * cell;
      context.strokeRect(gutter + ratio, y + ratio, Math.max(1, width_ - 2 * ratio), thick - 2 * ratio);
    }
  }
  context.globalAlpha = 1;
  if (cell >= 3.5 * ratio) {
    for (let column = 1; column < columns; column++) context.clearRect(Math.round(gutter + column * cell) - ratio / 2, 0, ratio, h);
  }
}

// Everything that a run did, over time: a line a seat, all ranks below each other.
function drawStrip(canvas, width, run, longest, textColour) {
  const seats = run.ranks.reduce((sum, rank) => sum + rank.seats, 0);
  const between = 4 * (run.ranks.length - 1);
  const line = Math.min(6, Math.max(0.6, (96 - between) / Math.max(1, seats)));
  const { context, ratio, w, h, fills } = sized(canvas, width, Math.max(24, Math.ceil(line * seats + between)));
  const x = (time) => (time / longest) * w;
  let top = 0;
  for (const rank of run.ranks) {
    context.fillStyle = "rgba(128,128,128,.13)";
    context.fillRect(0, top, x(run.until), rank.seats * line * ratio);
    for (const sequence of rank.sequences) {
      const y = top + sequence.seat * line * ratio;
      const thick = Math.max(0.6, line - (line > 2.5 ? 0.8 : 0)) * ratio;
      const [lastToken, leaves] = rank.endsOf(sequence);
      const told = sequence.is_read_told;
      for (const [state, from, to] of [
        ["waiting", sequence.taken, told ? sequence.read[0] : sequence.read[1]],
        ["prefill", told ? sequence.read[0] : sequence.read[1], sequence.read[1]],
        ["waiting", sequence.read[1], sequence.decodes],
        ["decoded", sequence.decodes, Math.min(run.until, lastToken)],
        ["vain", lastToken, Math.min(run.until, leaves)],
      ]) {
        if (to <= from) continue;
        context.fillStyle = fills[state];
        context.fillRect(x(from), y, Math.max(ratio / 2, x(to) - x(from)), thick);
      }
    }
    top += (rank.seats * line + 4) * ratio;
  }
  if (run.is_whole) {
    context.fillStyle = textColour;
    context.fillRect(Math.min(w - 2 * ratio, x(run.end)), 0, 2 * ratio, h);
  }
}
