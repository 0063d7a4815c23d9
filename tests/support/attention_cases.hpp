// Random runs of the attention node, and a double-precision reference that knows nothing of blocks
// or tiles.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <limits>
#include <numeric>
#include <set>
#include <span>
#include <type_traits>
#include <vector>

#include "base/float16.hpp"
#include "kernels/cached_attention_args.hpp"
#include "support/random_cases.hpp"

namespace kvcache::test {

using kernels::CachedAttentionArgs;

inline float as_float(float value) { return value; }
template <typename T>
float as_float(T value) {
  return static_cast<float>(value);
}

/// Element i of a row of head_dim elements in the cache, as the kernel must read it.
template <typename Cache>
float cached_element(const Cache* row, std::int64_t head_dim, std::int64_t i) {
  if constexpr (std::is_same_v<Cache, std::int8_t>) {
    std::uint16_t scale = 0;
    std::memcpy(&scale, row + head_dim, sizeof(scale));
    return static_cast<float>(row[i]) * static_cast<float>(std::bit_cast<BFloat16>(scale));
  } else {
    return as_float(row[i]);
  }
}

/// What a freed block is filled with, a NaN; in int8 all bits set, which makes one of a scale.
template <typename Cache>
Cache poison() {
  if constexpr (std::is_same_v<Cache, std::int8_t>) {
    return -1;
  } else {
    return Cache(std::numeric_limits<float>::quiet_NaN());
  }
}

inline constexpr std::int64_t kHeadDims[] = {1, 5, 8, 12, 16, 20, 31, 64, 80};

/// Whether a case's layer groups heads, turns and norms queries and keys, and bounds scores and
/// what a token sees: each of it by chance.
enum class WithRules { no, yes };

/// A random run of the node, with everything the kernel must not read filled with NaN.
template <typename T, typename Cache = T>
struct AttentionCase {
  explicit AttentionCase(Random& random, bool long_rows = false,
                         std::span<const std::int64_t> head_dims = kHeadDims,
                         WithRules with_rules = WithRules::no) {
    constexpr std::int64_t kBlockLens[] = {1, 3, 16, 32, 100, 256};
    args.num_kv_heads = random.integer(1, 3);
    args.num_heads = args.num_kv_heads;
    args.head_dim = random.pick(head_dims);
    args.block_len = random.pick(std::span(kBlockLens));
    args.rows = random.integer(1, 3);
    args.scale = 1.0F / std::sqrt(static_cast<float>(args.head_dim));
    const std::int64_t most = long_rows ? 200 : 12;

    row_offsets.push_back(0);
    std::int64_t longest = 0;
    const bool gap = random.chance(0.5);
    for (std::int64_t row = 0; row < args.rows; ++row) {
      past_lengths.push_back(static_cast<std::int32_t>(
          random.chance(0.3) ? 0 : random.integer(0, long_rows ? 150 : 40)));
      const std::int64_t size = random.integer(random.chance(0.1) ? 0 : 1, most);
      row_offsets.push_back(row_offsets.back() + static_cast<std::int32_t>(size));
      append_positions.push_back(past_lengths.back() +
                                 static_cast<std::int32_t>(gap ? random.integer(0, 20) : 0));
      longest = std::max(longest, append_positions.back() + size);
    }
    tokens = row_offsets.back();
    if (random.chance(0.5)) {
      for (std::int64_t row = 0; row < args.rows; ++row) {
        for (std::int64_t i = 0; i < row_offsets[row + 1] - row_offsets[row]; ++i) {
          tree_parents.push_back(
              static_cast<std::int32_t>(random.integer(std::max<std::int64_t>(-1, i - 8), i - 1)));
        }
      }
    }

    // Every row has blocks of its own, scattered over the pool.
    args.blocks_per_row = (longest + args.block_len - 1) / args.block_len + random.integer(0, 2);
    blocks = args.rows * args.blocks_per_row + random.integer(0, 3);
    std::vector<std::int32_t> ids(static_cast<std::size_t>(blocks));
    std::iota(ids.begin(), ids.end(), 0);
    for (std::size_t i = ids.size(); i > 1; --i) {
      std::swap(ids[i - 1],
                ids[static_cast<std::size_t>(random.integer(0, static_cast<std::int64_t>(i) - 1))]);
    }
    ids.resize(static_cast<std::size_t>(args.rows * args.blocks_per_row));
    block_table = ids;

    if (with_rules == WithRules::yes) {
      make_rules(random);
    }
    qkv.resize(static_cast<std::size_t>(tokens * (args.num_heads + 2 * args.num_kv_heads) *
                                        args.head_dim));
    std::generate(qkv.begin(), qkv.end(), [&] { return T(random.normal()); });
    const auto pool_size = static_cast<std::size_t>(blocks * args.num_kv_heads * args.block_len *
                                                    args.vector_elements());
    key_pool.assign(pool_size, poison<Cache>());
    value_pool = key_pool;
    for (std::int64_t row = 0; row < args.rows; ++row) {
      for (std::int64_t position = 0; position < past_lengths[row]; ++position) {
        for (std::int64_t head = 0; head < args.num_kv_heads; ++head) {
          fill_row(random, &key_pool[pool_index(row, position, head)]);
          fill_row(random, &value_pool[pool_index(row, position, head)]);
        }
      }
    }
    attention.assign(static_cast<std::size_t>(tokens * width()),
                     T(std::numeric_limits<float>::quiet_NaN()));
  }

