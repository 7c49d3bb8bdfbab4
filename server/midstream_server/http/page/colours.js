// Each run's colour and dash pattern, equal on its card and in every chart; colour is never the only cue.

const DASHES = [[], [9, 4], [2, 3], [9, 3, 2, 3], [14, 4], [5, 2], [1, 5], [12, 3, 2, 3, 2, 3]];

export function colour(number) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--run-${number % 8}`).trim();
}

export function ink(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

export function dashes(number) {
  return DASHES[(number + Math.floor(number / 8)) % DASHES.length];
}

/** Return a short line in a run's colour and dash pattern, for its card. */
export function swatch(number) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 36 8");
  svg.setAttribute("class", `swatch run-${number % 8}`);
  svg.setAttribute("aria-hidden", "true");
  const line = document.createElementNS(svg.namespaceURI, "path");
  line.setAttribute("d", "M1 4 H35");
  line.setAttribute("stroke-dasharray", dashes(number).join(" "));
  svg.append(line);
  return svg;
}
