#include "report/html/table.hpp"

#include <utility>

namespace kvcache::report::html {

FigureTable::FigureTable(std::string caption, std::vector<std::string> headers)
    : caption_(std::move(caption)), headers_(std::move(headers)) {}

void FigureTable::add_row(std::vector<Markup> cells) { rows_.push_back(std::move(cells)); }

Markup FigureTable::to_markup() const {
  Markup head;
  for (const std::string& header : headers_) {
    head += element("th", {{"scope", "col"}}, text(header));
  }
  Markup body;
  for (const auto& row : rows_) {
    Markup cells;
    for (std::size_t column = 0; column < row.size(); ++column) {
      cells +=
          column == 0 ? element("th", {{"scope", "row"}}, row[column]) : element("td", row[column]);
    }
    body += element("tr", cells);
  }
  const Markup table =
      element("table", element("caption", caption_) + element("thead", element("tr", head)) +
                           element("tbody", body));
  // Focusable, so that the arrow keys scroll it.
  return element(
      "div", {{"class", "scroll"}, {"role", "region"}, {"tabindex", "0"}, {"aria-label", caption_}},
      table);
}

Markup folded(const std::string& summary, const Markup& content) {
  return element("details", element("summary", summary) + content);
}

}  // namespace kvcache::report::html
