// Tables that scroll inside their own frame where the page is narrow.
#pragma once

#include <string>
#include <vector>

#include "report/html/markup.hpp"

namespace kvcache::report::html {

/// A table of figures; each row's first cell is its heading.
class FigureTable {
 public:
  FigureTable(std::string caption, std::vector<std::string> headers);

  /// Adds a row of as many cells as there are headers.
  void add_row(std::vector<Markup> cells);

  [[nodiscard]] bool empty() const noexcept { return rows_.empty(); }
  [[nodiscard]] Markup to_markup() const;

 private:
  std::string caption_;
  std::vector<std::string> headers_;
  std::vector<std::vector<Markup>> rows_;
};

/// What is folded away until somebody asks for it; printed and searched without that.
Markup folded(const std::string& summary, const Markup& content);

}  // namespace kvcache::report::html