  void make_rules(Random& random) {
    constexpr std::int64_t kGroups[] = {1, 2, 3, 4, 7, 8, 9};
    args.num_heads *= random.pick(std::span(kGroups));
    kernels::AttentionRules& rules = args.rules;
    if (args.head_dim > 1 && random.chance(0.7)) {
      rules.rotary.positions = 400;
      rules.rotary.dims = 2 * random.integer(1, args.head_dim / 2);
      rules.rotary.interleaved = random.chance(0.3);
      for (std::int64_t i = 0; i < rules.rotary.positions * rules.rotary.dims / 2; ++i) {
        const float angle = 10 * random.normal();
        cos.push_back(std::cos(angle));
        sin.push_back(std::sin(angle));
      }
    }
    if (random.chance(0.4)) {
      rules.norm.epsilon = 1e-6F;
      for (std::int64_t i = 0; i < 2 * args.head_dim; ++i) {
        norm_weights.push_back(1 + 0.3F * random.normal());
      }
    }
    rules.window = random.chance(0.4) ? random.integer(1, random.chance(0.5) ? 5 : 60) : 0;
    rules.soft_cap = random.chance(0.3) ? 1.5F : 0;
    for (std::int64_t row = 0; row < args.rows; ++row) {
      for (std::int64_t token = 0; token < row_offsets[row + 1] - row_offsets[row]; ++token) {
        position_ids.push_back(past_lengths[row] + depth(row, token));
      }
    }
  }

  /// How many new tokens are before this one in its text.
  [[nodiscard]] std::int64_t depth(std::int64_t row, std::int64_t token) const {
    std::int64_t depth = 0;
    while (!tree_parents.empty() && tree_parents[row_offsets[row] + token] >= 0) {
      token = tree_parents[row_offsets[row] + token];
      ++depth;
    }
    return tree_parents.empty() ? token : depth;
  }

  /// A query or key of a new token, in double precision as the layer turns it.
  [[nodiscard]] std::vector<double> turned(const T* vector, std::int64_t flat, bool is_key) const {
    std::vector<double> x;
    std::transform(vector, vector + args.head_dim, std::back_inserter(x),
                   [](T element) { return static_cast<double>(as_float(element)); });
    if (!norm_weights.empty()) {
      const double squares = std::inner_product(x.begin(), x.end(), x.begin(), 0.0);
      const double size = static_cast<double>(args.head_dim);
      const double divisor =
          std::sqrt(squares / size + static_cast<double>(args.rules.norm.epsilon));
      for (std::int64_t i = 0; i < args.head_dim; ++i) {
        x[i] *= static_cast<double>(norm_weights[(is_key ? args.head_dim : 0) + i]) / divisor;
      }
    }
    const kernels::Rotary& rotary = args.rules.rotary;
    for (std::int64_t i = 0; i < rotary.dims / 2; ++i) {
      const std::int64_t one = rotary.interleaved ? 2 * i : i;
      const std::int64_t other = rotary.interleaved ? one + 1 : one + rotary.dims / 2;
      const auto angle = static_cast<std::size_t>(position_ids[flat] * rotary.dims / 2 + i);
      const double a = x[one];
      const double b = x[other];
      x[one] = a * static_cast<double>(cos[angle]) - b * static_cast<double>(sin[angle]);
      x[other] = b * static_cast<double>(cos[angle]) + a * static_cast<double>(sin[angle]);
    }
    return x;
  }

  void fill_row(Random& random, Cache* row) const {
    if constexpr (std::is_same_v<Cache, std::int8_t>) {
      std::generate_n(row, args.head_dim,
                      [&] { return static_cast<std::int8_t>(random.integer(-127, 127)); });
      // Magnitudes below 3, as unit normal elements have.
      const BFloat16 scale(static_cast<float>(random.integer(1, 300)) * 0.01F / 127.0F);
      std::memcpy(row + args.head_dim, &scale, sizeof(scale));
    } else {
      std::generate_n(row, args.head_dim, [&] { return Cache(random.normal()); });
    }
  }

  [[nodiscard]] std::int64_t width() const { return args.num_heads * args.head_dim; }

  [[nodiscard]] std::size_t pool_index(std::int64_t row, std::int64_t position,
                                       std::int64_t head) const {
    const std::int64_t block = block_table[row * args.blocks_per_row + position / args.block_len];
    return static_cast<std::size_t>(
        ((block * args.num_kv_heads + head) * args.block_len + position % args.block_len) *
        args.vector_elements());
  }

