// The frame that every page has: one file that needs neither network nor script.
#pragma once

#include <string>
#include <vector>

#include "report/html/markup.hpp"

namespace kvcache::report::html {

/// A part of a page under a heading of its own.
struct Section {
  std::string id;
  std::string title;
  Markup content;
};

struct Page {
  std::string title;
  std::string subtitle;
  Markup lead;  // before the sections: what the page says in short
  std::vector<Section> sections;
};

/// The whole document. Its policy lets the browser load nothing and run nothing.
std::string to_document(const Page& page);

}  // namespace kvcache::report::html
