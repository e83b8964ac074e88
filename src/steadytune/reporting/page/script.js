(() => {
  "use strict";
  const WRITTEN_RUNS = 8;
  const content = JSON.parse(document.getElementById("data").textContent);
  const config = {
    responsive: true,
    displaylogo: false,
    modeBarButtons: [["toImage"]],
    toImageButtonOptions: { format: "svg", filename: "steadytune" },
  };
  const frame = {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "inherit", size: 13 },
    hoverlabel: { align: "left", bgcolor: "#1c2126", bordercolor: "#1c2126", font: { color: "#ffffff" } },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: "#767C84", activecolor: "#0072B2" },
    dragmode: false,
    showlegend: false,
  };
  const escaped = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

  function wrapped(text, width) {
    const lines = [""];
    for (const word of text.split(" ")) {
      const pieces = word.match(new RegExp(`.{1,${width}}`, "gu")) || [];
      for (const piece of pieces) {
        const line = lines[lines.length - 1];
        if (line && line.length + piece.length >= width) lines.push(piece);
        else lines[lines.length - 1] = line ? `${line} ${piece}` : piece;
      }
    }
    return lines.map(escaped).join("<br>");
  }

  const axisTitle = (text) => ({ text, font: { size: 13 }, standoff: 8 });

  function fill(select, names) {
    select.replaceChildren(...names.map((name, place) => new Option(name, place)));
  }

  const drawn = new Set();

  // Inside closed details a drawing has no width, so drawing waits until they open.
  function drawFixed() {
    for (const [id, figure] of Object.entries(content.figures)) {
      if (drawn.has(id) || document.getElementById(id).closest("details:not([open])")) continue;
      drawn.add(id);
      Plotly.newPlot(id, figure.data, figure.layout, config);
    }
  }

  function onOpening() {
    for (const details of document.querySelectorAll("details")) details.addEventListener("toggle", drawFixed);
  }

  function toggles() {
    for (const button of document.querySelectorAll(".legend button")) {
      button.addEventListener("click", () => {
        const shown = button.getAttribute("aria-pressed") !== "true";
        button.setAttribute("aria-pressed", shown);
        for (const id of Object.keys(content.figures)) {
          if (!id.startsWith(`${button.dataset.section}-`)) continue;
          const traces = content.figures[id].data;
          const mine = [...traces.keys()].filter((i) => traces[i].meta?.recipe === button.dataset.recipe);
          for (const i of mine) traces[i].visible = shown;
          if (mine.length && drawn.has(id)) Plotly.restyle(id, { visible: shown }, mine);
        }
      });
    }
  }

  function square(recipe, matrix) {
    const size = recipe.runs.length;
    const rows = Array.from({ length: size }, () => Array(size).fill(null));
    let next = 0;
    for (let i = 1; i < size; i += 1) {
      for (let j = 0; j < i; j += 1) {
        rows[i][j] = rows[j][i] = matrix.pairs[next] * matrix.unit;
        next += 1;
      }
    }
    return rows;
  }

  function drawPairs(key, recipes, recipe, matrix) {
    const place = document.getElementById(`${key}-pairs`);
    const values = square(recipe, matrix);
    const name = (run) => `${recipe.noun} ${escaped(run.seed)}: ${run.score}${run.failed ? ", failed" : ""}`;
    const seeds = recipe.runs.map((run) => escaped(run.seed.length > 12 ? `${run.seed.slice(0, 11)}…` : run.seed));
    const ticks = seeds.map((seed, i) => (recipe.runs[i].failed ? `${seed} ✕` : seed));
    const highest = Math.max(
      ...recipes.flatMap((other) => other.matrices.filter((found) => found.key === matrix.key).map((found) => found.unit * 9999)),
    );
    const axis = {
      tickvals: [...ticks.keys()],
      ticktext: ticks,
      showgrid: false,
      zeroline: false,
      // Space between the labels and the cells.
      ticks: "outside",
      ticklen: 5,
      tickcolor: "rgba(0,0,0,0)",
      automargin: true,
      constrain: "domain",
      title: axisTitle(recipe.noun),
    };
    const width = Math.min(place.clientWidth || 560, 560);
    Plotly.react(
      place,
      [
        {
          type: "heatmap",
          z: values,
          zmin: 0,
          zmax: highest || 1,
          colorscale: "Cividis",
          xgap: 1,
          ygap: 1,
          hoverongaps: false,
          hoverinfo: "text",
          text: values.map((row) => row.map((value) => (value === null ? "" : value.toPrecision(2)))),
          texttemplate: recipe.runs.length <= WRITTEN_RUNS ? "%{text}" : "",
          hovertext: values.map((row, i) =>
            row.map((value, j) =>
              value === null
                ? ""
                : `<b>${escaped(matrix.label)} ${value.toPrecision(3)}</b><br>${name(recipe.runs[i])}<br>${name(recipe.runs[j])}`,
            ),
          ),
          colorbar: { thickness: 10, outlinewidth: 0, len: 0.9 },
        },
      ],
      {
        ...frame,
        height: Math.max(300, width * 0.86),
        margin: { l: 40, r: 10, t: 8, b: 44 },
        // Crosses are on the left: here they would touch their neighbours.
        xaxis: { ...axis, ticktext: seeds, tickangle: 0 },
        yaxis: { ...axis, autorange: "reversed", scaleanchor: "x" },
      },
      config,
    );
  }

  function pairs(key, recipes) {
    const byRecipe = document.getElementById(`${key}-pairs-recipe`);
    const byMeasure = document.getElementById(`${key}-pairs-measure`);
    const measures = () => {
      const kept = byMeasure.value;
      const groups = new Map();
      for (const matrix of recipes[byRecipe.value].matrices) {
        if (!groups.has(matrix.measure)) groups.set(matrix.measure, []);
        groups.get(matrix.measure).push(new Option(matrix.label, matrix.key));
      }
      byMeasure.replaceChildren(
        ...[...groups].map(([label, options]) => {
          if (options.length === 1) return options[0];
          const group = document.createElement("optgroup");
          group.label = label;
          group.append(...options);
          return group;
        }),
      );
      if ([...byMeasure.options].some((option) => option.value === kept)) byMeasure.value = kept;
    };
    const draw = () => {
      const recipe = recipes[byRecipe.value];
      drawPairs(key, recipes, recipe, recipe.matrices.find((matrix) => matrix.key === byMeasure.value));
    };
    fill(byRecipe, recipes.map((recipe) => recipe.recipe));
    measures();
    draw();
    byRecipe.addEventListener("change", () => {
      measures();
      draw();
    });
    byMeasure.addEventListener("change", draw);
  }

  function drawFlips(key, recipe) {
    const examples = [...recipe.examples].sort((a, b) => b.share - a.share || a.right - b.right);
    const tint = (right) => (right === false ? "#D55E00" : "#0072B2");
    const hover = examples.map((example) => {
      const votes = example.votes.map(([answer, runs]) => `${runs}× ${escaped(answer)}`).join(", ");
      const label = example.label ? `<br>label: ${escaped(example.label)}` : "";
      const text = example.text ? `<br>${wrapped(example.text, 44)}` : "";
      return `<b>example ${example.index}</b><br>${votes}${label}${text}`;
    });
    Plotly.react(
      `${key}-flips`,
      [
        {
          type: "bar",
          x: examples.map((_, place) => place + 1),
          y: examples.map((example) => example.share),
          marker: { color: examples.map((example) => tint(example.right)) },
          hovertext: hover,
          hoverinfo: "text",
          textposition: "none",
        },
      ],
      {
        ...frame,
        height: 260,
        bargap: examples.length > 60 ? 0 : 0.15,
        margin: { l: 44, r: 10, t: 8, b: 44 },
        xaxis: { title: axisTitle("examples, those that flip most first"), showgrid: false, zeroline: false, rangemode: "tozero" },
        yaxis: { title: axisTitle("dissenting runs"), ticksuffix: " %", zeroline: false, automargin: true },
      },
      config,
    );
  }

  function flips(key, recipes) {
    const select = document.getElementById(`${key}-flips-recipe`);
    fill(select, recipes.map((recipe) => recipe.recipe));
    const draw = () => {
      drawFlips(key, recipes[select.value]);
      for (const list of document.querySelectorAll(`[data-flips="${key}"]`)) list.hidden = list.dataset.place !== select.value;
    };
    draw();
    select.addEventListener("change", draw);
  }

  // Print has its own width, which a drawing only learns here.
  function onPaper() {
    const closed = [];
    const heights = new Map();
    const plots = () => document.querySelectorAll(".js-plotly-plot");
    window.addEventListener("beforeprint", () => {
      for (const details of document.querySelectorAll("details:not([open])")) {
        closed.push(details);
        details.open = true;
      }
      drawFixed();
      for (const plot of plots()) {
        const matrix = plot.closest(".matrix");
        const width = plot.closest(".multiples") ? 218 : matrix ? 400 : 680;
        heights.set(plot, plot.layout.height);
        Plotly.relayout(plot, { width, height: matrix ? 344 : plot.layout.height, autosize: false });
      }
    });
    window.addEventListener("afterprint", () => {
      while (closed.length) closed.pop().open = false;
      for (const plot of plots()) Plotly.relayout(plot, { width: null, height: heights.get(plot), autosize: true });
    });
  }

  drawFixed();
  toggles();
  onOpening();
  for (const [key, recipes] of Object.entries(content.distances)) if (recipes.length) pairs(key, recipes);
  for (const [key, recipes] of Object.entries(content.flips)) if (recipes.length) flips(key, recipes);
  onPaper();
})();