  /// The arguments, with pointers to this case's own tensors.
  [[nodiscard]] CachedAttentionArgs<T, Cache> host_args() {
    args.qkv = qkv.data();
    args.key_pool = key_pool.data();
    args.value_pool = value_pool.data();
    args.block_table = block_table.data();
    args.past_lengths = past_lengths.data();
    args.append_positions = append_positions == past_lengths ? nullptr : append_positions.data();
    args.row_offsets = row_offsets.data();
    args.tree_parents = tree_parents.empty() ? nullptr : tree_parents.data();
    args.attention = attention.data();
    args.position_ids = position_ids.data();
    args.rules.rotary.cos = cos.empty() ? nullptr : cos.data();
    args.rules.rotary.sin = sin.data();
    args.rules.norm.query_weight = norm_weights.empty() ? nullptr : norm_weights.data();
    args.rules.norm.key_weight =
        norm_weights.empty() ? nullptr : norm_weights.data() + args.head_dim;
    return args;
  }

  /// Vector `number` of a new token in `qkv`: its queries, then keys, then values.
  [[nodiscard]] std::size_t qkv_index(std::int64_t flat, std::int64_t number) const {
    return static_cast<std::size_t>((flat * (args.num_heads + 2 * args.num_kv_heads) + number) *
                                    args.head_dim);
  }

  /// What a token may attend to: the prefix, then its ancestors and itself.
  [[nodiscard]] std::vector<std::int64_t> visible(std::int64_t row, std::int64_t token) const {
    std::set<std::int64_t> positions;
    for (std::int64_t i = 0; i < past_lengths[row]; ++i) {
      positions.insert(i);
    }
    while (token >= 0) {
      positions.insert(append_positions[row] + token);
      token = tree_parents.empty() ? token - 1 : tree_parents[row_offsets[row] + token];
    }
    // A token's ancestors come before it in memory, so this is the order of its text.
    std::vector<std::int64_t> text(positions.begin(), positions.end());
    const auto window = static_cast<std::ptrdiff_t>(args.rules.window);
    if (window > 0 && window < std::ssize(text)) {
      text.erase(text.begin(), text.end() - window);
    }
    return text;
  }

  /// The largest difference from softmax(scale · q kᵀ) v in double precision.
  [[nodiscard]] double largest_error() const {
    double largest = 0;
    for (std::int64_t row = 0; row < args.rows; ++row) {
      for (std::int64_t token = 0; token < row_offsets[row + 1] - row_offsets[row]; ++token) {
        for (std::int64_t head = 0; head < args.num_heads; ++head) {
          largest = std::max(largest, error_of(row, token, head));
        }
      }
    }
    return largest;
  }

  [[nodiscard]] double error_of(std::int64_t row, std::int64_t token, std::int64_t head) const {
    const std::int64_t flat = row_offsets[row] + token;
    const std::vector<double> query = turned(&qkv[qkv_index(flat, head)], flat, false);
    const std::int64_t kv_head = head / args.group();
    const std::vector<std::int64_t> positions = visible(row, token);
    std::vector<double> weights;
    for (const std::int64_t position : positions) {
      const Cache* key = &key_pool[pool_index(row, position, kv_head)];
      double dot = 0;
      for (std::int64_t i = 0; i < args.head_dim; ++i) {
        dot += query[i] * static_cast<double>(cached_element(key, args.head_dim, i));
      }
      const double score = dot * static_cast<double>(args.scale);
      const double cap = args.rules.soft_cap;
      weights.push_back(cap > 0 ? cap * std::tanh(score / cap) : score);
    }
    const double max = *std::max_element(weights.begin(), weights.end());
    double sum = 0;
    for (double& weight : weights) {
      weight = std::exp(weight - max);
      sum += weight;
    }
    double largest = 0;
    for (std::int64_t i = 0; i < args.head_dim; ++i) {
      double expected = 0;
      for (std::size_t k = 0; k < positions.size(); ++k) {
        expected += weights[k] / sum *
                    static_cast<double>(cached_element(
                        &value_pool[pool_index(row, positions[k], kv_head)], args.head_dim, i));
      }
      const float found = as_float(
          attention[static_cast<std::size_t>((flat * args.num_heads + head) * args.head_dim + i)]);
      // A NaN must not hide in a comparison.
      largest = std::isnan(found) ? std::numeric_limits<double>::infinity()
                                  : std::max(largest, std::abs(expected - found));
    }
    return largest;
  }

  CachedAttentionArgs<T, Cache> args;
  std::int64_t blocks = 0;
  std::int64_t tokens = 0;
  std::vector<T> qkv, attention;
  std::vector<Cache> key_pool, value_pool;
  std::vector<std::int32_t> block_table, past_lengths, append_positions, row_offsets, tree_parents;
  std::vector<std::int64_t> position_ids;
  std::vector<float> cos, sin, norm_weights;
};

}  // namespace kvcache::test
