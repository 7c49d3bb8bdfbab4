// The OpenAPI document as a page: each resource with its parameters, body and responses, and the JSON bodies.

import { askJson } from "./api.js";

const at = (id) => document.getElementById(id);

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children.filter((child) => child));
  return made;
}

/** Return a readable type, with links to the schemas that it names. */
function typeOf(schema = {}) {
  const named = schema.$ref?.split("/").at(-1);
  if (named) return element("a", { href: `#${named}`, textContent: named });
  if (schema.anyOf) return element("span", {}, ...schema.anyOf.flatMap((one, n) => (n ? [" or ", typeOf(one)] : [typeOf(one)])));
  if (schema.enum) return element("span", { textContent: schema.enum.map((value) => JSON.stringify(value)).join(" | ") });
  if (schema.type === "array") return element("span", {}, "array of ", typeOf(schema.items));
  const limits = [
    schema.minimum !== undefined && `≥ ${schema.minimum}`,
    schema.maximum !== undefined && `≤ ${schema.maximum}`,
    schema.pattern && `matches ${schema.pattern}`,
  ].filter(Boolean);
  return element("span", { textContent: [schema.type ?? "any", ...limits].join(", ") });
}

function table(caption, rows) {
  if (rows.length === 0) return null;
  const body = element("tbody");
  for (const [head, ...cells] of rows) {
    const row = element("tr", {}, element("th", { scope: "row", textContent: head }));
    row.append(...cells.map((cell) => element("td", {}, cell)));
    body.append(row);
  }
  return element("div", { className: "scroll" }, element("table", {}, element("caption", { textContent: caption }), body));
}

function example(value) {
  const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  return value === undefined ? null : element("pre", { tabIndex: 0 }, element("code", { textContent: text }));
}

function operationOf(method, path, operation) {
  const head = element(
    "summary",
    {},
    element("span", { className: "method", textContent: method.toUpperCase() }),
    element("span", { className: "path", textContent: path }),
    operation.summary,
  );
  const parameters = (operation.parameters ?? []).map((parameter) => [
    parameter.name,
    parameter.required ? `in ${parameter.in}` : `in ${parameter.in}, optional`,
    typeOf(parameter.schema),
    parameter.description ?? parameter.schema.description ?? "",
  ]);
  const bodies = Object.entries(operation.requestBody?.content ?? {}).map(([type, { schema }]) => [
    type,
    typeOf(schema),
    operation.requestBody.description ?? schema?.description ?? "",
  ]);
  const answers = Object.entries(operation.responses).flatMap(([status, { description, content }]) =>
    Object.entries(content ?? { "no body": {} }).map(([type, { schema }]) => [
      status,
      type,
      schema ? typeOf(schema) : "",
      description,
    ]),
  );
  const needs = operation.security ? "Requires a token if the server has tokens." : "Requires no token.";
  const details = element(
    "details",
    { className: "operation", id: `${method} ${path}` },
    head,
    element("p", { textContent: operation.description }),
    element("p", { className: "hint", textContent: needs }),
    table("Parameters", parameters),
    table("Body", bodies),
    table("Responses", answers),
  );
  return details;
}

function schemaOf(name, schema) {
  const fields = Object.entries(schema.properties ?? {}).map(([field, value]) => [
    field,
    typeOf(value),
    value.description ?? "",
  ]);
  return element(
    "details",
    { className: "operation", id: name },
    element("summary", {}, element("span", { className: "path", textContent: name })),
    element("p", { textContent: schema.description ?? "" }),
    table("Members", fields),
    example(schema.examples?.[0]),
  );
}

function show({ info, paths, components }) {
  document.title = `${info.title}: REST resources`;
  at("title").textContent = `${info.title} ${info.version}`;
  at("description").textContent = info.description.trim();
  const sections = new Map();
  for (const [path, methods] of Object.entries(paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      const [tag] = operation.tags;
      if (!sections.has(tag)) {
        const heading = element("h2", { id: `tag-${tag}`, textContent: tag });
        const section = element("section", {}, heading);
        section.setAttribute("aria-labelledby", heading.id);
        sections.set(tag, section);
      }
      sections.get(tag).append(operationOf(method, path, operation));
    }
  }
  at("operations").append(...sections.values());
  for (const [name, schema] of Object.entries(components.schemas)) at("schemas").append(schemaOf(name, schema));
}

function openNamed() {
  const named = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (named instanceof HTMLDetailsElement) {
    named.open = true;
    named.scrollIntoView();
  }
}

askJson("openapi.json").then(
  (document) => {
    show(document);
    openNamed();
    addEventListener("hashchange", openNamed);
  },
  (error) => {
    at("problem").textContent = `openapi.json could not be read: ${error.message}`;
  },
);
