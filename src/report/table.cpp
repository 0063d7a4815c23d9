#include "report/table.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <utility>

namespace kvcache::report {
namespace {

/// Characters of a UTF-8 text: bytes that do not continue a character.
std::size_t width(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char byte) {
    return (static_cast<unsigned char>(byte) & 0xC0U) != 0x80U;
  }));
}

std::string padded(const std::string& cell, std::size_t column, std::size_t column_width) {
  const std::string padding(column_width - width(cell), ' ');
  return column == 0 ? cell + padding : padding + cell;
}

}  // namespace

Table::Table(std::vector<std::string> headers) { rows_.push_back(std::move(headers)); }

void Table::add_row(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }

std::string Table::to_string() const {
  std::vector<std::size_t> widths(rows_.front().size(), 3);
  for (const auto& row : rows_) {
    for (std::size_t column = 0; column < widths.size(); ++column) {
      widths[column] = std::max(widths[column], width(row.at(column)));
    }
  }
  std::string text;
  for (std::size_t row = 0; row < rows_.size(); ++row) {
    for (std::size_t column = 0; column < widths.size(); ++column) {
      text += fmt::format("| {} ", padded(rows_[row].at(column), column, widths[column]));
    }
    text += "|\n";
    if (row == 0) {
      for (std::size_t column = 0; column < widths.size(); ++column) {
        text += fmt::format("| {:-<{}}{} ", "", widths[column] - 1, column == 0 ? "-" : ":");
      }
      text += "|\n";
    }
  }
  return text;
}

}  // namespace kvcache::report
