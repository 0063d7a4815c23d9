// What is wrong with a part of a tokenizer, before it is known where in which file the part stands.
#pragma once

#include <stdexcept>
#include <string>

namespace kvcache::text {

/// The rule that a part breaks, such as "must be a pattern without \b".
class Problem : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace kvcache::text
