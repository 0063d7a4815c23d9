#include "kernels/cpu/embedding_cpu.hpp"

#include <algorithm>
#include <functional>

namespace kvcache::kernels {
namespace {

template <typename W>
void token_row(const W* table, std::int64_t size, std::int64_t id, float* out) {
  std::transform(table + id * size, table + (id + 1) * size, out,
                 [](W value) { return static_cast<float>(value); });
}
void token_row(const QuantizedWeight& table, std::int64_t /*size*/, std::int64_t id, float* out) {
  quantized_row_cpu(table, id, out);
}

template <typename Table>
void look_up(const Table& table, const Embedding& embedding, const EmbeddingRun& run,
             const ParallelFor& parallel_for) {
  constexpr std::int64_t kAtATime = 16;
  const std::int64_t size = embedding.size;
  parallel_for(divide_up(run.tokens, kAtATime), [&](std::int64_t part) {
    const std::int64_t end = std::min((part + 1) * kAtATime, run.tokens);
    for (std::int64_t token = part * kAtATime; token < end; ++token) {
      float* const out = run.out + token * size;
      token_row(table, size, run.input_ids[token], out);
      if (embedding.scale != 1) {
        std::transform(out, out + size, out, [&](float value) { return value * embedding.scale; });
      }
      if (embedding.positions != nullptr) {
        const float* const position = embedding.positions + run.position_ids[token] * size;
        std::transform(out, out + size, position, out, std::plus<>());
      }
    }
  });
}

}  // namespace

void embedding_cpu(const Embedding& embedding, const EmbeddingRun& run,
                   const ParallelFor& parallel_for) {
  std::visit([&](const auto& table) { look_up(table, embedding, run, parallel_for); },
             embedding.tokens);
}

}  // namespace kvcache::kernels
