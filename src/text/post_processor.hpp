// What is put around the tokens of a text, such as <s>.
#pragma once

#include <vector>

#include "text/vocabulary.hpp"

namespace kvcache::text {

struct PostProcessor {
  std::vector<Id> before;
  std::vector<Id> behind;
};

}  // namespace kvcache::text
