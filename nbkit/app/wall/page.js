// Asks for the wall now and again, and draws it where it has changed.

const EVERY_MS = 1000;
const at = (id) => document.getElementById(id);
const token = new URLSearchParams(location.search).get("token") ?? "";
const dark = matchMedia("(prefers-color-scheme: dark)");
let drawn = "";
let figure = null;

function draw() {
  const text = dark.matches ? "#ddd" : "#222";
  const layout = structuredClone(figure.layout);
  layout.paper_bgcolor = layout.plot_bgcolor = "rgba(0,0,0,0)";
  layout.font = { ...layout.font, color: text };
  layout.hoverlabel = { bgcolor: dark.matches ? "#181818" : "#fff", font: { color: text } };
  for (const axis of ["xaxis", "yaxis"]) {
    const grid = "rgba(128, 128, 128, 0.3)";
    layout[axis] = { ...layout[axis], gridcolor: grid, zerolinecolor: grid, linecolor: grid };
  }
  const room = innerHeight - at("figure").getBoundingClientRect().top - scrollY - at("join").offsetHeight - 40;
  layout.height = Math.max(320, room);
  Plotly.react(at("figure"), structuredClone(figure.data), layout, { displayModeBar: false, responsive: true });
  at("figure").setAttribute("aria-label", layout.title.text);
}

// What is shown is chosen by its place in the list, which is the server's.
function offer(choices, shown) {
  const select = at("choice");
  at("choosing").hidden = choices.length < 2;
  if (document.activeElement === select) return;
  const options = choices.map(([model, device]) => new Option(`${model} on ${device}`, JSON.stringify([model, device])));
  select.replaceChildren(...options);
  select.value = JSON.stringify(shown);
}

async function look() {
  try {
    const asked = new URLSearchParams({ token });
    const chosen = at("choosing").hidden ? "" : at("choice").dataset.chosen;
    if (chosen) asked.set("shown", chosen);
    const answer = await fetch(`board?${asked}`);
    if (!answer.ok) throw new Error(await answer.text());
    const board = await answer.json();
    // Every text of a learner's is escaped where this HTML is made.
    at("headline").innerHTML = board.headline;
    at("words").innerHTML = board.words;
    at("join").innerHTML = board.join;
    offer(board.choices, board.shown);
    const now = JSON.stringify(board.figure);
    if (now !== drawn) {
      drawn = now;
      figure = board.figure;
      draw();
    }
    at("problem").hidden = true;
  } catch (error) {
    at("problem").textContent = `The wall is not live: ${error.message ?? error}`;
    at("problem").hidden = false;
  }
  setTimeout(look, EVERY_MS);
}

at("choice").addEventListener("change", () => {
  at("choice").dataset.chosen = at("choice").value;
  at("choice").blur();
});
dark.addEventListener("change", () => figure && draw());
addEventListener("resize", () => figure && draw());
look();
