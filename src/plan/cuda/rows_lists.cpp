#include "plan/cuda/rows_lists.hpp"

#include <algorithm>
#include <cstring>
#include <limits>

#include "base/rounding.hpp"
#include "plan/cuda/rows_of_run.hpp"

namespace kvcache::plan {
namespace {

using kernels::kMostUnitTable;
using kernels::kRowsTileTokens;
using kernels::RowsUnit;

/// Whether a unit has room for a row of so many tokens and blocks.
bool has_room(std::int32_t tokens, std::int32_t blocks, std::int32_t more_tokens,
              std::int32_t more_blocks, int capacity) {
  return tokens + more_tokens <= capacity && blocks + more_blocks <= kMostUnitTable;
}

// Each list has elements of its own type.
void set(kernels::RowsInputs& inputs, const kernels::RowsToken* to) { inputs.tokens = to; }
void set(kernels::RowsInputs& inputs, const RowsUnit* to) { inputs.units = to; }
void set(kernels::RowsInputs& inputs, const kernels::RowsTile* to) { inputs.tiles = to; }
void set(kernels::RowsInputs& inputs, const kernels::RowsLogits* to) { inputs.logits = to; }
void set(kernels::RowsInputs& inputs, const std::int32_t* to) { inputs.table = to; }

/// Calls `work` with each list, in the order in which they lie in memory.
template <typename Lists, typename Work>
void for_lists(Lists& lists, const Work& work) {
  std::size_t at = 0;
  const auto one = [&](const auto& list) {
    work(list, at);
    at = round_up(at + list.size() * sizeof(list[0]), 16);
  };
  one(lists.tokens());  // the strictest alignment first
  one(lists.units());
  one(lists.row_tiles());
  one(lists.logits());
  one(lists.table());
}

}  // namespace

bool RowsLists::make(const StepBinding& inputs, int most_tiles, int units_at_once) {
  block_len_ = inputs.block_len;
  if (!list_rows(inputs, most_tiles)) {
    return false;
  }
  choose_tiles(most_tiles, units_at_once);
  fill_units(inputs);
  fill_logits(inputs);
  return true;
}

bool RowsLists::list_rows(const StepBinding& inputs, int most_tiles) {
  rows_.clear();
  longest_ = 0;
  bool fits = true;
  for_rows(inputs, [&](const RowTokens& of_run) {
    Row row{};
    row.begin = static_cast<std::int32_t>(of_run.begin);
    row.tokens = static_cast<std::int32_t>(of_run.end - of_run.begin);
    if (row.tokens == 0) {
      return;
    }
    row.past_length = inputs.past_lengths[of_run.row];
    row.append_at = of_run.append_at;
    row.blocks = static_cast<std::int32_t>(
        divide_up(std::int64_t{of_run.append_at} + row.tokens, block_len_));
    row.table_at = of_run.table_at;
    fits = fits && row.tokens <= most_tiles * kRowsTileTokens && row.blocks <= kMostUnitTable;
    longest_ = std::max(longest_, row.tokens);
    rows_.push_back(row);
  });
  return fits && !rows_.empty();
}

/// How many units rows fill that have room for so many tokens each.
std::size_t RowsLists::units_of(int capacity) const {
  std::size_t units = 0;
  std::int32_t tokens = std::numeric_limits<std::int32_t>::max() / 2;
  std::int32_t blocks = 0;
  for (const Row& row : rows_) {
    if (!has_room(tokens, blocks, row.tokens, row.blocks, capacity)) {
      ++units;
      tokens = 0;
      blocks = 0;
    }
    tokens += row.tokens;
    blocks += row.blocks;
  }
  return units;
}

void RowsLists::choose_tiles(int most_tiles, int units_at_once) {
  // A block's time: what it takes whatever it has (the weights' way), and what a tile adds.
  constexpr std::size_t kOfWeights = 3;
  const int fewest = divide_up(longest_, kRowsTileTokens);
  const auto at_once = static_cast<std::size_t>(units_at_once);
  tiles_ = fewest;
  shares_blocks_ = rows_.size() > at_once;
  if (!shares_blocks_) {
    return;
  }
  std::size_t least = std::numeric_limits<std::size_t>::max();
  for (int tiles = fewest; tiles <= most_tiles; ++tiles) {
    const std::size_t cost = divide_up(units_of(tiles * kRowsTileTokens), at_once) *
                             (kOfWeights + static_cast<std::size_t>(tiles));
    if (cost < least) {
      least = cost;
      tiles_ = tiles;
    }
  }
}

void RowsLists::fill_units(const StepBinding& inputs) {
  units_.clear();
  tokens_.clear();
  row_tiles_.clear();
  table_.clear();
  unit_of_token_.assign(static_cast<std::size_t>(inputs.tokens), 0);
  for (const Row& row : rows_) {
    if (units_.empty() || !shares_blocks_ ||
        !has_room(units_.back().tokens, units_.back().blocks, row.tokens, row.blocks,
                  tiles_ * kRowsTileTokens)) {
      RowsUnit unit;
      unit.first_token = static_cast<std::int32_t>(tokens_.size());
      unit.first_tile = static_cast<std::int32_t>(row_tiles_.size());
      unit.first_block = static_cast<std::int32_t>(table_.size());
      units_.push_back(unit);
    }
    add_tokens(inputs, row, units_.back());
  }
}

void RowsLists::add_tokens(const StepBinding& inputs, const Row& row, RowsUnit& unit) {
  const std::int32_t* const table = inputs.block_table + row.table_at;
  table_.insert(table_.end(), table, table + row.blocks);
  const std::size_t first = tokens_.size();
  for (std::int32_t i = 0; i < row.tokens; ++i) {
    const std::int32_t number = row.begin + i;
    const std::int32_t parent =
        inputs.tree_parents != nullptr ? inputs.tree_parents[number] : i - 1;
    const std::int32_t place = row.append_at + i;
    const auto small = [](std::int64_t value) {  // what no table has stays so in 32 bits
      return static_cast<std::int32_t>(std::clamp<std::int64_t>(value, -1, INT32_MAX));
    };
    kernels::RowsToken token;
    token.sees = std::uint64_t{1} << static_cast<unsigned>(i);
    if (parent >= 0) {
      token.sees |= tokens_[first + static_cast<std::size_t>(parent)].sees;
    }
    token.id = small(inputs.input_ids[number]);
    token.position = small(inputs.position_ids[number]);
    token.append_block = table[place / block_len_];
    token.append_place = static_cast<std::int32_t>(place % block_len_);
    tokens_.push_back(token);
    unit_of_token_[static_cast<std::size_t>(number)] = static_cast<std::int32_t>(units_.size() - 1);
  }
  for (std::int32_t i = 0; i < row.tokens; i += kRowsTileTokens) {
    kernels::RowsTile tile;
    tile.first = unit.tokens + i;
    tile.count = std::min(kRowsTileTokens, row.tokens - i);
    tile.past_length = row.past_length;
    tile.append_at = row.append_at;
    tile.table_at = unit.blocks;
    tile.row_tokens = row.tokens;
    row_tiles_.push_back(tile);
    ++unit.tiles;
  }
  unit.tokens += row.tokens;
  unit.blocks += row.blocks;
}

/// Each unit's rows of logits, side by side.
void RowsLists::fill_logits(const StepBinding& inputs) {
  const std::int64_t last = tokens_of_rows(inputs) - 1;
  const auto token_of = [&](std::int64_t row) {
    // Nobody looks at those of tokens that only fill the run up.
    return static_cast<std::size_t>(std::min(token_of_logits(inputs, row), last));
  };
  for (std::int64_t row = 0; row < inputs.num_logits; ++row) {
    ++units_[static_cast<std::size_t>(unit_of_token_[token_of(row)])].logits;
  }
  std::int32_t next = 0;
  for (RowsUnit& unit : units_) {
    unit.first_logits = next;
    next += unit.logits;
    unit.logits = 0;
  }
  logits_.resize(static_cast<std::size_t>(next));
  for (std::int64_t row = 0; row < inputs.num_logits; ++row) {
    const std::size_t token = token_of(row);
    RowsUnit& unit = units_[static_cast<std::size_t>(unit_of_token_[token])];
    // Tokens are listed in the order of the run, which has none between its rows.
    logits_[static_cast<std::size_t>(unit.first_logits + unit.logits++)] = {
        static_cast<std::int32_t>(row), static_cast<std::int32_t>(token) - unit.first_token};
  }
}

std::size_t RowsLists::bytes() const noexcept {
  std::size_t end = 0;
  for_lists(*this,
            [&](const auto& list, std::size_t at) { end = at + list.size() * sizeof(list[0]); });
  return end;
}

void RowsLists::copy_to(std::byte* to) const noexcept {
  for_lists(*this, [&](const auto& list, std::size_t at) {
    std::memcpy(to + at, list.data(), list.size() * sizeof(list[0]));
  });
}

kernels::RowsInputs RowsLists::at(const std::byte* begin) const noexcept {
  kernels::RowsInputs inputs;
  inputs.unit_count = static_cast<int>(units_.size());
  for_lists(*this, [&]<typename Element>(const std::vector<Element>&, std::size_t at) {
    set(inputs, reinterpret_cast<const Element*>(begin + at));
  });
  return inputs;
}

}  // namespace kvcache::plan
