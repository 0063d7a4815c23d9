// How pages look: in light and dark, on a phone and on paper.
#pragma once

#include "report/html/markup.hpp"

namespace kvcache::report::html {

Markup style_sheet();

}  // namespace kvcache::report::html
