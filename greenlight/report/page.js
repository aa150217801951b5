// Draws the charts: plotly.js and the figures lie in this file; colors come from the style sheet.
(async () => {
  const figures = JSON.parse(document.getElementById("figures").textContent);

  async function loadPlotly() {
    const packed = Uint8Array.from(atob(document.getElementById("plotly").textContent), (character) => character.charCodeAt(0));
    const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(unpacked).text();
    document.head.append(script);
  }

  // Every "var(--name)" of a figure becomes the color that the style sheet gives it now.
  function colored(value, style) {
    if (typeof value === "string") {
      const name = /^var\((--[a-z-]+)\)$/.exec(value);
      return name ? style.getPropertyValue(name[1]).trim() : value;
    }
    if (Array.isArray(value)) return value.map((one) => colored(one, style));
    if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, colored(one, style)]));
    return value;
  }

  const axis = { gridcolor: "var(--line)", linecolor: "var(--line)", zerolinecolor: "var(--line)", tickcolor: "var(--line)", fixedrange: true, automargin: true };
  const shared = {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "system-ui, sans-serif", size: 13, color: "var(--quiet)" },
    margin: { l: 12, r: 12, t: 36, b: 40 },
    legend: { orientation: "h", x: 0, y: 1, yanchor: "bottom", font: { color: "var(--ink)" } },
    hoverlabel: { bgcolor: "var(--card)", bordercolor: "var(--line)", font: { color: "var(--ink)" }, align: "left" },
    showlegend: true,
    dragmode: false, // a finger scrolls the page
  };

  function draw() {
    const style = getComputedStyle(document.documentElement);
    for (const [id, { data, layout }] of Object.entries(figures)) {
      const whole = { ...shared, ...layout, xaxis: { ...axis, ...layout.xaxis }, yaxis: { ...axis, ...layout.yaxis } };
      Plotly.react(`chart-${id}`, colored(data, style), colored(whole, style), { displayModeBar: false, responsive: true });
    }
  }

  try {
    await loadPlotly();
    draw();
    document.documentElement.classList.add("drawn");
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  } catch (error) {
    console.warn("charts not drawn:", error);
  }
})();
