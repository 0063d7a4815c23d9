// What a Sequence is made of.
#pragma once

#include <memory>
#include <vector>

#include "cache/block_pool.hpp"
#include "inference/engine.hpp"
#include "kvcache/types.hpp"

namespace kvcache::inference {

/// Tokens and the blocks that hold their keys and values: token i is in blocks[i / block_len].
struct SequenceState {
  std::shared_ptr<Engine> engine;  // first: blocks go back to its pool
  std::vector<cache::Block> blocks;
  std::vector<TokenId> tokens;
};

}  // namespace kvcache::inference
