// As much of a page as trace_viewer.html's second script asks for; not a browser.
"use strict";
const byId = new Map();
class Element {
  constructor(tag) {
    Object.assign(this, {tag, attributes: {}, children: [], listeners: {}, value: "", hidden: false, disabled: false});
    this.classList = {add() {}, remove() {}};
  }
  setAttribute(name, value) {
    this.attributes[name] = String(value);
    if (name === "id") byId.set(String(value), this);
  }
  append(...inside) { this.children.push(...inside); }
  replaceChildren(...inside) { this.children = inside; }
  addEventListener(name, listener) { this.listeners[name] = listener; }
  focus() {}
  scrollIntoView() {}
  get text() { return this.children.map(child => child instanceof Element ? child.text : child).join(" "); }
  set textContent(text) { this.children = [text]; }
  get textContent() { return this.text; }
  all(tag) { return [...(this.tag === tag ? [this] : []), ...this.children.flatMap(child => child instanceof Element ? child.all(tag) : [])]; }
}
const document = {
  body: new Element("body"),
  getElementById: id => byId.get(id),
  createElement: tag => new Element(tag),
  createElementNS: (_, tag) => new Element(tag),
};
const addEventListener = () => {};
for (const id of JSON.parse(process.argv[2])) new Element("div").setAttribute("id", id);
byId.get("least").value = "1";
const press = key => byId.get("tree").listeners.keydown({key, preventDefault() {}});
