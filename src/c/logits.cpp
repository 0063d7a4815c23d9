// Results of kvcache.h.
#include "kvcache/logits.hpp"

#include <algorithm>
#include <vector>

#include "c/boundary.hpp"
#include "c/enumerations.hpp"
#include "c/handles.hpp"
#include "c/structs.hpp"

namespace kvcache::c {
namespace {

const Logits& to_logits(const Call& call, const kvcache_logits* logits) {
  return *call.needed(logits, "logits").logits;
}

}  // namespace
}  // namespace kvcache::c

using namespace kvcache::c;

void kvcache_logits_destroy(kvcache_logits* logits) noexcept { delete logits; }

kvcache_status kvcache_logits_rows(const kvcache_logits* logits, size_t* rows) noexcept {
  return guard(__func__, [&](const Call& call) {
    std::size_t& answer = call.needed(rows, "rows");
    answer = to_logits(call, logits).rows();
  });
}

kvcache_status kvcache_logits_vocab_size(const kvcache_logits* logits,
                                         size_t* vocab_size) noexcept {
  return guard(__func__, [&](const Call& call) {
    std::size_t& answer = call.needed(vocab_size, "vocab_size");
    answer = to_logits(call, logits).vocab_size();
  });
}

kvcache_status kvcache_logits_get_memory(const kvcache_logits* logits,
                                         kvcache_logits_memory* memory) noexcept {
  return guard(__func__, [&](const Call& call) {
    const kvcache::Logits& of = to_logits(call, logits);
    const kvcache::LogitsMemory found = of.memory();
    answer_struct(call, memory, "memory",
                  kvcache_logits_memory{.struct_size = sizeof(kvcache_logits_memory),
                                        .data = found.data,
                                        .type = to_number(found.type),
                                        .device = to_number(found.device),
                                        .device_id = found.device_id,
                                        .on_host = of.on_host() ? 1 : 0});
  });
}

kvcache_status kvcache_logits_row(const kvcache_logits* logits, size_t row,
                                  const float** values) noexcept {
  return guard(__func__, [&](const Call& call) {
    const float*& answer = result(call, values, "values");
    answer = to_logits(call, logits).row(row).data();
  });
}

kvcache_status kvcache_logits_argmax(const kvcache_logits* logits, size_t row,
                                     int64_t* token) noexcept {
  return guard(__func__, [&](const Call& call) {
    int64_t& answer = call.needed(token, "token");
    answer = to_logits(call, logits).argmax(row);
  });
}

kvcache_status kvcache_logits_top_k(const kvcache_logits* logits, size_t row, size_t k,
                                    int64_t* tokens, float* values, size_t* count) noexcept {
  return guard(__func__, [&](const Call& call) {
    std::size_t& answer = call.needed(count, "count");
    if (k > 0) {
      call.needed(tokens, "tokens");
      call.needed(values, "values");
    }
    const std::vector<kvcache::TokenScore> best = to_logits(call, logits).top_k(k, row);
    for (std::size_t i = 0; i < best.size(); ++i) {
      tokens[i] = best[i].token;
      values[i] = best[i].logit;
    }
    answer = best.size();
  });
}

kvcache_status kvcache_logits_log_probabilities(const kvcache_logits* logits, size_t row,
                                                const int64_t* tokens, size_t num_tokens,
                                                float* values) noexcept {
  return guard(__func__, [&](const Call& call) {
    const std::span<const kvcache::TokenId> at = call.elements(tokens, num_tokens, "tokens");
    if (num_tokens > 0) {
      call.needed(values, "values");
    }
    std::ranges::copy(to_logits(call, logits).log_probabilities(at, row), values);
  });
}

kvcache_status kvcache_logits_log_probabilities_of_rows(const kvcache_logits* logits,
                                                        const size_t* rows, const int64_t* tokens,
                                                        size_t num_tokens, float* values) noexcept {
  return guard(__func__, [&](const Call& call) {
    const std::span<const std::size_t> row_of = call.elements(rows, num_tokens, "rows");
    const std::span<const kvcache::TokenId> at = call.elements(tokens, num_tokens, "tokens");
    if (num_tokens > 0) {
      call.needed(values, "values");
    }
    std::vector<kvcache::RowToken> asked;
    asked.reserve(num_tokens);
    for (std::size_t i = 0; i < num_tokens; ++i) {
      asked.push_back({row_of[i], at[i]});
    }
    std::ranges::copy(to_logits(call, logits).log_probabilities(asked), values);
  });
}

kvcache_status kvcache_logits_log_sum_exp(const kvcache_logits* logits, size_t row,
                                          double temperature, double* sum) noexcept {
  return guard(__func__, [&](const Call& call) {
    double& answer = call.needed(sum, "sum");
    answer = to_logits(call, logits).log_sum_exp(row, temperature);
  });
}

kvcache_status kvcache_logits_output(const kvcache_logits* logits, const char* name, size_t row,
                                     const float** values, size_t* size) noexcept {
  return guard(__func__, [&](const Call& call) {
    const float*& answer = result(call, values, "values");
    std::size_t& answer_size = call.needed(size, "size");
    const std::span<const float> output =
        to_logits(call, logits).output(&call.needed(name, "name"), row);
    answer = output.data();
    answer_size = output.size();
  });
}
