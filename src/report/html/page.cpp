#include "report/html/page.hpp"

#include "report/html/style.hpp"

namespace kvcache::report::html {
namespace {

constexpr std::size_t kFewSections = 3;  // need no list of contents

Markup head_of(const Page& page) {
  return element("meta", {{"charset", "utf-8"}}) +
         element("meta",
                 {{"name", "viewport"}, {"content", "width=device-width, initial-scale=1"}}) +
         element("meta", {{"http-equiv", "Content-Security-Policy"},
                          {"content", "default-src 'none'; style-src 'unsafe-inline'"}}) +
         element("meta", {{"name", "color-scheme"}, {"content", "light dark"}}) +
         element("title", page.title) + element("style", style_sheet());
}

Markup contents_of(const Page& page) {
  if (page.sections.size() <= kFewSections) {
    return {};
  }
  Markup entries;
  for (const Section& section : page.sections) {
    entries += element("li", element("a", {{"href", "#" + section.id}}, text(section.title)));
  }
  return element("nav", {{"aria-label", "Contents"}}, element("ul", entries));
}

}  // namespace

std::string to_document(const Page& page) {
  Markup main;
  for (const Section& section : page.sections) {
    main += element(
        "section", {{"id", section.id}, {"aria-labelledby", section.id + "-title"}},
        element("h2", {{"id", section.id + "-title"}}, text(section.title)) + section.content);
  }
  const Markup header =
      element("header",
              element("h1", page.title) + element("p", {{"class", "quiet"}}, text(page.subtitle)));
  const Markup body =
      element("body", header + page.lead + contents_of(page) + element("main", main));
  return "<!DOCTYPE html>\n" +
         element("html", {{"lang", "en"}}, element("head", head_of(page)) + body).html() + "\n";
}

}  // namespace kvcache::report::html
