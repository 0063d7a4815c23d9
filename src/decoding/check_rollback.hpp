// What every constraint checks before it takes tokens back.
#pragma once

#include <cstddef>

#include "base/throw_error.hpp"

namespace kvcache::decoding {

/// @throws Error invalid_argument where fewer tokens were accepted than are to be taken back
inline void check_rollback(std::size_t tokens, std::size_t accepted) {
  if (tokens > accepted) {
    throw_error(ErrorCode::invalid_argument,
                "{} tokens were to be taken back from a constraint that has accepted {}; take "
                "back at most these",
                tokens, accepted);
  }
}

}  // namespace kvcache::decoding
