// Tables that read well in a terminal and render as Markdown.
#pragma once

#include <string>
#include <vector>

namespace kvcache::report {

/// A table of text; the first column is aligned to the left, the others to the right.
class Table {
 public:
  explicit Table(std::vector<std::string> headers);

  /// Adds a row of as many cells as there are headers.
  void add_row(std::vector<std::string> cells);

  /// Markdown, columns padded to the same width; every line ends with a newline.
  [[nodiscard]] std::string to_string() const;

 private:
  std::vector<std::vector<std::string>> rows_;  // the headers first
};

}  // namespace kvcache::report
